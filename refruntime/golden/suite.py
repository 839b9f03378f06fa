"""Run golden cases on a build and judge them, as golden/FORMAT.md says in section 7.

`Consumer(corpus, fresh)` opens a corpus; `consumer.ids(patterns)` names cases, `consumer.judge(id)` runs one on a fresh
instance and gives a `GoldenResult`; `consumer.run(ids)` runs many. The report for machines is made by `golden_report`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from refruntime.cases.features import Found
from refruntime.cases.observe import Observation
from refruntime.cases.steps import INIT, Case
from refruntime.contract.profile import CONTRACT_VERSION, Profile
from refruntime.contract.status import Status
from refruntime.differential.compare import Comparison, compare_observations, float32_bits, offered_fields
from refruntime.differential.patience import Patience
from refruntime.differential.run import PairRun, observe
from refruntime.differential.suite import NOTHING_ABSENT, CaseResult, kept, not_instantiated
from refruntime.differential.verdict import FINE, Verdict, is_failure, judge
from refruntime.engines.base import Engine, EngineError
from refruntime.golden.case import parse_case
from refruntime.golden.corpus import Corpus, select_ids
from refruntime.golden.expect import (
    NON_ZERO,
    ExpectedAnswer,
    GoldenExpectation,
    inputs_hash,
    known_as_zero_or_not,
    parse_expectation,
)
from refruntime.golden.features import find_for_goldens
from refruntime.golden.index import INDEX, contract_tables, parse_index, profile_of, with_root
from refruntime.golden.reading import GoldenError
from refruntime.golden.values import bytes_hash

TABLES: Final = ("profile", "statuses", "exports", "diagnostics")
"""Tables of the index that this consumer takes from the package, so they must be the same."""

FIRST_TEXT_TOKEN: Final = 256
"""In every byte vocabulary the tokens below are one byte of text, and the next four are specials."""


@dataclass(frozen=True)
class GoldenResult:
    """One golden case, judged. `sample` is the entry of the sampler trace of the first token that differs."""

    result: CaseResult
    sample: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """Return the id of the case."""
        return self.result.case.name

    @property
    def verdict(self) -> Verdict:
        """Return the verdict."""
        return self.result.verdict


@dataclass(frozen=True)
class GoldenRun:
    """All judged cases of a run, in order; `offered` are the diagnostics fields of the build.

    `found` is what the build was asked for and does not have; `skipped` cases did not run.
    """

    index: Mapping[str, Any]
    offered: frozenset[str]
    results: tuple[GoldenResult, ...]
    found: Found = NOTHING_ABSENT
    skipped: int = 0


@dataclass(frozen=True)
class OpenedGolden:
    """A golden case whose hashes were all recomputed and fit."""

    case: Case
    expectation: GoldenExpectation


@dataclass
class Consumer:
    """The goldens of a corpus against a build, given by a function that makes fresh instances.

    GoldenError when the index cannot be used, OSError when a file is missing.
    """

    corpus: Corpus
    fresh: Callable[[], Engine]
    index: Mapping[str, Any] = field(init=False)
    profile: Profile = field(init=False)

    def __post_init__(self) -> None:
        self.index = parse_index(self.corpus.read(INDEX), form=False)
        if self.index["contract"] != CONTRACT_VERSION:
            raise GoldenError(INDEX, "$.contract", CONTRACT_VERSION, repr(self.index["contract"]))
        _check_hash(INDEX, "$.root", self.index["root"], with_root(self.index)["root"])
        self.profile = profile_of(self.index)
        tables = contract_tables(self.profile)
        for key in TABLES:
            if self.index[key] != tables[key]:
                raise GoldenError(INDEX, f"$.{key}", f"the {key} of contract {CONTRACT_VERSION}", "others")

    @cached_property
    def offered(self) -> frozenset[str]:
        """Return the diagnostics fields that a fresh build shows; none if it cannot even start."""
        try:
            return offered_fields(observe(Case("offered", (INIT,)), self.fresh(), self.profile))
        except EngineError:
            return frozenset()

    def ids(self, patterns: Sequence[str] = ()) -> list[str]:
        """Return the ids that any pattern means (an id, a family, a rule, a shell pattern), all without patterns."""
        return select_ids({key: tuple(entry["rules"]) for key, entry in self.index["cases"].items()}, tuple(patterns))

    def find(self, ids: Sequence[str]) -> Found:
        """Ask the build for the features that cases need (ID-1). GoldenError, OSError."""
        return find_for_goldens(self.corpus, self.index, ids, self.fresh)

    def run(
        self,
        ids: Sequence[str],
        after_case: Callable[[GoldenResult], object] | None = None,
        *,
        max_fail: int | None = None,
    ) -> GoldenRun:
        """Judge cases in order; after five that a limit stopped the others are POISONED. GoldenError, OSError.

        None runs after `max_fail` that are not fine. Where the build refuses the plain file on which all
        stands, the case that shows it comes first.
        """
        found = self.find(ids)
        results = [] if found.required is None else [_refused(found, found.required)]
        failed = len(results)
        wanted = [] if failed and failed == max_fail else ids
        if results and after_case is not None:
            after_case(results[0])
        skipped = len(ids) + len(results)
        patience = Patience()
        for identifier in wanted:
            if reason := patience.exhausted():
                golden = GoldenResult(CaseResult(self._nameless(identifier), Verdict.POISONED, reason))
            else:
                golden = self.judge(identifier, found)
                patience.saw(golden.verdict)
            results.append(replace(golden, result=kept(golden.result)))
            if after_case is not None:
                after_case(golden)
            failed += golden.verdict not in FINE
            if failed == max_fail:
                break
        return GoldenRun(self.index, self.offered, tuple(results), found, skipped - len(results))

    def judge(self, identifier: str, found: Found | None = None) -> GoldenResult:
        """Run one case on a fresh instance; a bug of this tool is a verdict, not an exception. OSError.

        A case that needs what is absent in `found` is not run; without `found` the build is asked for this case.
        """
        found = self.find([identifier]).of_one_case if found is None else found
        missing = found.reason(self.index["cases"][identifier]["features"])
        if missing:
            return GoldenResult(CaseResult(self._nameless(identifier), Verdict.UNSUPPORTED, missing))
        began = time.perf_counter()
        try:
            golden = self._judge(identifier)
        except OSError:
            raise
        except Exception:
            crashed = CaseResult(self._nameless(identifier), Verdict.ORACLE_CRASH, crash=traceback.format_exc())
            golden = GoldenResult(crashed)
        return replace(golden, result=replace(golden.result, seconds=time.perf_counter() - began))

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

    def _judge(self, identifier: str) -> GoldenResult:
        try:
            opened = self.open(identifier)
        except GoldenError as error:
            return GoldenResult(CaseResult(self._nameless(identifier), Verdict.STALE, str(error)))
        expected = opened.expectation.steps
        case = replace(opened.case, steps=opened.case.steps[: len(expected)])
        try:
            seen = observe(case, self.fresh(), self.profile)
        except EngineError as error:  # the module cannot even be instantiated
            seen = [not_instantiated(case, error)]
        comparison, reference = compare_with_golden(case, expected, seen, self.offered)
        verdict, reason = judge(reference, seen, comparison)
        if verdict is Verdict.BOTH_FAILED and not all(map(_fails, expected[-1])):
            verdict = Verdict.MATCH
        if verdict in (Verdict.ONLY_REF_FAILED, Verdict.ONLY_WASM_FAILED):
            mine, theirs = reference[-1], seen[len(reference) - 1]
            reason = f"expected {golden_outcome(mine)}, the build: {golden_outcome(theirs)}"
        result = CaseResult(case, verdict, reason, PairRun(case, reference, seen, comparison))
        sample = first_differing_sample(opened.expectation, comparison) if verdict not in FINE else None
        return GoldenResult(result, sample)

    def _nameless(self, identifier: str) -> Case:
        """Return the case as far as the index knows it."""
        return Case(identifier, (), {}, tuple(self.index["cases"][identifier]["rules"]))


def _refused(found: Found, case: Case) -> GoldenResult:
    """Return the result that shows how the build refuses what it has to have (ID-1)."""
    (step,), (name,) = case.steps, case.models
    mine, theirs = Observation(step, "status", int(Status.Ok)), Observation(step, "status", int(found.absent[name]))
    run = PairRun(case, [mine], [theirs], compare_observations([mine], [theirs]))
    return GoldenResult(CaseResult(case, Verdict.ONLY_WASM_FAILED, found.refusal, run))


def _check_hash(file: str, path: str, expected: str, found: str) -> None:
    if expected != found:
        raise GoldenError(file, path, f"the hash {expected}", found)


def _check_belonging(file: str, path: str, expected: str, found: str) -> None:
    if expected != found:
        raise GoldenError(file, path, f"{expected!r}, as {INDEX} says", repr(found))


def _fails(answer: ExpectedAnswer) -> bool:
    return is_failure(answer.observation(INIT))


# Comparison ----------------------------------------------------------------------------------------------------------


def compare_with_golden(
    case: Case, expected: Sequence[Sequence[ExpectedAnswer]], seen: Sequence[Observation], offered: Collection[str] = ()
) -> tuple[Comparison, list[Observation]]:
    """Compare what a build showed with the right answers, up to the first step that differs.

    Returns the comparison, and for each compared step the right answer that it was held against: the first that agrees,
    else the first that is no failure, else the first.
    """
    known = offered_fields(seen) | frozenset(offered)
    total = Comparison()
    reference: list[Observation] = []
    for index, (answers, step) in enumerate(zip(expected, case.steps, strict=True)):
        theirs = seen[index] if index < len(seen) else Observation(step, "error", detail="the session ended before")
        right = [answer.observation(step) for answer in sorted(answers, key=_fails)]
        compared = [(mine, _compare_step(mine, theirs, known)) for mine in right]
        mine, comparison = next((pair for pair in compared if pair[1].first is None), compared[0])
        reference.append(mine)
        total.steps += 1
        total.compared.update(comparison.compared)
        total.lost.update(comparison.lost)
        total.tokens += comparison.tokens
        if comparison.first is not None:
            total.differences = [replace(item, index=index) for item in comparison.differences]
            return total, reference
    return total, reference


def _compare_step(mine: Observation, theirs: Observation, known: Collection[str]) -> Comparison:
    if mine.kind != theirs.kind:  # then nothing but that is compared
        mine = replace(mine, result=None, diagnostics=None)
    return compare_observations([mine], [theirs], known, same_as_golden)


def same_as_golden(mine: Any, theirs: Any) -> bool:
    """Say whether a diagnostics value means what the golden says: floats as float32, all else identical."""
    if isinstance(mine, float):
        is_number = isinstance(theirs, int | float) and not isinstance(theirs, bool)
        return is_number and float32_bits(mine) == float32_bits(theirs)
    if isinstance(mine, list):
        return isinstance(theirs, list) and len(mine) == len(theirs) and all(map(same_as_golden, mine, theirs))
    if isinstance(mine, dict):
        same_keys = isinstance(theirs, dict) and mine.keys() == theirs.keys()
        return same_keys and all(same_as_golden(mine[key], theirs[key]) for key in mine)
    return type(mine) is type(theirs) and bool(mine == theirs)


def golden_outcome(observation: Observation) -> int | str:
    """Return how a step ended, as the golden format names it."""
    if observation.kind == "status":
        code = observation.value or 0
        return next((status.name for status in Status if status == code), f"unknown status {code}")
    if observation.kind == "value":
        value = observation.value or 0
        return NON_ZERO if value and known_as_zero_or_not(observation.step) else value
    return f"{observation.kind}: {observation.detail}" if observation.detail else observation.kind


def first_differing_sample(expectation: GoldenExpectation, comparison: Comparison) -> Mapping[str, Any] | None:
    """Return the entry of the sampler trace of the first token that differs; None where the step samples none.

    Where the result text differs, the place in the text tells the token: a token below 256 is one byte of it in every
    byte vocabulary. In other vocabularies the place among the tokens is estimated.
    """
    first = comparison.first
    if first is None:
        return None
    samples = [sample for sample in expectation.samples if sample["step"] == first.index]
    texts = [(item.reference, item.build) for item in comparison.differences if item.field == "result"]
    if not samples or not texts or not texts[0][0]:
        return samples[-1] if samples else None
    mine, theirs = texts[0]
    pairs = zip(mine, theirs or b"", strict=False)
    offset = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(mine), len(theirs or b"")))
    specials = range(FIRST_TEXT_TOKEN, FIRST_TEXT_TOKEN + 4)
    written = [sample for sample in samples if sample["token"] not in specials]
    place = offset if len(written) == len(mine) else offset * len(written) // len(mine)
    return written[place] if place < len(written) else samples[-1]
