"""Compute the answers of golden cases with the oracle; refuse what one program alone says, or what lies on an edge.

`GoldenFiller.compute` gives what would be written, `write` puts it there, `stored_differences` says in what the files
differ from it. Nothing here judges a build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import numpy as np

from refruntime.cases.observation import Ended, Observation, kind_of
from refruntime.cases.steps import Case, describe
from refruntime.contract.rules import load_rules
from refruntime.differential.compare import compare_observations
from refruntime.differential.margins import Decision, measure_decisions
from refruntime.differential.run import Oracle, observe
from refruntime.differential.samples import Sample, Samples
from refruntime.engines.base import Engine, EngineError
from refruntime.golden.case import GoldenCase
from refruntime.golden.corpus import Corpus
from refruntime.golden.expect import expectation_document
from refruntime.golden.opinions import OPINIONS
from refruntime.golden.reading import GoldenError, parse_document, shown
from refruntime.golden.samples import SampleTrace
from refruntime.golden.values import ARRAY_TYPES, disk_json, parse_npy
from refruntime.memory import HostMisuse

_ABSENT: Final = object()


@dataclass(frozen=True)
class Problem:
    """Why a case is refused, or in what it differs: `place` such as `step 3 generate(...)`, `field`, and the text."""

    place: str
    field: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.field, self.text) if part)


@dataclass(frozen=True)
class SecondOpinion:
    """A build that shares no code with the oracle: its name for the provenance, and what makes fresh instances.

    `missing` says what it does not have of what a case needs, empty if it has all (ID-1).
    """

    name: str
    fresh: Callable[[], Engine]
    missing: Callable[[Case], str] = lambda _: ""


@dataclass(frozen=True)
class Computed:
    """What the oracle says of a case: files by name, or the problems for which it is refused."""

    id: str
    document: dict[str, Any] | None = None
    arrays: Mapping[str, bytes] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Answered:
    """What the oracle says of a case: its observations and samples; the problems for which it cannot be a golden."""

    observations: Sequence[Observation]
    samples: Sequence[Sample]
    problems: tuple[Problem, ...] = ()
    complete: bool = True


def answer_case(case: Case, oracle: Oracle, *, exact: bool) -> Answered:
    """Let the oracle answer a case; with `exact` its decisions may lie on an edge."""
    observations: list[Observation] = []
    samples = Samples(observations)
    try:
        observe(case, oracle.engine(tracer=samples), oracle.profile, observations)
    except HostMisuse as misuse:
        text = f"the case does what the contract leaves undefined: {misuse}"
        return Answered(observations, samples.all, (Problem("", "", text),), complete=False)
    last = observations[-1]
    if isinstance(last, Ended):
        stopped = Problem(_place(len(observations) - 1, observations), kind_of(last), last.detail)
        return Answered(observations, samples.all, (stopped,), complete=False)
    ties = [] if exact else _near_ties(samples.all, observations, oracle)
    return Answered(observations, samples.all, tuple(ties))


@dataclass(frozen=True)
class GoldenFiller:
    """Compute and write the answers of a corpus. `info` is provenance for people; it is never hashed."""

    corpus: Corpus
    oracle: Oracle
    opinion: SecondOpinion
    info: Mapping[str, str]
    rules: frozenset[str] = field(default_factory=lambda: frozenset(load_rules()))

    def compute(self, identifier: str) -> Computed:
        """Return what would be written for a case; whatever is wrong with it is a problem, not an exception."""
        try:
            golden = self.corpus.case(identifier)
            return self._compute(golden, golden.case(self.corpus.artifact))
        except GoldenError as error:
            return Computed(identifier, problems=(Problem("", "", str(error)),))
        except OSError as error:
            return Computed(identifier, problems=(Problem("", "", f"{error.filename}: {error.strerror}"),))

    def _compute(self, golden: GoldenCase, case: Case) -> Computed:
        unknown = [rule for rule in golden.rules if rule not in self.rules]
        problems = [Problem("", "rules", f"the contract has no rule {rule}") for rule in unknown]
        answered = answer_case(case, self.oracle, exact=bool(golden.exact))
        problems += answered.problems
        observations, samples = answered.observations, answered.samples
        if not answered.complete:
            return Computed(golden.id, problems=tuple(problems))
        found, witness = self._second_opinion(golden, case, observations)
        problems += found
        trace = SampleTrace(self.oracle.profile)
        for sample in samples:
            trace.add(sample.step, sample.choice, sample.logits)
        info = {**self.info, "second_opinion": witness}
        document = expectation_document(golden, case, observations, trace.documents, self.oracle.profile, info)
        return Computed(golden.id, document, trace.arrays(), tuple(problems))

    def _second_opinion(
        self, golden: GoldenCase, case: Case, observations: Sequence[Observation]
    ) -> tuple[list[Problem], str]:
        """Return what another program says against the oracle's answers, and who that was."""
        if golden.opinion:
            check = OPINIONS.get(golden.opinion)
            if check is None:
                text = f"expected one of {', '.join(OPINIONS)}, found {golden.opinion!r}"
                return [Problem("", "opinion", text)], golden.opinion
            objections = check(case, observations, self.opinion.fresh, self.oracle.profile)
            found = [Problem(_place(item.step, observations), item.field, item.text) for item in objections]
            return found, f"{golden.opinion}, {self.opinion.name}"
        missing = self.opinion.missing(case)
        if missing:
            text = f"{missing}; name an independent check in `opinion`: {', '.join(OPINIONS)}"
            return [Problem("", "second opinion", text)], self.opinion.name
        try:
            theirs = observe(case, self.opinion.fresh(), self.oracle.profile)
        except EngineError as error:
            return [Problem("", "second opinion", str(error))], self.opinion.name
        comparison = compare_observations(observations, theirs)
        if comparison.first is None and not comparison.lost:
            return [], self.opinion.name
        if comparison.first is None:
            lost = ", ".join(sorted(comparison.lost))
            return [Problem("", "second opinion", f"it does not show {lost}")], self.opinion.name
        place = _place(comparison.first.index, observations)
        return [
            Problem(place, item.field, f"oracle {_shown(item.reference)}, second opinion {_shown(item.build)}")
            for item in comparison.differences
        ], self.opinion.name

    # Files -----------------------------------------------------------------------------------------------------------

    def write(self, computed: Computed) -> bool:
        """Write the files of a case without problems, each as a whole; say whether any changed."""
        return write_computed(self.corpus, computed)

    def stored_differences(self, computed: Computed) -> Iterator[Problem]:
        """Yield in what the files of a case differ from what was computed, by step and field."""
        folder = f"cases/{computed.id}/"
        try:
            data = self.corpus.read_if_there(folder + "expect.json")
            if data is None:
                yield Problem("expect.json", "", "it does not exist; run refruntime fill")
                return
            stored = parse_document(data, folder + "expect.json")
        except GoldenError as error:
            yield Problem("", "", str(error))
            return
        yield from document_differences(stored, computed.document)
        for name, type_ in ARRAY_TYPES.items():
            old, new = self.corpus.read_if_there(folder + name), computed.arrays.get(name)
            if old != new:
                yield Problem(name, "", _array_difference(old, new, type_))


def write_computed(corpus: Corpus, computed: Computed) -> bool:
    """Write the files of a case without problems, each as a whole; say whether any changed."""
    folder = f"cases/{computed.id}/"
    changed = False
    for name in ARRAY_TYPES:
        if name in computed.arrays:
            changed |= corpus.write(folder + name, computed.arrays[name])
        else:
            changed |= corpus.remove(folder + name)
    if not _same_document(corpus, computed):
        changed |= corpus.write(folder + "expect.json", disk_json(computed.document))
    return changed


def _same_document(corpus: Corpus, computed: Computed) -> bool:
    """Say whether the stored answers are these, on disk as they should be; other provenance is no change."""
    name = f"cases/{computed.id}/expect.json"
    try:
        data = corpus.read_if_there(name)
        stored = None if data is None else parse_document(data, name)
    except GoldenError:
        return False
    if not isinstance(stored, dict) or computed.document is None or data != disk_json(stored):
        return False
    return disk_json(_without_provenance(stored)) == disk_json(_without_provenance(computed.document))


def _without_provenance(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "_info"}


def document_differences(stored: Any, computed: Any) -> Iterator[Problem]:
    """Yield where two `expect.json` differ, comments aside: by step and field for the answers and the trace."""
    if not isinstance(stored, dict) or not isinstance(computed, dict):
        yield Problem("expect.json", "", f"stored {shown(stored)}, computed {shown(computed)}")
        return
    for key in _keys(stored, computed):
        old, new = stored.get(key, _ABSENT), computed.get(key, _ABSENT)
        if key not in ("steps", "samples") or not isinstance(old, list) or not isinstance(new, list):
            yield from _leaves("", key, old, new)
            continue
        if len(old) != len(new):
            yield Problem("", key, f"stored {len(old)} entries, computed {len(new)}")
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            yield from _leaves(f"{key.removesuffix('s')} {index}", "", before, after)


def _leaves(place: str, path: str, old: Any, new: Any) -> Iterator[Problem]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in _keys(old, new):
            below = f"{path}.{key}" if path else key
            yield from _leaves(place, below, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif old != new or type(old) is not type(new):
        yield Problem(place, path, f"stored {_side(old)}, computed {_side(new)}")


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted(old.keys() | new.keys()) if not key.startswith("_")]


def _side(value: Any) -> str:
    return "nothing" if value is _ABSENT else shown(value)


def _array_difference(old: bytes | None, new: bytes | None, type_: str) -> str:
    if old is None or new is None:
        return "it does not exist" if old is None else "no token is drawn, so it should not exist"
    before, after = parse_npy(old, type_), parse_npy(new, type_)
    if before is None or after is None:
        return "it is not an array of this format"
    if before.size != after.size:
        return f"stored {before.size} numbers, computed {after.size}"
    places = np.flatnonzero(before.view("<u4") != after.view("<u4"))
    return f"[{places[0]}]: stored {before[places[0]]!r}, computed {after[places[0]]!r}"


def _near_ties(samples: Sequence[Sample], observations: Sequence[Observation], oracle: Oracle) -> list[Problem]:
    """Return a problem for every decision that float32 cannot tell."""
    problems = []
    start = 0
    for artifact, group in groupby(samples, key=lambda sample: sample.artifact):
        of_model = list(group)
        exact = oracle.bind(artifact, oracle.profile, oracle.exact).transformer
        for decision in measure_decisions(of_model, exact, start):
            if decision.near_tie:
                problems.append(_tie(decision, samples[decision.sample], observations))
        start += len(of_model)
    return problems


def _tie(decision: Decision, sample: Sample, observations: Sequence[Observation]) -> Problem:
    token = sample.choice.token
    text = (
        f"a near tie: sample {decision.sample}, token {token}: margin {decision.margin:.3g}, band {decision.band:.3g}; "
        "if no order of additions can change these logits, say why in `exact`"
    )
    return Problem(_place(sample.step, observations), decision.name, text)


def _place(index: int, observations: Sequence[Observation]) -> str:
    return f"step {index} {describe(observations[index].step)}" if index < len(observations) else f"step {index}"


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else shown(value)
