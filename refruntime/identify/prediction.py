"""What the oracle answers to an experiment under every choice of switches, explored only as far as it is asked for.

The answers of an experiment are a tree: a switch that the oracle reads is a fork, an answer is an edge without one.
A switch that is never read on a path cannot matter there, and a path that a build's answer contradicts is left at
that answer, with all choices that would have been made further on. So the product of all options is never walked.
Trees depend on no build: they are kept, and the next build finds them grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from refruntime.cases.observation import Observation
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import Case, Generate
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.differential.run import guessed_tokens
from refruntime.identify.oracle import MachineMaker, reading_engine
from refruntime.identify.reading import SWITCHES, ReadingBinder, ReadingProfile
from refruntime.numerics import Numerics
from refruntime.runtime import Machine

_READER: Final = Profile()
"""Says how documents are read, which no switch decides."""

Assignment = Mapping[str, Any]
"""Attribute of the profile -> the option that holds."""

Allowed = Callable[[Assignment, str], Iterable[Any]]
"""Return the options that are left for an attribute, after an assignment of others."""

Fits = Callable[[int, Observation], bool]
"""Say whether the oracle's answer to the step of this number is the build's."""


@dataclass
class _Node:
    """A place in the tree: `reads` is the switch read here, or `answer` what the oracle says here; else unexplored."""

    reads: str = ""
    children: dict[Any, _Node] = field(default_factory=dict)
    answer: Observation | None = None
    after: _Node | None = None
    ended: bool = False

    @property
    def explored(self) -> bool:
        return bool(self.reads) or self.answer is not None or self.ended


class _NothingLeft(Exception):
    """No option is left for a switch that the oracle reads."""


@dataclass(frozen=True)
class _Question:
    """An experiment, the options that are left, and the build's answers."""

    experiment: Case
    allowed: Allowed
    fits: Fits
    answers: Sequence[Observation]


@dataclass
class Predictions:
    """The oracle's side of identification: experiments by name, each with its tree. `base` has what is no switch."""

    base: Profile
    numerics: Numerics
    open_switches: frozenset[str] = frozenset(SWITCHES)
    bind: ReadingBinder = field(default_factory=ReadingBinder)
    machine: MachineMaker = Machine.fresh
    runs: int = 0
    _trees: dict[str, _Node] = field(default_factory=dict)

    def agreeing(
        self, experiment: Case, allowed: Allowed, fits: Fits, answers: Sequence[Observation]
    ) -> Iterator[dict[str, Any]]:
        """Yield each assignment, of the switches that matter alone, under which as many answers fit as there are.

        The tokens of the answers are a guess of what comes, which saves time. HostMisuse: under some choice the
        experiment does what the contract leaves undefined.
        """
        root = self._trees.setdefault(experiment.name, _Node())
        yield from self._walk(_Question(experiment, allowed, fits, answers), root, {}, 0)

    def reads(self, experiment: Case) -> frozenset[str]:
        """Return the switches that were read on any explored path of an experiment."""
        found: set[str] = set()
        open_nodes = [self._trees.get(experiment.name, _Node())]
        while open_nodes:
            node = open_nodes.pop()
            if node.reads:
                found.add(node.reads)
                open_nodes += node.children.values()
            if node.after is not None:
                open_nodes.append(node.after)
        return frozenset(found)

    def paths(self, experiment: Case) -> Iterator[Assignment]:
        """Yield the explored choices of the switches that matter in an experiment."""
        open_paths: list[tuple[_Node, dict[str, Any]]] = [(self._trees.get(experiment.name, _Node()), {})]
        while open_paths:
            node, assignment = open_paths.pop()
            if node.reads:
                open_paths += [(child, {**assignment, node.reads: value}) for value, child in node.children.items()]
            elif node.after is not None:
                open_paths.append((node.after, assignment))
            else:
                yield assignment

    def _walk(
        self, question: _Question, node: _Node, assignment: dict[str, Any], step: int
    ) -> Iterator[dict[str, Any]]:
        while True:
            if step == len(question.answers) or node.ended:
                yield dict(assignment)
                return
            if not node.explored:
                self._explore(question, assignment)
                if not node.explored:
                    return
                continue
            if node.reads:
                for value in list(question.allowed(assignment, node.reads)):
                    child = node.children.setdefault(value, _Node())
                    assignment[node.reads] = value
                    yield from self._walk(question, child, assignment, step)
                    del assignment[node.reads]
                return
            if node.answer is None or node.after is None or not question.fits(step, node.answer):
                return
            node, step = node.after, step + 1

    def _explore(self, question: _Question, fixed: Mapping[str, Any]) -> None:
        """Run the oracle once under `fixed` and any allowed options beyond; write down what it reads and answers."""
        self.runs += 1
        experiment, answers = question.experiment, question.answers
        node = self._trees[experiment.name]
        chosen: dict[str, Any] = {}

        def choose(name: str) -> Any:
            nonlocal node
            if name not in chosen:
                if not node.explored:
                    node.reads = name
                if node.reads != name:
                    raise RuntimeError(
                        f"{experiment.name}: read {name} where {node.reads or 'nothing'} was read before"
                    )
                value = fixed.get(name) if name in fixed else next(iter(question.allowed(chosen, name)), None)
                if value is None:
                    raise _NothingLeft
                chosen[name] = value
                node = node.children.setdefault(value, _Node())
            return chosen[name]

        profile = ReadingProfile(self.base, choose, chosen, self.open_switches)
        engine = reading_engine(profile, self.numerics, self.bind, self.machine)
        session = StepRunner(Client(engine), _READER, experiment.models)
        try:
            for index, step in enumerate(experiment.steps[: len(answers)]):
                if isinstance(step, Generate):
                    engine.expect(guessed_tokens(index, answers, engine))
                answer = session.run(step)
                if node.answer is None:
                    node.answer, node.after = answer, _Node()
                if node.after is None or not question.fits(index, node.answer):
                    return
                node = node.after
        except _NothingLeft:
            return
        if len(answers) == len(experiment.steps):
            node.ended = True
