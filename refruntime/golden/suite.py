"""Run golden cases on a build and judge them, as golden/FORMAT.md says in section 7.

`golden_suite(corpus, build)` opens a corpus; `suite.ids(patterns)` names cases, `suite.run(suite.cases(ids))` runs them
on fresh instances. The report for machines is made by `golden.report`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Final

from refruntime.cases.features import Found
from refruntime.cases.observation import Observation, StatusAnswer, is_failure
from refruntime.cases.steps import Case
from refruntime.contract.profile import CONTRACT_VERSION, Profile
from refruntime.contract.status import Status
from refruntime.differential.case_result import CaseResult
from refruntime.differential.compare import compare_observations
from refruntime.differential.run import PairRun
from refruntime.differential.runner import CaseRunner
from refruntime.differential.verdict import FINE, Verdict, judge
from refruntime.engines.base import Engine
from refruntime.golden.case import parse_case
from refruntime.golden.compare import compare_with_golden, first_differing_sample, golden_outcome
from refruntime.golden.corpus import Corpus, select_ids
from refruntime.golden.expect import GoldenExpectation, inputs_hash, parse_expectation
from refruntime.golden.features import find_for_goldens
from refruntime.golden.index import INDEX, contract_tables, parse_index, profile_of, with_root
from refruntime.golden.reading import GoldenError
from refruntime.golden.values import bytes_hash


@dataclass(frozen=True)
class SampleLines:
    """The sampler trace of the first token that differs, as lines of a report."""

    sample: Mapping[str, Any]

    @property
    def gap(self) -> None:
        """Return None: a trace proposes no option of the contract."""

    @property
    def rules(self) -> Sequence[str]:
        """Return no rule: a trace says where, not why."""
        return ()

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """Return (label, text) pairs."""
        sample = self.sample
        best = ", ".join(f"{token}: {logit}" for token, logit in sample["top"])
        lines = [("sample", f"token {sample['token']} of step {sample['step']}; greatest logits {best}")]
        if "greedy" in sample:
            return [*lines, ("greedy", str(sample["greedy"]))]
        return [
            *lines,
            ("weights", f"{sample['retained']} retained, total {sample['total']}, threshold {sample['threshold']}"),
            ("kept", f"{sample['kept']} of mass {sample['mass']}; the winner has index {sample['index']}"),
            ("state", f"{sample['state_before']} -> {sample['state_after']}, output {sample['output']}"),
            ("coin", f"unit {sample['unit']}, point {sample['point']}"),
        ]

    def document(self) -> dict[str, Any]:
        """Return the entry of the trace."""
        return dict(self.sample)


TABLES: Final = ("profile", "statuses", "exports", "diagnostics")
"""Tables of the index that are taken from the package, so they must be the same."""


@dataclass(frozen=True)
class OpenedGolden:
    """A golden case whose hashes were all recomputed and fit."""

    case: Case
    expectation: GoldenExpectation


@dataclass(frozen=True)
class GoldenSuite(CaseRunner):
    """A build against the goldens of a corpus; made by `golden_suite`.

    Its cases are known by their names: the files of a case are read when it is judged, and one that does not fit its
    hashes is STALE. A file that is missing ends the run: OSError.
    """

    raised: ClassVar = (OSError,)
    corpus: Corpus
    index: Mapping[str, Any]

    @cached_property
    def profile(self) -> Profile:
        """Return the profile of the frozen answers."""
        return profile_of(self.index)

    def ids(self, patterns: Sequence[str] = ()) -> list[str]:
        """Return the ids that any pattern means (an id, a family, a rule, a shell pattern), all without patterns."""
        return select_ids({key: tuple(entry["rules"]) for key, entry in self.index["cases"].items()}, tuple(patterns))

    def cases(self, ids: Iterable[str]) -> list[Case]:
        """Return cases as far as the index knows them: names and rules."""
        return [Case(identifier, (), {}, tuple(self.index["cases"][identifier]["rules"])) for identifier in ids]

    def find(self, cases: Sequence[Case]) -> Found:
        """Ask the build for the features that cases need (ID-1). GoldenError, OSError."""
        return find_for_goldens(self.corpus, self.index, [case.name for case in cases], self.build)

    def needs(self, case: Case) -> Iterable[str]:
        """Return the names of the features that a case needs."""
        features: list[str] = self.index["cases"][case.name]["features"]
        return features

    def open(self, identifier: str) -> OpenedGolden:
        """Read a case and recompute every hash that its verdict depends on. GoldenError when one does not fit."""
        entry, folder = self.index["cases"][identifier], f"cases/{identifier}/"
        golden = parse_case(identifier, self.corpus.read(folder + "case.json"), form=False)
        _check_hash(folder + "case.json", "", entry["case"], golden.hash)
        expectation = parse_expectation(golden, self.corpus.read(folder + "expect.json"), form=False)
        _check_hash(folder + "expect.json", "", entry["expect"], expectation.hash)
        _check_belonging(folder + "expect.json", "$.contract", self.index["contract"], expectation.contract)
        _check_belonging(folder + "expect.json", "$.profile", self.index["profile"]["fingerprint"], expectation.profile)
        for name, wanted in entry["arrays"].items():
            _check_hash(folder + name, "", wanted, bytes_hash(self.corpus.read(folder + name)))
        for spec in golden.models.values():
            model = self.index["models"].get(spec.file)
            if model is None:
                raise GoldenError(INDEX, "$.models", f"the model {spec.file} of {identifier}", "none")
            _check_hash(spec.file, "", model["sha256"], bytes_hash(self.corpus.artifact(spec.file)))
        case = golden.case(self.corpus.artifact)
        _check_hash(folder + "expect.json", "$.inputs", inputs_hash(golden, case), expectation.inputs)
        return OpenedGolden(case, expectation)

    def compared(self, case: Case, offered: frozenset[str]) -> CaseResult:
        """Run one case on a fresh instance and hold it against its frozen answers. OSError."""
        if case.steps:
            return self._required(case)
        try:
            opened = self.open(case.name)
        except GoldenError as error:
            return CaseResult(case, Verdict.STALE, str(error))
        expected = opened.expectation.steps
        case = replace(opened.case, steps=opened.case.steps[: len(expected)])
        seen = self.observed(case)
        comparison, reference = compare_with_golden(case, expected, seen, offered)
        verdict, reason = judge(reference, seen, comparison)
        if verdict is Verdict.BOTH_FAILED and not all(map(is_failure, expected[-1])):
            verdict = Verdict.MATCH
        if verdict in (Verdict.ONLY_REF_FAILED, Verdict.ONLY_WASM_FAILED):
            mine, theirs = reference[-1], seen[len(reference) - 1]
            reason = f"expected {golden_outcome(mine)}, the build: {golden_outcome(theirs)}"
        sample = first_differing_sample(opened.expectation, comparison) if verdict not in FINE else None
        explanation = None if sample is None else SampleLines(sample)
        return CaseResult(case, verdict, reason, PairRun(case, reference, seen, comparison), explanation=explanation)

    def _required(self, case: Case) -> CaseResult:
        """Judge the load of the plain file that every build has to accept (ID-1)."""
        theirs = self.observed(case)
        mine: list[Observation] = [StatusAnswer(case.steps[0], Status.Ok)]
        run = PairRun(case, mine, theirs, compare_observations(mine, theirs))
        verdict, reason = judge(mine, theirs, run.comparison)
        return CaseResult(case, verdict, reason, run)


def golden_suite(corpus: Corpus, build: Callable[[], Engine]) -> GoldenSuite:
    """Open a corpus for a build.

    GoldenError when the index cannot be used, OSError when it is missing.
    """
    index = parse_index(corpus.read(INDEX), form=False)
    if index["contract"] != CONTRACT_VERSION:
        raise GoldenError(INDEX, "$.contract", CONTRACT_VERSION, repr(index["contract"]))
    _check_hash(INDEX, "$.root", index["root"], with_root(index)["root"])
    tables = contract_tables(profile_of(index))
    for key in TABLES:
        if index[key] != tables[key]:
            raise GoldenError(INDEX, f"$.{key}", f"the {key} of contract {CONTRACT_VERSION}", "others")
    return GoldenSuite(build, corpus, index)


def _check_hash(file: str, path: str, expected: str, found: str) -> None:
    if expected != found:
        raise GoldenError(file, path, f"the hash {expected}", found)


def _check_belonging(file: str, path: str, expected: str, found: str) -> None:
    if expected != found:
        raise GoldenError(file, path, f"{expected!r}, as {INDEX} says", repr(found))
