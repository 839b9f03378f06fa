"""Golden cases on builds: verdicts, what is compared, and the report (golden/FORMAT.md, section 7)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from refruntime.cases.observation import StatusAnswer
from refruntime.cases.observe import read_diagnostics
from refruntime.cases.steps import INIT, Case
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.case_result import CaseResult
from refruntime.differential.verdict import Verdict, judge
from refruntime.engines.base import Engine
from refruntime.golden.compare import compare_with_golden, same_as_golden
from refruntime.golden.corpus import Corpus
from refruntime.golden.index import build_index, with_root
from refruntime.golden.reading import GoldenError
from refruntime.golden.suite import golden_suite
from refruntime.golden.values import disk_json, json_hash
from refruntime.runtime import Machine, Runtime
from tests.support.builds import GUEST, TROUBLES, Misbehaving, changed_build
from tests.support.command_line import command
from tests.support.golden_files import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_corpus(tmp_path_factory.mktemp("golden") / "golden")
    assert command("fill", "--golden", root).code == 0
    return root


def run(root: Path, fresh: Callable[[], Engine]) -> dict[str, CaseResult]:
    goldens = golden_suite(Corpus(root), fresh)
    return {golden.case.name: golden for golden in goldens.run(goldens.cases(goldens.ids())).cases}


def verdicts(results: dict[str, CaseResult]) -> dict[str, str]:
    return {identifier: str(golden.verdict) for identifier, golden in results.items()}


RIGHT = {
    "errors/no-model": "BOTH_FAILED", "generate/story": "MATCH", "generate/story-drawn": "MATCH",
    "memory/transfer": "MATCH",
}  # fmt: skip


def test_a_right_build_matches(corpus: Path) -> None:
    """DG-3: the oracle itself as a build agrees in every step; a case that ends in a failure is BOTH_FAILED."""
    results = run(corpus, changed_build())
    assert verdicts(results) == RIGHT
    assert results["generate/story"].comparison.steps == 2
    assert sum(results["generate/story"].comparison.compared.values()) == 2 * (1 + 17 + 1)


class _OneTokenLess(Machine):
    @property
    def full_length(self) -> int:
        return self.model.capacity if self.sampling.temperature > 0 else 3


def test_a_wrong_token_is_shown_with_its_sample(corpus: Path) -> None:
    """GEN-6: a build that stops early differs; the first differing step and the sampler's entry are shown."""
    golden = run(corpus, changed_build(runtime=partial(Runtime, machine=_OneTokenLess.fresh)))["generate/story"]
    assert golden.verdict is Verdict.MISMATCH
    assert golden.comparison.first is not None
    assert golden.comparison.first.index == 1
    assert golden.explanation is not None
    assert golden.explanation.document()["token"] == ord("c")


@pytest.mark.parametrize(
    ("trouble", "verdict"), [("trap", "ONLY_WASM_FAILED"), ("limit", "POISONED"), ("fault", "ONLY_WASM_FAILED")]
)
def test_trouble_has_a_verdict(corpus: Path, trouble: str, verdict: str) -> None:
    """MEM-6: a trap or an error where none is expected, and a limit, which judges nothing."""
    results = run(corpus, lambda: Misbehaving("generate", TROUBLES[trouble]))
    assert verdicts(results)["generate/story"] == verdict
    assert verdicts(results)["memory/transfer"] == "MATCH"


STALE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "case": ("cases/generate/story/case.json", lambda data: data.replace(b"A wrong", b"A right")),
    "expectation": ("cases/generate/story/expect.json", lambda data: data.replace(b"6263", b"6264")),
    "model": ("models/table-story.slm1", lambda data: data + b"\0"),
    "no JSON": ("cases/generate/story/expect.json", lambda data: data[:-9]),
}


@pytest.mark.parametrize("name", STALE)
def test_a_hash_that_does_not_fit_is_stale(tmp_path: Path, corpus: Path, name: str) -> None:
    """FORMAT section 7, step 4: nothing is compared with files that do not belong together, and it is not fine."""
    root = Path(shutil.copytree(corpus, tmp_path / "golden"))
    file, change = STALE[name]
    (root / file).write_bytes(change((root / file).read_bytes()))
    results = run(root, changed_build())
    assert verdicts(results) == {**RIGHT, "generate/story": "STALE"}
    shown = command("diff", "--golden", root, GUEST)
    assert (shown.code, "STALE generate/story" in shown.stdout) == (1, True)


def test_laundered_inputs_are_stale(tmp_path: Path, corpus: Path) -> None:
    """An index that fits a changed model does not help: the answers name the inputs that they belong to."""
    root = Path(shutil.copytree(corpus, tmp_path / "golden"))
    (root / "models/table-story.slm1").write_bytes((root / "models/table-story.slm1").read_bytes() + b"\0")
    (root / "INDEX.json").write_bytes(disk_json(build_index(Corpus(root), Profile())))
    assert verdicts(run(root, changed_build()))["generate/story"] == "STALE"


@pytest.mark.parametrize("what", ["a case fewer", "another status", "another root", "no JSON"])
def test_an_index_that_does_not_fit_its_root_is_refused(tmp_path: Path, corpus: Path, what: str) -> None:
    """FORMAT section 7, step 1: a case that was taken out of the index would not be missed otherwise."""
    root = Path(shutil.copytree(corpus, tmp_path / "golden"))
    index = json.loads((root / "INDEX.json").read_bytes())
    if what == "a case fewer":
        del index["cases"]["generate/story"]
    elif what == "another status":
        index["statuses"]["Ok"] = 1
    elif what == "another root":
        index["root"] = "0" * 64
    (root / "INDEX.json").write_bytes(disk_json(index)[: -9 if what == "no JSON" else None])
    shown = command("diff", "--golden", root, GUEST)
    assert (shown.code, shown.stdout) == (1, "")
    assert "INDEX.json: expected JSON" in shown.stderr or "INDEX.json: $.root: expected the hash" in shown.stderr


def _launder(root: Path, change: Callable[[Any], Any], file: str = "INDEX.json") -> None:
    """Change a JSON file and recompute every hash that covers it, as somebody would who wants it to pass."""
    document = json.loads((root / file).read_bytes())
    change(document)
    (root / file).write_bytes(disk_json(document))
    index = json.loads((root / "INDEX.json").read_bytes())
    if file != "INDEX.json":
        index["cases"][file.removeprefix("cases/").rpartition("/")[0]]["expect"] = json_hash(document)
    (root / "INDEX.json").write_bytes(disk_json(with_root(index)))


@pytest.mark.parametrize("key", ["contract", "profile"])
def test_answers_of_another_contract_or_profile_are_stale(tmp_path: Path, corpus: Path, key: str) -> None:
    """FORMAT section 7, step 4: answers that hold for something else than the index are not compared."""
    root = Path(shutil.copytree(corpus, tmp_path / "golden"))
    value = {"contract": "9.9", "profile": "0" * 16}[key]
    _launder(root, lambda document: document.update({key: value}), "cases/generate/story/expect.json")
    golden = run(root, changed_build())["generate/story"]
    assert golden.verdict is Verdict.STALE
    assert f"$.{key}" in golden.reason


@pytest.mark.parametrize(
    ("key", "entry", "value"),
    [("statuses", "Ok", 1), ("diagnostics", "seed", "s"), ("profile", "fingerprint", "0" * 16)],
)
def test_another_table_of_the_contract_is_refused(
    tmp_path: Path, corpus: Path, key: str, entry: str, value: Any
) -> None:
    """ERR-1, DG-3: the package has statuses, exports and names of its own, so an index with others is not used."""
    root = Path(shutil.copytree(corpus, tmp_path / "golden"))
    _launder(root, lambda index: index[key].update({entry: value}))
    with pytest.raises(GoldenError, match=key):
        golden_suite(Corpus(root), changed_build())


def test_another_format_or_contract_is_refused(tmp_path: Path, corpus: Path) -> None:
    """FORMAT section 7, step 1: an index of another format is not read."""
    for key, value in (("format", 3), ("contract", "9.9")):
        index = {**json.loads((corpus / "INDEX.json").read_bytes()), key: value}
        (tmp_path / "INDEX.json").write_bytes(disk_json(index))
        with pytest.raises(GoldenError, match=key):
            golden_suite(Corpus(tmp_path), changed_build())


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [(0.0, -0.0, True), (0.0, 0, True), (float.fromhex("0x1.99999ap-4"), 0.1, True), (0.5, "0.5", False),
     (1.0, True, False), (1, 1.0, False), (1, True, False), (1, 1, True), (None, None, True), (None, 0, False),
     ("1", 1, False), ([1, 0.5], [1, 0.5], True), ([1], [1, 2], False), ({"a": 1}, {"a": 1, "b": 2}, False),
     ({"min": 0.5}, {"min": 0.5}, True), (True, True, True), (1.0, 1e400, False), (16777217, 16777216, False)],
)  # fmt: skip
def test_values_are_compared_by_meaning(mine: Any, theirs: Any, same: bool) -> None:
    """DG-7: floats as float32, 0 equals -0, everything else identical in type and value."""
    assert same_as_golden(mine, theirs) is same


def test_any_listed_answer_is_right() -> None:
    """FORMAT section 4: of several right answers each is right, and a failure counts only if all of them fail."""
    ok, failed = StatusAnswer(INIT, 0, b""), StatusAnswer(INIT, 13, b"generation failed")
    case = Case("a/b", (INIT,))
    outcomes = {}
    for name, status, result in (("ok", 0, b""), ("failed", 13, b"generation failed"), ("other", 2, b"")):
        seen = [StatusAnswer(INIT, status, result)]
        comparison, reference = compare_with_golden(case, [(failed, ok)], seen)
        outcomes[name] = str(judge(reference, seen, comparison).verdict)
    assert outcomes == {"ok": "MATCH", "failed": "BOTH_FAILED", "other": "ONLY_WASM_FAILED"}


def test_lost_fields_are_counted_and_missing_ones_differ() -> None:
    """FORMAT section 7, step 6: a field that a build never shows is lost; shown elsewhere, it is a difference."""
    case = Case("a/b", (INIT,))
    seen = [StatusAnswer(INIT, 0, b"", {"kv_length": 0})]
    answers = [(StatusAnswer(INIT, 0, b"", dict.fromkeys(DIAGNOSTIC_NAMES, 0)),)]
    comparison, _ = compare_with_golden(case, answers, seen)
    assert comparison.first is None
    assert sum(comparison.lost.values()) == 16
    comparison, _ = compare_with_golden(case, answers, seen, {"top_k"})
    assert [item.field for item in comparison.differences] == ["top_k"]


def test_the_command_reports(corpus: Path) -> None:
    """FORMAT section 7, steps 8 and 9: text and JSON say what was compared, under which conditions, and exit codes."""
    text = command("diff", "--golden", corpus, GUEST)
    assert text.code == 0, text.stderr
    index = json.loads((corpus / "INDEX.json").read_bytes())
    assert all(word in text.stdout for word in (index["root"], index["profile"]["fingerprint"], "3 MATCH"))
    report = command("diff", GUEST, f"--golden={corpus}", "--json", "--filter", "generate").json
    assert sorted(report) == sorted(
        ["version", "build", "golden", "exit_code", "problems", "summary", "families", "lost", "cases"]
    )
    assert report["summary"] == {"cases": 2, "steps": 6, "fields": 6 * 19, "verdicts": {"MATCH": 2}}
    assert [sorted(item) for item in report["cases"]] == 2 * [sorted(
        ["id", "verdict", "reason", "steps", "fields", "first_difference", "sample", "seconds"]
    )]  # fmt: skip
    assert command("diff", "--golden", corpus, GUEST, "--filter", "none").code == 2
    assert command("diff", "--golden", corpus, corpus / "none.wasm").code == 3
    assert command("diff", "--golden", corpus, corpus / "INDEX.json").code == 2
    assert command("diff", "--golden", corpus, GUEST, "--random", "3").code == 2
    assert command("diff", "--golden").code == 2
    assert "generate/story" in command("diff", "--golden", corpus, GUEST, "--list").stdout


@pytest.mark.parametrize(
    ("document", "fields"),
    [(b'{"top_k":1}', {"top_k": 1}), (b'{"top_k":NaN}', None), (b'{"top_k":Infinity}', None),
     (b'\xef\xbb\xbf{"top_k":1}', None), ('{"top_k":1}'.encode("utf-16"), None), (b'{"seed":"\xed\xa0\x80"}', None),
     (b'{"top_k":' + b"9" * 5000 + b"}", {"top_k": float("inf")}), (b"[1]", None), (b'{"other":1}', {})],
)  # fmt: skip
def test_documents_are_read_as_every_host_reads_them(document: bytes, fields: Any) -> None:
    """DG-1: JSON in UTF-8 and nothing that only Python takes for JSON, so that all consumers see the same fields."""
    assert read_diagnostics(document, Profile()) == fields
