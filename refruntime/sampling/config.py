"""The sampling configuration and its validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refruntime.contract.limits import MAX_TOP_K
from refruntime.errors import InvalidLength

_ZERO = np.float32(0)
_ONE = np.float32(1)


@dataclass(frozen=True)
class SamplingConfig:
    """Sampling configuration with its published defaults (SC-1); only `validated` makes others."""

    temperature: np.float32 = _ZERO
    top_k: int = 1
    top_p: np.float32 = _ONE
    seed: int = 1

    @classmethod
    def validated(cls, temperature: float, top_k: int, top_p: float, seed: int) -> SamplingConfig:
        """Check every value (SC-2); a bad one gives InvalidLength and names the field."""
        with np.errstate(over="ignore"):
            heat, share = np.float32(temperature), np.float32(top_p)
        if not (np.isfinite(heat) and heat >= 0):
            raise _invalid("temperature", "a finite number >= 0", temperature)
        if not 1 <= top_k <= MAX_TOP_K:
            raise _invalid("top_k", f"1 .. {MAX_TOP_K}", top_k)
        if not (np.isfinite(share) and 0 < share <= 1):
            raise _invalid("top_p", "a finite number in (0, 1]", top_p)
        if not 0 <= seed < 2**64:
            raise _invalid("seed", "0 .. 2^64 - 1", seed)
        return cls(heat, top_k, share, seed)

    def to_dict(self) -> dict[str, float | int]:
        """Return the values by name, as Python's own numbers."""
        return {
            "temperature": float(self.temperature),
            "top_k": self.top_k,
            "top_p": float(self.top_p),
            "seed": self.seed,
        }


def _invalid(field: str, expected: str, found: object) -> InvalidLength:
    return InvalidLength(f"sampling value {field} is invalid", rule="SC-2", field=field, expected=expected, found=found)
