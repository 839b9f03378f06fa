"""Judge a sampler by the engine's own numbers: which chain leaves these probabilities of those logits?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refruntime.judge.observed import ObservedRows, Sampled
from refruntime.judge.verdict import StageFinding, StageVerdict
from refruntime.samplers.catalogue import CHAINS
from refruntime.samplers.chain import Chain, Settings

EXPECTED = "llama.cpp"
SHIFTS = (0.0, 7.3, -11.9)
"""A constant added to all logits changes no probability but by rounding, which is measured so."""
HEADROOM = 4.0
LEAST = 2.0**-24
"""No probability is told apart from another one nearer than half a unit in the last place of 1."""

Row = NDArray[np.float32]


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
        runs = [chain.run(row + np.float32(shift), settings).probabilities for shift in SHIFTS]
        failure = _difference(one.probabilities, runs)
        if failure is not None:
            shown = ", ".join(f"{name} {value:g}" for name, value in one.settings.items())
            return f"{failure} behind position {one.position} ({shown})"
    return None


def _difference(theirs: Mapping[int, float], runs: list[Mapping[int, float]]) -> str | None:
    """Compare with one of our runs; the others say what rounding does, at the edge of a cut too."""
    ours, *others = runs
    tokens = set(ours) | set(theirs)
    for token in sorted(tokens, key=lambda token: -max(ours.get(token, 0.0), theirs.get(token, 0.0))):
        mine, other = ours.get(token, 0.0), theirs.get(token, 0.0)
        band = max(LEAST, *(abs(run.get(token, 0.0) - mine) for run in others))
        if abs(mine - other) > HEADROOM * band:
            return f"token {token} has probability {other:.6g}, {mine:.6g} is right"
    return None
