"""A sampler of llama.cpp that draws: its chain, its generators, its history, token after token.

    sampler = LlamaSampler(LlamaSettings(temp=0.7, xtc_probability=0.5), seed=7, history=prompt_ids)
    token = sampler.draw(logits)

The drawn token, XTC and Mirostat have a generator of their own, each std::mt19937 from the same seed, with libstdc++'s
distributions. Source: llama.cpp `src/llama-sampler.cpp` and `common/sampling.cpp`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from refruntime.numerics.ggml32.c_library import LIBRARIES
from refruntime.samplers.chain import SamplerError
from refruntime.samplers.draws import pick_by_double_sum, units_of_mt19937
from refruntime.samplers.llama_cpp_chain import LlamaSettings, llama_stages
from refruntime.samplers.llama_cpp_stages import next_mu
from refruntime.samplers.stages import Candidates, Float32


class LlamaSampler:
    """llama.cpp's chain with its state: what was accepted, what its generators have given, mu of Mirostat.

    `stages` are those of the last token. `seed` is taken modulo 2^32.
    """

    def __init__(self, settings: LlamaSettings, seed: int = 1, history: Sequence[int] = ()) -> None:
        self._settings = settings
        self._history = list(history)
        self._units = units_of_mt19937(seed)
        self._singles = _single_units_of_mt19937(seed)
        self._toss = next(self._singles)
        self._mu = 2 * settings.mirostat_tau
        self.stages: tuple[tuple[str, Candidates], ...] = ()

    @np.errstate(all="ignore")  # impossible tokens have infinite surprises
    def draw(self, logits: Float32, accepted: int | None = None) -> int:
        """Return the next token behind what was accepted, and accept it, or another one that was taken in its place.

        SamplerError for logits without an order.
        """
        if not np.isfinite(logits.max(initial=-np.inf)):  # NaN is the maximum if there is one
            raise SamplerError("llama.cpp does not define what happens with NaN, infinite or only -infinite logits")
        settings = self._settings
        self.stages = llama_stages(logits, settings, self._history, self._toss, self._mu)
        left = self.stages[-1][1]
        if self._tossed():
            self._toss = next(self._singles)
        place = self._by_mirostat(left) if settings.mirostat else self._by_weight(left)
        token = int(left.ids[place])
        self._history.append(token if accepted is None else accepted)
        return token

    def _tossed(self) -> bool:
        """Say whether XTC asked for a number: where it is on and has a choice."""
        before = dict(self.stages).get("min_p")
        settings = self._settings
        on = settings.xtc_probability > 0 and settings.xtc_threshold <= 0.5
        return on and before is not None and before.ids.size > 1

    def _by_weight(self, left: Candidates) -> int:
        """Draw by e^(logit - greatest), which is not divided by its sum."""
        weights = LIBRARIES["glibc"].exp(left.logits - left.logits.max())
        unit = next(self._units)
        return pick_by_double_sum(weights, unit) if weights.size > 1 else 0

    def _by_mirostat(self, left: Candidates) -> int:
        """Draw as std::discrete_distribution, which asks for no number where there is no choice; mu follows."""
        weights = left.weighed.astype(np.float64)
        running = np.cumsum(weights / np.cumsum(weights)[-1])
        place = 0
        if weights.size > 1:
            running[-1] = 1.0
            place = int(np.searchsorted(running, next(self._units)))
        settings = self._settings
        self._mu = next_mu(self._mu, float(left.weighed[place]), settings.mirostat_tau, settings.mirostat_eta)
        return place


def _single_units_of_mt19937(seed: int) -> Iterator[float]:
    """Yield float32 values in [0, 1), one 32-bit output each (libstdc++)."""
    source = np.random.RandomState(seed & 0xFFFFFFFF)
    while True:
        unit = np.float32(source.randint(0, 2**32, dtype=np.uint32)) / np.float32(2.0**32)
        yield float(unit) if unit < 1 else float(np.nextafter(np.float32(1), np.float32(0)))
