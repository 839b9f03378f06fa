"""The goldens of the project: enough of them, each with a point, all right, and sharp enough to catch seeded bugs."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from refruntime.battery.features import FEATURES
from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.contract.rules import load_rules
from refruntime.differential.verdict import FINE
from refruntime.engines.base import Engine, Limits
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.golden.corpus import Corpus
from refruntime.golden.features import plain_path
from refruntime.golden.suite import golden_suite
from refruntime.golden.verify import verify
from refruntime.golden.verify_files import unpinned_rules

PROJECT = Path(__file__).resolve().parents[2]
GOLDEN = PROJECT / "golden"
GUEST = PROJECT / "tests" / "guest"
MUTANTS = sorted((GUEST / "mutants").glob("guest-bug-*.wasm"))
BUGS: dict[str, dict[str, str]] = json.loads((GUEST / "bugs.json").read_text("utf-8"))

FAMILIES = ("abi", "containers", "errors", "generate", "load", "memory", "quants", "sampling", "tokenize")
LEAST_OF_A_FAMILY = 15
LEAST_CASES = 150
MOST_STEPS = 20
MOST_BYTES = 8_000_000


def bug_of(module: Path) -> str:
    return module.stem.removeprefix("guest-bug-")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(GOLDEN)


def instances(module: Path) -> Callable[[], Engine]:
    """Return what makes fresh instances of a module."""
    compiled, limits = WasmModule(module.read_bytes()), Limits(seconds=20)
    return lambda: WasmEngine(compiled, limits)


def test_the_corpus_is_verified(corpus: Corpus) -> None:
    """DG-3: every stored hash, table and text of the corpus is what it claims to be, and nothing lies about unused."""
    verification = verify(corpus)
    assert not verification.findings
    assert verification.cases == len(corpus.ids())
    assert verification.hashes > 8 * verification.cases


def test_every_family_is_there(corpus: Corpus) -> None:
    """The families of the contract all have cases, and there are no others."""
    families = Counter(identifier.partition("/")[0] for identifier in corpus.ids())
    assert sorted(families) == sorted(FAMILIES)
    assert min(families.values()) >= LEAST_OF_A_FAMILY
    assert families.total() >= LEAST_CASES


def test_every_rule_is_pinned_or_listed(corpus: Corpus) -> None:
    """A rule is cited by a case or stands in UNPINNED.md with a reason, and in one of the two places only."""
    pinned = {rule for identifier in corpus.ids() for rule in corpus.case(identifier).rules}
    listed = dict(unpinned_rules((GOLDEN / "UNPINNED.md").read_text("utf-8")))
    assert pinned | listed.keys() == load_rules().keys()
    assert not pinned & listed.keys()
    assert all(reason.endswith(".") for reason in listed.values())


def test_every_case_has_one_point(corpus: Corpus) -> None:
    """A case says in a sentence of its own what it is for, cites few rules, and is short."""
    cases = [corpus.case(identifier) for identifier in corpus.ids()]
    abouts = Counter(case.about for case in cases)
    assert not [about for about, count in abouts.items() if count > 1 or not about.endswith(".")]
    assert not [case.id for case in cases if not 1 <= len(case.steps) <= MOST_STEPS]
    assert not [case.id for case in cases if not case.rules]


def test_the_goldens_stay_small() -> None:
    """A clone of the project carries no more than 8 MB of goldens, models included."""
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < MOST_BYTES


def test_the_recipe_makes_the_models() -> None:
    """Every model but the trained ones is byte for byte what tools/make_golden_models.py makes."""
    recipes = runpy.run_path(str(PROJECT / "tools" / "make_golden_models.py"))["MODELS"]
    files = {path.name for path in (GOLDEN / "models").iterdir() if path.suffix in (".slm1", ".gguf")}
    plain = {name for name in files if name.startswith("plain-")}
    assert files - recipes.keys() - plain == {name for name in files if name.startswith("stories")}
    for name, recipe in recipes.items():
        assert (GOLDEN / "models" / name).read_bytes() == recipe(), name
    for name in json.loads((GOLDEN / "INDEX.json").read_text())["features"]["plain"]:
        assert (GOLDEN / plain_path(name)).read_bytes() == FEATURES[name].make(Profile()), name
        plain.remove(plain_path(name).removeprefix("models/"))
    assert not plain


@pytest.mark.slow  # in the fast tests Node and Python judge it alike, and `fill --check` asks it again
def test_the_second_build_passes_every_case(corpus: Corpus) -> None:
    """ABI-1: a build that shares no code with the oracle gives every answer that the goldens expect of it."""
    goldens = golden_suite(corpus, instances(GUEST / "guest.wasm"))
    run = goldens.run(goldens.cases(goldens.ids()))
    assert not [golden.case.name for golden in run.cases if golden.verdict not in FINE]
    unsupported = {golden.case.name for golden in run.cases if golden.verdict.name == "UNSUPPORTED"}
    assert unsupported == {i for i in corpus.ids() if corpus.case(i).opinion}


def test_cases_ask_for_an_independent_check_only_where_the_build_cannot_answer(corpus: Corpus) -> None:
    """GG-8: `opinion` stands in cases on GGUF files alone: the second build lacks some of their types."""
    for identifier in corpus.ids():
        golden = corpus.case(identifier)
        if golden.opinion:
            case: Case = golden.case(corpus.artifact)
            assert all(data.startswith(b"GGUF") for data in case.models.values()), identifier


@pytest.mark.parametrize("module", MUTANTS, ids=bug_of)
def test_a_seeded_bug_fails_a_case_of_the_rule_that_it_breaks(corpus: Corpus, module: Path) -> None:
    """FW-4, FW-5, FW-6: of the cases that cite the broken rule, at least one tells the mutant from a right build."""
    goldens = golden_suite(corpus, instances(module))
    rule = BUGS[bug_of(module)]["rule"]
    offered = goldens.offered()
    verdicts = [goldens.judge(case, offered).verdict for case in goldens.cases(goldens.ids((rule,)))]
    assert any(verdict not in FINE for verdict in verdicts), f"{len(verdicts)} cases cite {rule}, none caught it"


def test_mutants_are_found() -> None:
    """The test above looks at the mutants that are committed."""
    assert len(MUTANTS) >= 12
    assert {bug_of(module) for module in MUTANTS} <= BUGS.keys()
