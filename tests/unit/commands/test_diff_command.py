"""`refruntime diff` from the outside: exit codes, documents, files, filters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import wasmtime

from refruntime import Profile
from refruntime.cli import main
from refruntime.differential import evaluate as evaluate_module
from tests.support.builds import GUEST, GUEST_FOLDER, MUTANTS

SEVEN = ("--filter", "status/transfer-*", "--filter", "output/two-bytes")
NOT_ASKED = ("--identify", "never")
"""Builds with the contract's own options are not asked which they have, where a test is not about that."""
FEW = (*SEVEN, *NOT_ASKED)


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Return exit code, standard output, standard error."""
    code = main(["diff", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_clean_build(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and the report says what was compared and how much."""
    code, out, _ = run(capsys, GUEST, *SEVEN)
    assert code == 0
    assert "7 MATCH" in out.splitlines()[-1]
    assert "0.1.0 (assumed)" in out


def test_seeded_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """ST-5: exit code 1, the first divergence, the cause, and a repro line that gives it again."""
    code, out, _ = run(capsys, MUTANTS["reset_keeps_kv"], "--filter", "state/continuing-reset")
    assert code == 1
    assert "MISMATCH state/continuing-reset" in out
    assert "kv_length" in out
    (repro,) = [line for line in out.splitlines() if "repro" in line]
    words = repro.partition("refruntime ")[2].partition("   (")[0].split()
    assert main(words) == 1


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One document on standard output, annotations elsewhere."""
    code, out, err = run(
        capsys, MUTANTS["reset_keeps_kv"], "--filter", "state/reset-*", "--json", "--github", "--no-explain", *NOT_ASKED
    )
    document = json.loads(out)
    assert code == document["exit_code"] == 1
    assert document["summary"]["cases"] == len(document["cases"]) > 10
    assert document["build"]["sha256"]
    assert "::error " in err


def test_github_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In GitHub Actions annotations are written without being asked for."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::notice" in run(capsys, GUEST, *FEW)[1]
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "::notice" not in run(capsys, GUEST, *FEW)[1]


def test_junit_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The report is written beside the text; a folder that does not exist is exit code 3."""
    code, _, _ = run(capsys, GUEST, *FEW, "--junit", tmp_path / "report.xml")
    root = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert code == 0
    assert sum(int(suite.get("tests", "0")) for suite in root) == 7
    assert run(capsys, GUEST, *FEW, "--junit", tmp_path / "none" / "report.xml")[0] == 3


def test_filter_that_fits_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt filter is a usage error, not an empty success, even beside one that fits."""
    code, _, err = run(capsys, GUEST, "--filter", "statsu", *FEW)
    assert code == 2
    assert "statsu" in err
    assert "sampler" in err


def test_filter_by_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """GEN-10: a rule id selects the cases that cite it."""
    code, out, _ = run(capsys, GUEST, "--filter", "GEN-10", "--list", "--json")
    cases = json.loads(out)["cases"]
    assert code == 0
    assert len(cases) >= 5
    assert all("GEN-10" in case["rules"] for case in cases)


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The list needs no build that works."""
    path = tmp_path / "build.wasm"
    path.write_bytes(b"\0asm\x01\0\0\0")
    code, out, _ = run(capsys, path, "--list", "--filter", "status")
    assert code == 0
    assert all(line.startswith("status/") for line in out.splitlines())


def test_profile_is_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """ST-5: under the wrong profile the clean build differs, and the report says that the profile was given."""
    path = tmp_path / "profile.toml"
    path.write_text(Profile(reset_result="unchanged").to_toml())
    code, out, _ = run(capsys, GUEST, "--filter", "state/ready-reset", "--profile", path, "--no-explain")
    assert code == 1
    assert "(given)" in out
    assert "ST-5 = unchanged" in out
    path.write_text("[rules]\n'ST-5' = 'nonsense'\n")
    assert run(capsys, GUEST, *FEW, "--profile", path)[0] == 2


def test_own_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A model of the user's own gets the greedy and the probe generation."""
    from tests.support.synthetic import SMALL, random_weights, slm1_file

    path = tmp_path / "mine.slm1"
    path.write_bytes(slm1_file(random_weights(1, **SMALL), **SMALL))
    code, out, _ = run(capsys, GUEST, "--model", path, "--filter", "generate/mine.slm1-*", "--json", *NOT_ASKED)
    assert code == 0
    assert [case["name"] for case in json.loads(out)["cases"]] == [
        "generate/mine.slm1-greedy",
        "generate/mine.slm1-probe",
    ]


def test_fail_fast(capsys: pytest.CaptureFixture[str]) -> None:
    """The run ends behind the first case that is not fine and says how many did not run."""
    arguments = ("--filter", "state/reset-*", "--fail-fast", "--no-explain", "--json", *NOT_ASKED)
    document = json.loads(run(capsys, MUTANTS["reset_keeps_kv"], *arguments)[1])
    assert document["cases"][-1]["verdict"] == "MISMATCH"
    assert document["skipped"] > 0


def test_missing_and_unusable_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit code 3 for a file that is not there, 2 for one that is no module."""
    assert run(capsys, tmp_path / "none.wasm")[0] == 3
    assert run(capsys, GUEST, "--model", tmp_path / "none.gguf")[0] == 3
    path = tmp_path / "text.wasm"
    path.write_text("(module)")
    assert run(capsys, path)[0] == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_wrong_surface(capsys: pytest.CaptureFixture[str], tmp_path: Path, as_json: bool) -> None:
    """ABI-1: a module with another surface is a mismatch, told name by name."""
    path = tmp_path / "other.wasm"
    path.write_bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "alloc")))'))
    code, out, err = run(capsys, path, *(["--json"] if as_json else []))
    assert code == 1
    text = json.loads(out)["problems"] if as_json else err.splitlines()
    assert any("mistyped alloc" in line for line in text)
    assert any("missing load_model" in line for line in text)


def test_oracle_crash(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the oracle gives exit code 4, names a file with the traceback, and lets the other cases run."""
    real = evaluate_module.compare_observations

    def planted(reference, build, offered):  # type: ignore[no-untyped-def]
        if len(build) > 7:
            raise ZeroDivisionError("planted")
        return real(reference, build, offered)

    monkeypatch.setattr(evaluate_module, "compare_observations", planted)
    code, out, _ = run(capsys, GUEST, *FEW)
    assert code == 4
    assert "ORACLE_CRASH" in out
    assert "MATCH" in out.splitlines()[-2]
    path = Path(out.partition("traceback in ")[2].splitlines()[0])
    assert "ZeroDivisionError: planted" in path.read_text()


@pytest.mark.slow
def test_write_profile(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """PR-3: a build with another option is a contract gap; under the profile that was written it is clean."""
    build = GUEST_FOLDER / "mutants" / "guest-option-pr3_53_bits.wasm"
    profile = tmp_path / "build.toml"
    code, out, _ = run(capsys, build, "--filter", "sampler/draw-*", "--no-explain", "--write-profile", profile)
    assert code == 0
    assert "CONTRACT_GAP(PR-3) 53 high bits, not 24 high bits" in out
    written = Profile.from_toml(profile.read_text())
    assert replace(written, absent_features=()) == Profile(unit_conversion="53 high bits")
    code, out, _ = run(capsys, build, "--filter", "sampler/draw-*", "--profile", profile)
    assert code == 0
    assert "(given)" in out


@pytest.mark.slow
def test_random_sessions_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    """ABI-4, ST-3: random sessions run against a build, and the repro line of a failing one gives it again."""
    code, out, _ = run(capsys, GUEST, "--random", "12", "--seed", "3")
    assert code == 0
    assert out.splitlines()[-1].split()[:2] != ["total", "0"]
    code, out, _ = run(capsys, MUTANTS["reset_keeps_kv"], "--random", "60", "--fail-fast", "--no-explain")
    assert code == 1
    (repro,) = [line for line in out.splitlines() if "repro" in line]
    words = repro.partition("refruntime ")[2].partition("   (")[0].split()
    assert main([*words, "--no-explain"]) == 1
