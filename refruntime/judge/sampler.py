"""Judge a sampler by the engine's own numbers: which chain leaves these probabilities of those logits?

What rounding does is measured on these logits: a constant that is added to all of them changes no probability but by
rounding, shares may be off by one unit in the last place, and their sum, in float32 and in any order, may not be 1. All
of this moves shares that no run cuts by as much of them, so the token where it is most speaks for all. One more engine
may lie as much beyond the farthest as that lies beyond the nearest, in the median of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from refruntime.judge.noise import apart_at_positions
from refruntime.judge.observed import ObservedRows, Sampled
from refruntime.judge.verdict import StageFinding, StageVerdict
from refruntime.numerics.ggml32.reordered import moved_by_units
from refruntime.samplers.catalogue import CHAINS
from refruntime.samplers.chain import Chain, Settings

EXPECTED = "llama.cpp"
SHIFTS = (7.3, -11.9, 3.1, -2.7, 15.2, -5.9)
"""Constants that are added to all logits, one for each known engine: how many of these are run, and no limit."""

Row = NDArray[np.float32]
Probabilities = Mapping[int, float]


def judge_sampler(observed: ObservedRows) -> StageFinding:
    """Say whether the chain of llama.cpp explains what was drawn from, or that of another runtime."""
    asked = [one for one in observed.sampled if _row(observed, one) is not None]
    if not asked:
        return StageFinding("sampler", StageVerdict.NOT_ASKED, "the engine does not show what it draws from")
    failures = {name: _first_failure(chain, observed, asked) for name, chain in CHAINS.items()}
    if failures[EXPECTED] is None:
        return StageFinding(
            "sampler", StageVerdict.EQUAL, f"{len(asked)} distributions are those of {EXPECTED}'s chain"
        )
    others = [name for name, failure in failures.items() if failure is None]
    if others:
        text = f"it draws as {others[0]} does, not as {EXPECTED}: {failures[EXPECTED]}"
        return StageFinding("sampler", StageVerdict.FAULT, text, {"chain": others[0]})
    return StageFinding(
        "sampler", StageVerdict.UNEXPLAINED, f"no known chain explains it; {EXPECTED}'s: {failures[EXPECTED]}"
    )


def _row(observed: ObservedRows, sampled: Sampled) -> Row | None:
    """Return the engine's own numbers that a token is drawn from, None where not all are told."""
    if sampled.position not in observed.positions:
        return None
    row = observed.values[observed.positions.index(sampled.position)]
    return None if np.isnan(row).any() else row.astype(np.float32)


def _first_failure(chain: Chain, observed: ObservedRows, asked: list[Sampled]) -> str | None:
    """Return where a chain differs first, None where it does not."""
    for one in asked:
        settings = Settings(**{name: int(v) if name == "top_k" else v for name, v in one.settings.items()})  # type: ignore[arg-type]
        row = _row(observed, one)
        if row is None or chain.refuses(settings):
            return "it does not take these settings"
        ours = chain.run(row, settings).probabilities
        failure = _difference(one.probabilities, ours, list(_known(chain, row, settings, ours)))
        if failure is not None:
            shown = ", ".join(f"{name} {value:g}" for name, value in one.settings.items())
            return f"{failure} behind position {one.position} ({shown})"
    return None


def _known(chain: Chain, row: Row, settings: Settings, ours: Probabilities) -> Iterator[Probabilities]:
    """Yield the probabilities of engines that differ by rounding alone."""
    for shift in SHIFTS:
        yield chain.run(row + np.float32(shift), settings).probabilities
    shares = np.array(list(ours.values()), np.float32)
    yield dict(zip(ours, moved_by_units(shares, np.random.default_rng(1)).tolist(), strict=True))
    for order in (shares, shares[::-1]):
        total = np.add.accumulate(order)[-1]  # of float32, where 1 is right
        yield dict(zip(ours, (shares / total).tolist(), strict=True))


def _difference(theirs: Probabilities, ours: Probabilities, known: list[Probabilities]) -> str | None:
    """Compare with ours, of which the known ones say what rounding does, at the edge of a cut too."""
    tokens = sorted({*ours, *theirs}, key=lambda token: -max(ours.get(token, 0.0), theirs.get(token, 0.0)))
    mine = np.array([ours.get(token, 0.0) for token in tokens])  # [n]
    found = np.array([theirs.get(token, 0.0) for token in tokens])
    errors = [np.abs(mine - [run.get(token, 0.0) for token in tokens]) for run in known]  # [k, n]
    errors = [error for error in errors if error.any()] or errors  # that nothing moves says not how far others move
    kept = np.all([[token in run for token in tokens] for run in (ours, *known)], axis=0)  # [n], by no run cut
    widest = float(np.max(errors / np.where(kept, mine, np.inf)))
    limits = apart_at_positions([errors]) * np.maximum(np.max(errors, axis=0), widest * mine)
    for token, other, right, limit in zip(tokens, found, mine, limits, strict=True):
        if not abs(right - other) <= limit:
            return f"token {token} has probability {other:.6g}, {right:.6g} is right"
    return None
