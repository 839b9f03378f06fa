"""`refruntime verify`: whatever is changed in a corpus is found, and the file is named."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.contract.rules import load_rules
from refruntime.golden.corpus import Corpus
from refruntime.golden.index import build_index
from refruntime.golden.values import bytes_hash, disk_json, json_hash
from refruntime.golden.verify import verify
from refruntime.golden.verify_files import MAX_TOTAL_BYTES, unpinned_rules
from tests.support.command_line import command
from tests.support.golden_files import CASES, STORY, case, write_case, write_corpus

DRAWN = "cases/generate/story-drawn"
STORY_CASE = "cases/generate/story"
MODEL = "models/table-story.slm1"


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small corpus in which everything is right; tests change copies of it."""
    root = write_corpus(tmp_path_factory.mktemp("right") / "golden")
    pinned = {rule for document in CASES.values() for rule in document["rules"]}
    rows = [f"| {rule} | It needs no case in this test. |" for rule in load_rules() if rule not in pinned]
    (root / "UNPINNED.md").write_text("\n".join(["# Rules", "", "| rule | reason |", "|---|---|", *rows, ""]))
    (root / "models" / "stories.f32.slm1").write_bytes(b"trained")
    sizes = {"stories.f32.slm1": {"bytes": 7, "sha256": bytes_hash(b"trained")}}
    (root / "models" / "INDEX.json").write_text(json.dumps({"models": sizes, "validation": 0.5}))
    shown = command("fill", "--golden", root)
    assert shown.code == 0, shown.stderr
    return root


@pytest.fixture
def corpus(right: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(right, tmp_path / "golden"))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file and write it in the on-disk form."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(disk_json(document))


def launder(root: Path) -> None:
    """Write an index that fits the files as they are now."""
    (root / "INDEX.json").write_bytes(disk_json(build_index(Corpus(root), Profile())))


def three_tokens(document: Any) -> None:
    document["steps"][1]["generate"]["max_new_tokens"] = 3


def saved(array: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), **how)
    return buffer.getvalue()


def test_a_right_corpus_has_no_findings(right: Path) -> None:
    """FORMAT: nothing is found, and the report says how much was looked at."""
    result = verify(Corpus(right))
    assert [str(finding) for finding in result.findings] == []
    assert (result.cases, result.steps, result.samples) == (4, 13, 7)
    assert result.files == sum(path.is_file() for path in right.rglob("*"))
    assert result.rules_pinned + result.rules_unpinned == len(load_rules())
    index = json.loads((right / "INDEX.json").read_bytes())
    rest = {key: value for key, value in index.items() if key != "root"}
    assert result.root == index["root"] == json_hash(rest)
    shown = command("verify", "--golden", right)
    assert (shown.code, "0 findings in 4 cases, 13 steps" in shown.stdout) == (0, True)
    assert command("verify", "--golden", right, "--json").json["findings"] == []


def truncate(root: Path, name: str) -> None:
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[: len(data) * 2 // 3])


TAMPERING: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        f"truncated {name}": (lambda root, name=name: truncate(root, name), name)
        for name in ("INDEX.json", "UNPINNED.md", MODEL, "models/INDEX.json", f"{STORY_CASE}/case.json",
                     f"{STORY_CASE}/expect.json", f"{DRAWN}/ids.npy", f"{DRAWN}/weights.npy")
    },
    **{
        f"deleted {name}": (lambda root, name=name: (root / name).unlink(), name)
        for name in ("INDEX.json", "UNPINNED.md", MODEL, f"{STORY_CASE}/case.json", f"{STORY_CASE}/expect.json",
                     f"{DRAWN}/ids.npy", f"{DRAWN}/weights.npy")
    },
    "deleted list of models": (lambda root: (root / "models/INDEX.json").unlink(), "models/stories.f32.slm1"),
    "deleted case": (lambda root: shutil.rmtree(root / STORY_CASE), f"{STORY_CASE}/case.json"),
    "edited about": (
        lambda root: edit(root / STORY_CASE / "case.json", lambda d: d.update(about="Other.")), "INDEX.json"),
    "edited step": (
        lambda root: edit(root / STORY_CASE / "case.json", three_tokens),
        f"{STORY_CASE}/expect.json: $.inputs",
    ),
    "edited rules": (
        lambda root: edit(root / STORY_CASE / "case.json", lambda d: d.update(rules=["GEN-999"])),
        f"{STORY_CASE}/case.json: $.rules",
    ),
    "edited result": (
        lambda root: edit(root / STORY_CASE / "expect.json", lambda d: d["steps"][1].update(result="6264", _text="bd")),
        "INDEX.json: $.cases.generate/story.expect",
    ),
    "edited text beside a result": (
        lambda root: edit(root / STORY_CASE / "expect.json", lambda d: d["steps"][1].update(_text="bd")),
        f"{STORY_CASE}/expect.json: $.steps[1]._text",
    ),
    "edited float that is no float32": (
        lambda root: edit(root / STORY_CASE / "expect.json",
                          lambda d: d["steps"][0]["diagnostics"].update(temperature="0x1.999999999999ap-4")),
        f"{STORY_CASE}/expect.json: $.steps[0].diagnostics.temperature",
    ),
    "edited model": (lambda root: (root / MODEL).write_bytes((root / MODEL).read_bytes()[:-1] + b"\x01"), "INDEX.json"),
    "edited trained model": (lambda root: (root / "models/stories.f32.slm1").write_bytes(b"trainee"), "INDEX.json"),
    "edited list of models": (
        lambda root: edit(root / "models/INDEX.json", lambda d: d["models"]["stories.f32.slm1"].update(bytes=8)),
        "models/INDEX.json",
    ),
    "edited ids": (
        lambda root: (root / DRAWN / "ids.npy").write_bytes((root / DRAWN / "ids.npy").read_bytes()[:-1] + b"\x01"),
        "INDEX.json: $.cases.generate/story-drawn.arrays.ids.npy",
    ),
    "ids of another type": (
        lambda root: (root / DRAWN / "ids.npy").write_bytes(saved(np.arange(20))), f"{DRAWN}/ids.npy"),
    "ids of version 2": (
        lambda root: (root / DRAWN / "ids.npy").write_bytes(saved(np.load(root / DRAWN / "ids.npy"), version=(2, 0))),
        f"{DRAWN}/ids.npy",
    ),
    "case without white space": (
        lambda root: (root / STORY_CASE / "case.json").write_text(json.dumps(CASES["generate/story"])),
        f"{STORY_CASE}/case.json",
    ),
    "expectation with other indentation": (
        lambda root: (root / STORY_CASE / "expect.json").write_text(
            json.dumps(json.loads((root / STORY_CASE / "expect.json").read_bytes()), sort_keys=True, indent=2) + "\n"),
        f"{STORY_CASE}/expect.json",
    ),
    "index with DOS line ends": (
        lambda root: (root / "INDEX.json").write_bytes((root / "INDEX.json").read_bytes().replace(b"\n", b"\r\n")),
        "INDEX.json",
    ),
    "index in UTF-16": (
        lambda root: (root / "INDEX.json").write_bytes((root / "INDEX.json").read_text().encode("utf-16")),
        "INDEX.json",
    ),
    "index with unsorted keys": (
        lambda root: (root / "INDEX.json").write_text(
            json.dumps(dict(reversed(json.loads((root / "INDEX.json").read_bytes()).items())), indent=1) + "\n"),
        "INDEX.json",
    ),
    "reordered steps": (
        lambda root: edit(root / "cases/memory/transfer/case.json", lambda d: d["steps"].insert(2, d["steps"].pop(3))),
        "cases/memory/transfer/expect.json",
    ),
    "reordered samples": (
        lambda root: edit(root / DRAWN / "expect.json", lambda d: d["samples"].reverse()), f"{DRAWN}/expect.json"),
    "renamed case": (
        lambda root: (root / STORY_CASE).rename(root / "cases/generate/tale"), f"{STORY_CASE}/case.json"),
    "case renamed to no id": (
        lambda root: (root / STORY_CASE).rename(root / "cases/generate/Story!"), "cases/generate/Story!"),
    "renamed model": (lambda root: (root / MODEL).rename(root / "models/story.slm1"), MODEL),
    "renamed expectation": (
        lambda root: (root / STORY_CASE / "expect.json").rename(root / STORY_CASE / "expected.json"),
        f"{STORY_CASE}/expected.json",
    ),
    "added file": (lambda root: (root / STORY_CASE / "notes.txt").write_text("x"), f"{STORY_CASE}/notes.txt"),
    "added folder": (lambda root: (root / "more").mkdir() or (root / "more/x").write_text("x"), "more/x"),
    "added file beside the index": (lambda root: (root / "build.wasm").write_bytes(b""), "build.wasm"),
    "added model": (lambda root: (root / "models/other.slm1").write_bytes(b""), "models/other.slm1"),
    "added case": (lambda root: write_case(root, "load/new", case(STORY)), "cases/load/new/expect.json"),
    "added array": (lambda root: shutil.copy(root / DRAWN / "ids.npy", root / STORY_CASE), "INDEX.json"),
    "added link": (lambda root: (root / STORY_CASE / "ids.npy").symlink_to(root / MODEL), f"{STORY_CASE}/ids.npy"),
    "a pipe in the place of a file": (
        lambda root: (root / STORY_CASE / "expect.json").unlink() or os.mkfifo(root / STORY_CASE / "expect.json"),
        f"{STORY_CASE}/expect.json",
    ),
    "a device in the place of a file": (
        lambda root: (root / MODEL).unlink() or (root / MODEL).symlink_to("/dev/zero"), MODEL),
    "left by an interrupted fill": (
        lambda root: (root / STORY_CASE / ".expect.json.partial").write_bytes(b""), ".expect.json.partial"),
    "too large": (lambda root: (root / "NOTES.md").write_bytes(bytes(MAX_TOTAL_BYTES)), "."),
    "another root": (lambda root: edit(root / "INDEX.json", lambda d: d.update(root="0" * 64)), "INDEX.json"),
    "another status": (
        lambda root: edit(root / "INDEX.json", lambda d: d["statuses"].update(Ok=1)), "INDEX.json: $.statuses.Ok"),
    "another signature": (
        lambda root: edit(root / "INDEX.json", lambda d: d["exports"]["alloc"].update(parameters=["i64"])),
        "INDEX.json: $.exports.alloc",
    ),
    "another contract": (
        lambda root: edit(root / "INDEX.json", lambda d: d.update(contract="9.9")), "INDEX.json: $.contract"),
    "another text of a rule": (
        lambda root: edit(root / "INDEX.json", lambda d: d["rules"].update({"SA-1": "0" * 64})),
        "INDEX.json: $.rules.SA-1",
    ),
    "another option": (
        lambda root: edit(root / "INDEX.json", lambda d: d["profile"]["options"].update({"SA-6": "<="})),
        "INDEX.json: $.profile.fingerprint",
    ),
    "an option that is none": (
        lambda root: edit(root / "INDEX.json", lambda d: d["profile"]["options"].update({"SA-6": "=="})),
        "INDEX.json: $.profile.options",
    ),
    "a field of another kind": (
        lambda root: edit(root / "INDEX.json", lambda d: d["fields"][0].update(kind="decimal")),
        "INDEX.json: $.fields",
    ),
    "a kind that nobody knows": (
        lambda root: edit(root / "INDEX.json", lambda d: d["fields"][0].update(kind="colour")), "INDEX.json"),
    "a field that is not listed": (
        lambda root: edit(root / "INDEX.json", lambda d: d["fields"].pop()), "INDEX.json: $.fields"),
    "a stray file in consumer": (
        lambda root: ((root / "consumer").mkdir(), (root / "consumer/notes.txt").touch()), "consumer/notes.txt"),
    "a reason too short": (
        lambda root: (root / "UNPINNED.md").write_text(
            (root / "UNPINNED.md").read_text().replace("It needs no case in this test.", "no")), "UNPINNED.md"),
    "a rule excused and pinned": (
        lambda root: (root / "UNPINNED.md").write_bytes(
            (root / "UNPINNED.md").read_bytes() + b"- GEN-5: It is hard to pin.\n"), "UNPINNED.md"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_found(corpus: Path, name: str) -> None:
    """Truncated, deleted, edited, re-encoded, reordered, renamed or added: a finding names the file."""
    change, file = TAMPERING[name]
    change(corpus)
    findings = verify(Corpus(corpus)).findings
    assert any(finding.file.startswith(file) or file in finding.file for finding in findings), findings
    assert all(finding.expected and finding.found for finding in findings)
    assert command("verify", "--golden", corpus).code == 1


LAUNDERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another step": (
        lambda root: edit(root / STORY_CASE / "case.json", three_tokens),
        f"{STORY_CASE}/expect.json: $.inputs",
    ),
    "another model": (
        lambda root: (root / MODEL).write_bytes((root / MODEL).read_bytes() + b"\0"),
        f"{STORY_CASE}/expect.json: $.inputs",
    ),
    "another weight": (
        lambda root: (root / DRAWN / "weights.npy").write_bytes(
            saved(np.load(root / DRAWN / "weights.npy") * np.float32(1.5), version=(1, 0))),
        f"{DRAWN}/expect.json: $.samples[0].mass",
    ),
    "another id": (
        lambda root: (root / DRAWN / "ids.npy").write_bytes(
            saved(np.load(root / DRAWN / "ids.npy") + np.int32(1), version=(1, 0))),
        f"{DRAWN}/expect.json: $.samples[0].token",
    ),
    "another coin": (
        lambda root: edit(root / DRAWN / "expect.json", lambda d: d["samples"][1].update(unit="0x1p-3")),
        f"{DRAWN}/expect.json: $.samples[1].point",
    ),
    "fewer candidates": (
        lambda root: edit(root / DRAWN / "expect.json", lambda d: d["samples"].pop()),
        f"{DRAWN}/expect.json: $.samples",
    ),
    "another profile": (
        lambda root: edit(root / STORY_CASE / "expect.json", lambda d: d.update(profile="0" * 16)),
        f"{STORY_CASE}/expect.json: $.profile",
    ),
    "another case": (
        lambda root: edit(root / STORY_CASE / "expect.json", lambda d: d.update(case="generate/other")),
        f"{STORY_CASE}/expect.json: $.case",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAUNDERED)
def test_new_hashes_do_not_hide_a_change(corpus: Path, name: str) -> None:
    """With an index that fits the changed files, what follows from other files still shows the change."""
    change, place = LAUNDERED[name]
    change(corpus)
    launder(corpus)
    findings = verify(Corpus(corpus)).findings
    assert place in {finding.file for finding in findings}, findings


def test_a_part_of_the_contract_is_enough_when_asked(corpus: Path) -> None:
    """A corpus of one's own need not pin every rule: --partial."""
    (corpus / "UNPINNED.md").unlink()
    assert command("verify", "--golden", corpus).code == 1
    assert command("verify", "--golden", corpus, "--partial").code == 0


def test_nothing_verified_is_not_right(tmp_path: Path) -> None:
    """A corpus without cases fails, also when nothing else is wrong with it."""
    root = write_corpus(tmp_path / "golden", {})
    (root / "cases").mkdir()
    for path in (root / "models").iterdir():
        path.unlink()
    assert command("fill", "--golden", root).code == 0
    shown = command("verify", "--golden", root, "--partial")
    assert (shown.code, "nothing was verified" in shown.stdout) == (1, True)
    assert command("verify", "--golden", tmp_path / "none").code == 2


def test_unpinned_rules_are_read() -> None:
    """Rows of a table and items of a list name a rule and a reason; other lines do not."""
    text = "# SA-1: no\n| `GEN-9` | why it is so |\n- **CL-gguf**: another why\n* MEM-3 - third\n|---|---|\nSA-2: no\n"
    assert list(unpinned_rules(text)) == [("GEN-9", "why it is so"), ("CL-gguf", "another why"), ("MEM-3", "third")]
