"""Compare a dump of an engine's intermediate tensors with ours, freely and with the engine's own inputs.

Free-running says where the numbers part. Teacher-forced, each operation of ours gets what the engine computed before
it, so that an error is charged to the operation that makes it and to no later one.

How far rounding carries a tensor is measured on this model and text, by engines of the same arithmetic that are treated
as the judged one is: sums in other orders, inputs quantised by another formula, every result off by up to one unit in
the last place, and where an engine runs freely also inputs that rounding turned over. One more engine may lie as much
beyond the farthest of them as the farthest lies beyond the nearest, in the median of tensors and positions. Operations
of one kind have one limit, that of the layer where it is widest: some roundings turn over rarely, and may in any layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.fidelity.layers import relative_error
from refruntime.judge.computed import ComputedRows
from refruntime.judge.names import Names, names_of
from refruntime.judge.noise import apart_at_positions
from refruntime.judge.policies import Make, Policy, policies
from refruntime.model.validated import ValidatedModel
from refruntime.numerics.blas import one_blas_thread
from refruntime.numerics.ggml32.reordered import moved_by_units
from refruntime.trace import Event, TensorEvent
from refruntime.witness.patterns import OTHER, find_pattern

Rows = NDArray[Any]
Dump = Mapping[str, Rows]

SEED: Final = 3
"""Of the engine whose results are off by a unit."""
BY_PRODUCTS: Final = ("attn.scores", "attn.weights")
"""Told on the way to another tensor, and not used for anything else."""


@dataclass(frozen=True)
class TensorFinding:
    """A tensor, its largest relative error over positions, what rounding alone does to it, and where it is worst.

    `band` is the farthest that was measured, `limit` how far one more engine may lie.
    """

    name: str
    error: float
    band: float
    limit: float
    position: int

    @property
    def differs(self) -> bool:
        """Say whether rounding does not explain it."""
        return not self.error <= self.limit


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
        """Return the first tensor that parts: at the latest where an operation is wrong about its own inputs.

        In a deep model with quantised inputs rounding alone carries the tensors behind it farther than many faults.
        """
        pairs = zip(self.free, self.forced, strict=True)
        return next((one for one, own in pairs if one.differs or own.differs), None)

    @property
    def first_forced(self) -> TensorFinding | None:
        """Return the first operation that is wrong about its own inputs."""
        return next((one for one in self.forced if one.differs), None)


class _Pass:
    """A tracer that collects our tensors by name, and puts the engine's in their place where it is told to.

    With a generator every tensor is moved by up to one unit in the last place of float32 first.
    """

    def __init__(self, theirs: Dump | None, random: np.random.Generator | None = None) -> None:
        self.ours: dict[str, Rows] = {}
        self._theirs, self._random = theirs, random

    def event(self, event: Event) -> None:
        """Take one event."""
        if not isinstance(event, TensorEvent) or event.name.endswith(BY_PRODUCTS):
            return
        values = np.asarray(event.values())
        if self._random is not None and event.replace is not None:
            values = moved_by_units(values, self._random).astype(values.dtype)
            event.replace(values)
        self.ours.setdefault(event.name, values)
        theirs = None if self._theirs is None else self._theirs.get(event.name)
        if theirs is not None and event.replace is not None:
            event.replace(theirs.reshape(event.shape))


class LayerJudge:
    """Compare dumps of one model with ours."""

    def __init__(self, model: ValidatedModel, profile: Profile, step: Callable[[str], object] = lambda _: None) -> None:
        self._model, self._step = model, step
        self._computed = ComputedRows(model, profile)
        self._policies = tuple(policies(model))

    @one_blas_thread()
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
            forced = tuple(self._findings(policy, ids, theirs, ours, theirs))
            wrong = sum(one.differs for one in forced)
            size = float(np.median([one.error for one in forced]))
            if best is None or (wrong, size) < best[:2]:
                best = wrong, size, policy, forced, ours
        if best is None:
            raise ValueError("there is no arithmetic to compare with")
        _, _, policy, forced, ours = best
        freely = self._run(policy.make, ids, None)
        free = tuple(self._findings(policy, ids, theirs, freely, None))
        wrong_one = next((one for one in forced if one.differs), None)
        text = "" if wrong_one is None else _pattern(theirs[wrong_one.name], ours[wrong_one.name], wrong_one)
        return LayersFinding(policy, named.kind, free, forced, text, unknown)

    def _run(self, make: Make, ids: Sequence[int], theirs: Dump | None, moved: bool = False) -> dict[str, Rows]:
        """Return our tensors of one pass, with the engine's own inputs where there are some."""
        transformer = self._computed.transformer(make())
        seen = _Pass(theirs, np.random.default_rng(SEED) if moved else None)
        transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids), tracer=seen)
        return seen.ours

    def _findings(
        self, policy: Policy, ids: Sequence[int], theirs: Dump, ours: Mapping[str, Rows], forcing: Dump | None
    ) -> Iterator[TensorFinding]:
        """Yield every tensor that the engine dumped, in our order."""
        known = [self._run(make, ids, forcing) for make in (*policy.neighbours, *policy.requantised)]
        known.append(self._run(policy.make, ids, forcing, moved=True))
        errors = {name: [_errors(ours[name], each[name]) for each in known] for name in ours if name in theirs}
        apart = apart_at_positions(errors.values())
        if forcing is None:
            for make in policy.accidents:
                turned = self._run(make, ids, None)
                for name, rows in errors.items():
                    rows.append(_errors(ours[name], turned[name]))
        widest: dict[str, float] = {}
        for name, rows in errors.items():
            widest[_operation(name)] = max(float(np.max(rows)), widest.get(_operation(name), 0.0))
        for name, rows in errors.items():
            found = _errors(ours[name], theirs[name])
            place, limit = int(np.argmax(found)), apart * widest[_operation(name)]
            yield TensorFinding(name, float(found[place]), float(np.max(rows)), limit, place)

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


def _operation(name: str) -> str:
    """Return a name without its layer."""
    return re.sub(r"^blk\.\d+\.", "", name)


def _errors(ours: Rows, theirs: Rows) -> NDArray[np.float64]:
    """Return the relative error of each position [n]; what is no number is infinitely wrong."""
    error = relative_error(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1))
    return np.where(np.isnan(error), np.inf, error)


def _pattern(theirs: Rows, ours: Rows, finding: TensorFinding) -> str:
    """Say how a tensor differs at its worst position, as a witness does of a build's memory.

    Numbers that rounding explains are taken for ours, unless most others have a pattern that holds for them too.
    """
    found = np.ascontiguousarray(theirs[finding.position].reshape(1, -1), np.float32)
    expected = np.ascontiguousarray(ours[finding.position].reshape(1, -1), np.float32)
    rounds = np.abs(found.astype(np.float64) - expected) <= finding.limit * np.linalg.norm(expected.astype(np.float64))
    whole = find_pattern(found, expected, name=finding.name)
    beyond = find_pattern(np.where(rounds, expected, found), expected, name=finding.name)
    holds = whole.kind == beyond.kind != OTHER and 2 * int(rounds.sum()) < rounds.size
    return (whole if holds else beyond).text
