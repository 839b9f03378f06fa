"""Describe the rotary embedding of a model: frequencies, and how a longer context is squeezed into them.

The plain case is FW-5. The rest follows llama.cpp: factors of `rope_freqs.weight`, linear scaling, YaRN (Peng et al.,
"YaRN: Efficient Context Window Extension of Large Language Models", section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class RopeScaling:
    """How angles are stretched to a longer context: by 1 / `factor`, in YaRN only for the slow pairs.

    `kind` is `linear` or `yarn`; `original_context` is the trained length in positions (YaRN). With a
    `log_multiplier` m the magnitude of YaRN is (1 + 0.1 ln factor) / (1 + 0.1 m ln factor), as in DeepSeek's models.
    The range of pairs that YaRN blends is rounded outwards unless `whole_pairs` is False.
    """

    kind: str
    factor: float
    original_context: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    log_multiplier: float = 0.0
    whole_pairs: bool = True

    @property
    def magnitude(self) -> float:
        """Return what cosines and sines are multiplied with."""
        if self.kind != "yarn":
            return 1.0
        stretched = max(0.0, 0.1 * math.log(self.factor)) if self.log_multiplier else 0.1 * math.log(self.factor)
        return (1 + stretched) / (1 + self.log_multiplier * stretched)

    def ramp(self, theta: float, head_dim: int) -> list[float]:
        """Return for each pair [D / 2] how far it keeps its own angle: 0 is stretched, 1 is kept."""
        if self.kind != "yarn":
            return [0.0] * (head_dim // 2)
        low, high = (self._pair(turns, theta, head_dim) for turns in (self.beta_fast, self.beta_slow))
        if self.whole_pairs:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(0.0, low), min(head_dim - 1.0, high)
        width = max(0.001, high - low)
        return [1 - min(1.0, max(0.0, (pair - low) / width)) for pair in range(head_dim // 2)]

    def _pair(self, turns: float, theta: float, head_dim: int) -> float:
        """Return the (fractional) pair that makes `turns` full turns within the trained context."""
        return head_dim * math.log(self.original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))


@dataclass(frozen=True)
class Rotary:
    """A rotary embedding in the storage type of a numeric profile.

    `frequencies` [D / 2] in radians a position; `factors` [D / 2] divide the angles. With scaling `stretch` multiplies
    them, `ramp` [D / 2] blends stretched and own angles, and `magnitude` multiplies cosines and sines.
    """

    frequencies: Array
    factors: Array | None = None
    stretch: Any = None
    ramp: Array | None = None
    magnitude: Any = None
