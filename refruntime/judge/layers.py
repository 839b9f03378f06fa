"""Compare a dump of an engine's intermediate tensors with ours, freely and with the engine's own inputs.

Free-running says where the numbers part. Teacher-forced, each operation of ours gets what the engine computed before
it, so that an error is charged to the operation that makes it and to no later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.fidelity.layers import relative_error
from refruntime.judge.computed import ComputedRows
from refruntime.judge.names import Names, names_of
from refruntime.judge.policies import Make, Policy, policies
from refruntime.model.validated import ValidatedModel
from refruntime.trace import Event, TensorEvent
from refruntime.witness.patterns import find_pattern

Rows = NDArray[Any]
Dump = Mapping[str, Rows]

HEADROOM: Final = 4.0
"""How much farther than the measured orders an engine may lie, which has an order of its own."""
LEAST_BAND: Final = 2.0**-24
"""Half a unit in the last place of float32: no band is narrower."""
BY_PRODUCTS: Final = ("attn.scores", "attn.weights")
"""Told on the way to another tensor, and not used for anything else."""


@dataclass(frozen=True)
class TensorFinding:
    """A tensor, its largest relative error over positions, what rounding alone does to it, and where it is worst."""

    name: str
    error: float
    band: float
    position: int

    @property
    def differs(self) -> bool:
        """Say whether rounding does not explain it."""
        return not self.error <= HEADROOM * self.band


@dataclass(frozen=True)
class LayersFinding:
    """What a dump says under the arithmetic that is nearest: tensors in the order of the pass, both ways.

    `text` says how the first divergent tensor differs from what its inputs ask for.
    """

    policy: Policy
    names: str
    free: tuple[TensorFinding, ...]
    forced: tuple[TensorFinding, ...]
    text: str
    unknown: tuple[str, ...]

    @property
    def first_free(self) -> TensorFinding | None:
        """Return the first tensor that parts."""
        return next((one for one in self.free if one.differs), None)

    @property
    def first_forced(self) -> TensorFinding | None:
        """Return the first operation that is wrong about its own inputs."""
        return next((one for one in self.forced if one.differs), None)


class _Pass:
    """A tracer that collects our tensors by name, and puts the engine's in their place where it is told to."""

    def __init__(self, theirs: Dump | None) -> None:
        self.ours: dict[str, Rows] = {}
        self._theirs = theirs

    def event(self, event: Event) -> None:
        """Take one event."""
        if not isinstance(event, TensorEvent) or event.name.endswith(BY_PRODUCTS):
            return
        self.ours.setdefault(event.name, np.asarray(event.values()))
        theirs = None if self._theirs is None else self._theirs.get(event.name)
        if theirs is not None and event.replace is not None:
            event.replace(theirs.reshape(event.shape))


class LayerJudge:
    """Compare dumps of one model with ours."""

    def __init__(self, model: ValidatedModel, profile: Profile, step: Callable[[str], object] = lambda _: None) -> None:
        self._model, self._step = model, step
        self._computed = ComputedRows(model, profile)
        self._policies = tuple(policies(model))

    def judge(self, dump: Dump, ids: Sequence[int], names: Names | None = None) -> LayersFinding:
        """Return the first divergent operation both ways. UnknownNames, ValueError for shapes that do not fit."""
        first = self._policies[0]
        shapes = {name: rows.shape for name, rows in self._run(first.make, ids, None).items()}
        named = names if names is not None else names_of(dump, shapes)
        theirs, unknown = self._ours_of(dump, named, shapes)
        best: tuple[int, float, Policy, tuple[TensorFinding, ...], dict[str, Rows]] | None = None
        for policy in (each for each in self._policies if len(ids) >= each.least):
            self._step(policy.name)
            ours = self._run(policy.make, ids, theirs)
            forced = tuple(self._findings(policy, ids, theirs, ours, forcing=True))
            wrong = sum(one.differs for one in forced)
            size = float(np.median([one.error for one in forced]))
            if best is None or (wrong, size) < best[:2]:
                best = wrong, size, policy, forced, ours
        if best is None:
            raise ValueError("there is no arithmetic to compare with")
        _, _, policy, forced, ours = best
        free = tuple(self._findings(policy, ids, theirs, self._run(policy.make, ids, None), forcing=False))
        wrong_one = next((one for one in forced if one.differs), None)
        text = "" if wrong_one is None else _pattern(theirs[wrong_one.name], ours[wrong_one.name], wrong_one)
        return LayersFinding(policy, named.kind, free, forced, text, unknown)

    def _run(self, make: Make, ids: Sequence[int], theirs: Dump | None) -> dict[str, Rows]:
        """Return our tensors of one pass, with the engine's own inputs where there are some."""
        transformer, seen = self._computed.transformer(make()), _Pass(theirs)
        transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids), tracer=seen)
        return seen.ours

    def _findings(
        self, policy: Policy, ids: Sequence[int], theirs: Dump, ours: Mapping[str, Rows], *, forcing: bool
    ) -> Iterator[TensorFinding]:
        """Yield every tensor that the engine dumped, in our order."""
        beside = [self._run(make, ids, theirs if forcing else None) for make in policy.neighbours]
        for name, mine in ours.items():
            if name not in theirs:
                continue
            errors = _errors(mine, theirs[name])
            bands = [float(_errors(mine, other[name]).max()) for other in beside]
            place = int(np.argmax(errors))
            yield TensorFinding(name, float(errors[place]), max(LEAST_BAND, *bands), place)

    def _ours_of(
        self, dump: Dump, names: Names, shapes: Mapping[str, tuple[int, ...]]
    ) -> tuple[dict[str, Rows], tuple[str, ...]]:
        """Return the engine's tensors by our names, in our order of numbers; and the names that are not known."""
        found: dict[str, Rows] = {}
        unknown = []
        for theirs, rows in dump.items():
            name = names.ours(theirs)
            if name not in shapes or name is None:
                unknown.append(theirs)
                continue
            shape = shapes[name]
            if rows.size != np.prod(shape):
                raise ValueError(f"{theirs} has shape {rows.shape}, which does not fit {name} of shape {shape}")
            flat = rows.reshape(shape[0], -1)
            if names.halves and name.endswith((".attn_q", ".attn_k")) and self._interleaves:
                heads = flat.reshape(len(flat), -1, 2, self._model.hyperparameters.head_dim // 2)
                flat = heads.swapaxes(2, 3).reshape(len(flat), -1)
            found[name] = flat.reshape(shape)
        return found, tuple(unknown)

    @property
    def _interleaves(self) -> bool:
        """Say whether the file has pairs side by side where Hugging Face has halves."""
        return self._model.architecture.rope_pairs == "adjacent" and self._model.container == "gguf"


def _errors(ours: Rows, theirs: Rows) -> NDArray[np.float64]:
    """Return the relative error of each position [n]; what is no number is infinitely wrong."""
    error = relative_error(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1))
    return np.where(np.isnan(error), np.inf, error)


def _pattern(theirs: Rows, ours: Rows, finding: TensorFinding) -> str:
    """Say how a tensor differs at its worst position, as a witness does of a build's memory."""
    found = np.ascontiguousarray(theirs[finding.position].reshape(1, -1), np.float32)
    expected = np.ascontiguousarray(ours[finding.position].reshape(1, -1), np.float32)
    return find_pattern(found, expected, name=finding.name).text
