"""`fill --profile P --into DIR`: goldens that hold for the build of a profile (golden/FORMAT.md, section 8)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import INIT, NEXT_TOKEN, Case, Configure, Generate, Load
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.engines.base import Engine
from refruntime.golden.corpus import Corpus
from refruntime.golden.derived import NO_OPINION
from refruntime.golden.suite import golden_suite
from refruntime.recordings.convert import RecordedAnswer
from refruntime.recordings.suite import recorded_suite
from tests.support.builds import changed_build
from tests.support.command_line import command
from tests.support.golden_files import CASES, case, write_corpus

PROFILE = replace(
    Profile(),
    checksum_order="xor byte, add index, rotate, multiply",
    checksum_start=0x6A09E667F3BCC908,
    unit_conversion="53 high bits",
    xorshift="7,9,8",
    failure_messages=(("ModelNotLoaded", "error 12"), ("InvalidHeader", "error 6")),
    diagnostic_names=(
        ("kv_length", "/context/kv"),
        ("last_error", ""),
        ("top_tokens.form", "as=ids"),
        ("seed.form", "as=number"),
    ),
    absent_features=("slm1/output/tied",),
)
"""The profile of a build with a checksum, texts, fields and a generator of its own."""

SEALED = {
    "containers/checksum-wrong": case([{"load": "story"}], rules=("SL-5",))
    | {"models": {"story": {"file": "models/table-story.slm1", "patch": [{"at": 100, "hex": "ff"}]}}},
    "containers/patched": case([{"load": "story"}], rules=("SL-1",)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Goldens for PROFILE, made of a small corpus."""
    root = tmp_path_factory.mktemp("derived")
    source = write_corpus(root / "golden", {**CASES, **SEALED})
    _patch(source)
    assert command("fill", "--golden", source).code == 0
    (root / "build.toml").write_text(PROFILE.to_toml())
    report = command("fill", "--golden", source, "--profile", root / "build.toml", "--into", root / "own", "--json")
    assert report.json["filled"] == len(CASES) + len(SEALED)
    assert report.json["left_out"] == []
    assert report.json["format"] == 2
    return root


def _patch(source: Path) -> None:
    """Let a case change the epsilon of the story model, with the checksum that the contract has for that."""
    from refruntime.battery.models.slm1_bytes import patched
    from refruntime.golden.values import disk_json

    data = (source / "models/table-story.slm1").read_bytes()
    changed = patched(data, {"rms_norm_epsilon": 0.5}, Profile())
    places = [at for at in range(len(data)) if data[at] != changed[at]]
    path = source / "cases/containers/patched/case.json"
    document = json.loads(path.read_bytes())
    patch = [{"at": at, "hex": changed[at : at + 1].hex()} for at in places]
    document["models"]["story"]["patch"] = patch
    path.write_bytes(disk_json(document))


def verdicts(root: Path, fresh: Callable[[], Engine]) -> dict[str, str]:
    goldens = golden_suite(Corpus(root), fresh)
    return {golden.case.name: str(golden.verdict) for golden in goldens.run(goldens.cases(goldens.ids())).cases}


def test_the_build_of_the_profile_agrees_and_the_default_does_not(folder: Path) -> None:
    """SL-5, ERR-3, DG-3, PR-3: sealed files, texts, places and forms, and the answers of the profile's options."""
    right = verdicts(folder / "own", changed_build(PROFILE))
    assert right == {
        "errors/no-model": "BOTH_FAILED",
        "generate/story": "MATCH",
        "generate/story-drawn": "MATCH",
        "memory/transfer": "MATCH",
        "containers/checksum-wrong": "BOTH_FAILED",
        "containers/patched": "MATCH",
    }
    other = replace(PROFILE, xorshift="13,7,17")
    wrong = verdicts(folder / "own", changed_build(other))
    assert [name for name in wrong if wrong[name] != right[name]] == ["generate/story-drawn"]
    refused = verdicts(folder / "own", changed_build())
    assert refused["features/slm1"] == "ONLY_WASM_FAILED"


def test_the_folder_is_whole_and_says_whose_it_is(folder: Path) -> None:
    """DG-3: every hash fits, consumers lie beside the cases, and `golden serve` and `golden list` read it."""
    done = command("verify", "--golden", folder / "own", "--partial", "--json")
    assert (done.code, done.json["cases"]) == (0, len(CASES) + len(SEALED))
    index = json.loads((folder / "own/INDEX.json").read_bytes())
    assert index["profile"]["fingerprint"] == PROFILE.fingerprint
    assert index["diagnostics"]["kv_length"] == {"place": "/context/kv"}
    assert index["diagnostics"]["last_error"] == ""


def test_whose_second_opinion_it_is(folder: Path) -> None:
    """FORMAT.md, 8: where the profile's options decide an answer, only the oracle has given it."""
    witnesses = {}
    for path in (folder / "own/cases").glob("*/*/expect.json"):
        witnesses[path.parent.name] = json.loads(path.read_bytes())["_info"]["second_opinion"]
    assert witnesses.pop("story-drawn") == NO_OPINION
    assert all(text.startswith("build ") for text in witnesses.values())


def test_what_needs_an_absent_feature_is_left_out(folder: Path) -> None:
    """ID-1: a second run into the same folder takes out what the profile now says is absent."""
    lacking = replace(PROFILE, absent_features=("slm1/tokenizer/bpe1",), containers=("gguf",))
    (folder / "lacking.toml").write_text(lacking.to_toml())
    into = folder / "lacking"
    arguments = ("--golden", folder / "golden", "--into", into, "--json")
    assert command("fill", *arguments).json["filled"] == len(CASES) + len(SEALED)
    report = command("fill", *arguments, "--profile", folder / "lacking.toml").json
    assert (report["filled"], len(report["absent"])) == (2, 4)
    assert sorted(Corpus(into).ids()) == ["errors/no-model", "memory/transfer"]


def test_other_folders_are_not_written_to(folder: Path) -> None:
    """FORMAT.md, 8: neither the goldens that are read nor a folder of other things; --check writes nothing."""
    source = folder / "golden"
    for into, more in ((source, ()), (folder, ()), (folder / "new", ("--check",))):
        done = command("fill", "--golden", source, "--into", into, *more)
        assert done.code == 2, done.stdout


def test_recorded_answers_are_read_by_the_profile() -> None:
    """DG-3, ERR-3, SL-5: what a page recorded with such a build is compared under its texts, fields and formula."""
    model = random_model(5, Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=12), profile=PROFILE)
    steps = (INIT, Generate(b"a", 1), Load("model"), Configure(1.0, 40, 1.0, 7), Generate(b"abc", 4), NEXT_TOKEN)
    case = Case("recorded/chat", steps, {"model": model})
    client = Client(changed_build(PROFILE)())
    answers = []
    session = StepRunner(client, PROFILE, case.models)
    for step in steps:
        shown = session.run(step)
        answers.append(RecordedAnswer(shown, client.diagnostics()))
    assert b'"context"' in (answers[0].document or b"")
    for profile, fine in ((PROFILE, True), (Profile(), False)):
        result = recorded_suite(case, answers, Oracle(profile)).run([case])
        assert (result.exit_code == 0) is fine
