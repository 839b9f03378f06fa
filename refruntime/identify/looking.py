"""Let the witness look into a build whose answers differ, before any cause is guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from refruntime.differential.run import Oracle, PairRun
from refruntime.engines.base import EngineError, Limits
from refruntime.errors import ContractError
from refruntime.hypotheses.observed import OTHER_WEIGHTS, WitnessedTensor

MOST_LOOKS: Final = 3


@dataclass
class Looker:
    """A function that looks for the first wrong number of a case; None where nothing of it can be looked at.

    Only so many cases are looked at: one bug shows in hundreds. `seen` has by case the documents of looks that found
    something wrong (see refruntime.witness.report). `fit` makes a file of ours one of the build's (ID-2).
    """

    module: bytes
    oracle: Oracle
    limits: Limits
    fit: Callable[[bytes], bytes] = lambda data: data
    left: int = MOST_LOOKS
    seen: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)

    def __call__(self, run: PairRun) -> WitnessedTensor | None:
        """Look at the generation in which the first difference of a run is."""
        first = run.comparison.first
        if first is None or not self.left:
            return None
        from refruntime.witness.build import CannotLook, Witness
        from refruntime.witness.generation import generation_of
        from refruntime.witness.report import document

        generation = generation_of(run.case.steps[: first.index + 1], run.case.models.__getitem__)
        if generation is None:
            return None
        self.left -= 1
        g, numerics = generation, self.oracle.numerics
        arguments = g.artifact, g.prompt, g.tokens, g.sampling, self.oracle.profile, numerics, self.limits, g.continued
        try:
            witness = Witness(self.module, *arguments, fit=self.fit)
            seen = witness.earliest()
        except (CannotLook, EngineError, ContractError):
            return None
        found = seen.look.first
        if found is None:
            return None
        self.seen[run.case.name] = document(witness, seen)
        kind = OTHER_WEIGHTS if found.pattern.of_other_weights else found.pattern.kind
        return WitnessedTensor(found.name, seen.position, kind, found.pattern.text)
