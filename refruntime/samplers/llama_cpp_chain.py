"""All of llama.cpp's samplers in its order, with what each stage leaves.

    for name, left in llama_stages(logits, LlamaSettings(top_n_sigma=1.5), history): ...

The order is that of `common/common.h`; with Mirostat only the temperature comes before it. A number of 0 to 1 that XTC
would draw is an input. Candidates of the last stage are what is drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from refruntime.samplers import llama_cpp_stages as more
from refruntime.samplers.stages import (
    Candidates,
    Float32,
    keep_near_logits,
    sort_and_keep,
    sort_and_keep_mass,
)

Stage = Callable[[Candidates], Candidates]


@dataclass(frozen=True)
class LlamaSettings:
    """What llama.cpp's sampling takes, by its names and with its defaults."""

    temp: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typ_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    penalty_last_n: int = 64
    penalty_repeat: float = 1.0
    penalty_freq: float = 0.0
    penalty_present: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_breakers: frozenset[int] = frozenset()
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1


KINDS: Final[dict[str, type[Any]]] = {
    field.name: type(field.default) for field in fields(LlamaSettings) if isinstance(field.default, int | float)
}
"""Settings by llama.cpp's names, and whether they are whole numbers."""


def llama_stages(
    logits: Float32, settings: LlamaSettings, history: Sequence[int] = (), unit: float = 0.0, mu: float | None = None
) -> tuple[tuple[str, Candidates], ...]:
    """Apply every stage to logits [V] behind a history of tokens; `mu` of Mirostat begins at twice tau."""
    left, done = Candidates.of(logits), []
    for name, stage in _order(settings, history, unit, 2 * settings.mirostat_tau if mu is None else mu, logits.size):
        left = stage(left)
        done.append((name, left))
    return tuple(done)


def _order(
    s: LlamaSettings, history: Sequence[int], unit: float, mu: float, vocabulary: int
) -> tuple[tuple[str, Stage], ...]:
    def temperature(left: Candidates) -> Candidates:
        return more.divide_by_entropy(left, s.temp, s.dynatemp_range, s.dynatemp_exponent)

    if s.mirostat == 1:
        return ("temperature", temperature), ("mirostat", lambda left: more.mirostat_1(left, mu, vocabulary))
    if s.mirostat == 2:
        return ("temperature", temperature), ("mirostat", lambda left: more.mirostat_2(left, mu))
    return (
        (
            "penalties",
            lambda left: more.penalise(
                left, history, s.penalty_last_n, s.penalty_repeat, s.penalty_freq, s.penalty_present
            ),
        ),
        (
            "dry",
            lambda left: more.dry(
                left,
                history,
                s.dry_multiplier,
                s.dry_base,
                s.dry_allowed_length,
                s.dry_penalty_last_n,
                s.dry_breakers,
            ),
        ),
        ("top_n_sigma", lambda left: more.keep_within_sigmas(left, s.top_n_sigma)),
        ("top_k", lambda left: sort_and_keep(left, s.top_k)),
        ("typ_p", lambda left: more.keep_typical(left, s.typ_p)),
        ("top_p", lambda left: sort_and_keep_mass(left, s.top_p)),
        ("min_p", lambda left: keep_near_logits(left, s.min_p)),
        ("xtc", lambda left: more.exclude_top_choices(left, s.xtc_probability, s.xtc_threshold, unit)),
        ("temperature", temperature),
    )
