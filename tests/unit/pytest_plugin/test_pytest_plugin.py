"""The pytest plugin in pytest runs of its own, as somebody else's repository sees it (golden/FORMAT.md, section 7)."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from refruntime import Profile
from refruntime.battery.models.slm1 import table_model
from refruntime.golden.values import disk_json
from tests.support.builds import GUEST, GUEST_FOLDER, MUTANTS
from tests.support.command_line import command
from tests.support.wat_modules import FOREVER
from tests.support.wat_modules import build as build_module

pytest_plugins = ["pytester"]

PROJECT = Path(__file__).resolve().parent.parent.parent.parent
PROFILE = Profile()
EQUAL = "64 equal weights: every edge is a whole number and every draw times 64 is exact."
CASES: dict[str, dict[str, Any]] = {
    "errors/top-k-0": {
        "rules": ["SC-2"],
        "steps": [{"configure": {"seed": 1, "temperature": "1", "top_k": 0, "top_p": "1"}}],
    },
    "gguf/version-9": {"rules": ["GG-2"], "models": {"odd": {"file": "models/odd.gguf"}}, "steps": [{"load": "odd"}]},
    "load/reset": {
        "rules": ["ST-5"],
        "models": {"even": {"file": "models/even.slm1"}},
        "exact": EQUAL,
        "steps": [
            {"load": "even"},
            {"generate": {"max_new_tokens": 2, "prompt": {"text": "a"}}},
            {"call": ["reset_context"]},
        ],
    },
    "sampling/draw": {
        "rules": ["PR-3", "SA-6"],
        "models": {"even": {"file": "models/even.slm1"}},
        "exact": EQUAL,
        "steps": [
            {"load": "even"},
            {"configure": {"seed": "14023057183496370958", "temperature": "1", "top_k": 64, "top_p": "1"}},
            {"generate": {"max_new_tokens": 1, "prompt": {"text": "-"}}},
        ],
    },
    "sampling/ties": {
        "rules": ["SA-2"],
        "models": {"even": {"file": "models/even.slm1"}},
        "exact": EQUAL,
        "steps": [
            {"load": "even"},
            {"configure": {"seed": 5, "temperature": "1", "top_k": 1, "top_p": "1"}},
            {"generate": {"max_new_tokens": 3, "prompt": {"text": "-"}}},
        ],
    },
}
NODES = ["golden::verify", *(f"golden/{identifier}" for identifier in CASES)]
IS_INSTALLED = bool(entry_points(group="pytest11", name="refruntime"))
OTHER_DRAW = GUEST_FOLDER / "mutants" / "guest-option-pr3_53_bits.wasm"

Run = Callable[..., pytest.RunResult]
Configure = Callable[..., None]


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of five cases, filled with the guest as the second opinion."""
    root = tmp_path_factory.mktemp("goldens")
    (root / "models").mkdir()
    even = table_model({}, otherwise=dict.fromkeys(range(48, 112), 0.0), profile=PROFILE)
    (root / "models" / "even.slm1").write_bytes(even)
    (root / "models" / "odd.gguf").write_bytes(b"GGUF\x09\0\0\0" + bytes(16))
    for identifier, case in CASES.items():
        add_case(root, identifier, case)
    shown = command("fill", "--golden", root, "--opinion", GUEST)
    assert shown.code == 0, shown.stdout + shown.stderr
    return root


def add_case(root: Path, identifier: str, case: dict[str, Any]) -> None:
    """Write a `case.json`."""
    path = root / "cases" / identifier / "case.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(disk_json({"about": "What a wrong build would do.", "format": 1, **case}))


@pytest.fixture
def run(pytester: pytest.Pytester, goldens: Path) -> Run:
    """Run pytest in an empty repository of its own, in this process, on these goldens.

    Without pytest's faulthandler, see `configure`.
    """

    def run_pytest(build: Path, *arguments: object, golden: Path | None = None) -> pytest.RunResult:
        usual = [*_loading(), "-p", "no:cacheprovider", "-p", "no:faulthandler"]
        words = [f"--refruntime-wasm={build}", f"--refruntime-golden={golden or goldens}", *map(str, arguments)]
        return pytester.runpytest_inprocess(*usual, *words)

    return run_pytest


@pytest.fixture
def run_apart(pytester: pytest.Pytester, goldens: Path) -> Run:
    """Run pytest in another process, with everything that it loads by itself."""

    def run_pytest(build: Path, *arguments: object) -> pytest.RunResult:
        words = [f"--refruntime-wasm={build}", f"--refruntime-golden={goldens}", *map(str, arguments)]
        return pytester.runpytest_subprocess(*_loading(), "-p", "no:cacheprovider", *words, timeout=300)

    return run_pytest


@pytest.fixture
def configure(pytester: pytest.Pytester, goldens: Path) -> Configure:
    """Read the options as pytest does when it begins; nothing is run.

    Without its faulthandler, which would put itself in front of the handlers by which wasmtime catches traps of a
    module: every later trap in this process would end it.
    """

    def configure_pytest(*arguments: str) -> None:
        usual = ["-p", "no:faulthandler", f"--refruntime-wasm={GUEST}", f"--refruntime-golden={goldens}"]
        pytester.parseconfigure(*_loading(), *usual, *arguments)

    return configure_pytest


def _loading() -> list[str]:
    """Return what loads the plugin where the installed package does not name it yet."""
    return [] if IS_INSTALLED else ["-p", "refruntime.pytest_plugin"]


def verdicts(result: pytest.RunResult) -> dict[str, str]:
    """Return the outcome of each node of a run with `-vv`."""
    words = [line.split() for line in result.outlines if line.startswith("golden")]
    return {line[0]: line[1] for line in words if len(line) > 1}


def test_clean_build(run_apart: Run, goldens: Path) -> None:
    """Section 7: a right build passes; the header and the sums name what was compared with what."""
    result = run_apart(GUEST, "-vv")
    assert result.ret == 0, result.stdout.str()
    assert verdicts(result) == dict.fromkeys(NODES, "PASSED")
    index = json.loads((goldens / "INDEX.json").read_text())
    result.stdout.fnmatch_lines(
        [
            f"refruntime: contract 0.1.0, profile {PROFILE.fingerprint} (of the goldens, frozen answers)",
            f"refruntime: goldens {goldens}, root {index['root']}",
            f"refruntime: build {GUEST}, sha256 {hashlib.sha256(GUEST.read_bytes()).hexdigest()}",
            "5 cases, 11 steps, * fields compared: 3 MATCH, 2 refused alike",
        ]
    )


def test_what_a_build_does_not_have(run: Run, tmp_path: Path) -> None:
    """GG-1, ID-1: a build without GGUF skips what needs it with the reason; the summary names what is absent."""
    build = tmp_path / "build.wasm"
    build.write_bytes(build_module(load_model="(i32.const 4)"))
    result = run(build, "golden/gguf", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [
            "1 cases, 0 steps*1 UNSUPPORTED",
            "absent, because the build refuses a plain file of it: gguf (InvalidModelMagic, 1 cases)",
        ]
    )
    result.stdout.fnmatch_lines(["SKIPPED*the build does not have GGUF files*InvalidModelMagic (ID-1)"])


def test_a_build_without_slm1_fails_once(run: Run, tmp_path: Path) -> None:
    """ID-1: where the plain SLM1 file is refused one golden fails with that message, the others that need it skip."""
    build = tmp_path / "build.wasm"
    build.write_bytes(build_module(load_model="(i32.const 6)"))
    result = run(build, "golden/load", "golden/sampling", "-rs")
    assert result.ret == 1
    text = result.stdout.str()
    assert text.count("the build has to load SLM1 files (f32 weights, byte tokenizer), but refuses the plain file") == 1
    assert result.parseoutcomes()["failed"] == 1
    assert result.parseoutcomes()["skipped"] >= 1


def test_build_with_a_bug(run_apart: Run, pytester: pytest.Pytester) -> None:
    """PR-3, SA-6: the report of a failure has the difference, the sampler trace and a repro line, and no traceback."""
    result = run_apart(MUTANTS["draw_from_32_bits"], "--junitxml=report.xml")
    assert result.ret == 1
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        [
            "MISMATCH sampling/draw *step 2 generate*(steps 0-1 match)",
            "  selected_token oracle 86    build 87",
            "  sample    token 86 of step 2*",
            "  coin      unit 0x1.37fffep-1*",
            "  repro     refruntime diff *draw_from_32_bits.wasm --golden * --filter sampling/draw *",
            "FAILED golden/sampling/draw - MISMATCH sampling/draw*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "runtest" not in result.stdout.str()
    cases = ElementTree.parse(pytester.path / "report.xml").getroot().iter("testcase")
    failures = {case.get("name"): failure for case in cases if (failure := case.find("failure")) is not None}
    assert list(failures) == ["golden.sampling.draw"]
    assert "build 87" in (failures["golden.sampling.draw"].text or "")


def test_known_failures(run: Run, pytester: pytest.Pytester) -> None:
    """A known failure is expected, one that passes fails, and neither hides behind the other."""
    bug = MUTANTS["reset_keeps_kv"]
    pytester.path.joinpath("known.toml").write_text('"load/*" = "reset is being rewritten"\n')
    result = run(bug, "--refruntime-xfail=known.toml", "-rx")
    assert result.ret == 0
    result.assert_outcomes(passed=5, xfailed=1)
    result.stdout.fnmatch_lines(["XFAIL golden/load/reset - reset is being rewritten (known.toml)*"])
    pytester.path.joinpath("stale.toml").write_text('"load/reset" = "old"\n"errors/*" = "also old"\n')
    result = run(bug, "--refruntime-xfail=stale.toml", "-vv")
    assert result.ret == 1
    assert verdicts(result)["golden/load/reset"] == "XFAIL"
    assert verdicts(result)["golden/errors/top-k-0"] == "FAILED"
    result.stdout.fnmatch_lines(["[[]XPASS(strict)[]] also old (stale.toml)"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"load/unknown" = "reason"', "'load/unknown' fits no golden"),
        ('"load/reset" = "  "', "'load/reset': expected a reason, found '  '"),
        ('"load/reset" = 5', "'load/reset': expected a reason, found 5"),
        ("[load]", "'load': expected a reason, found {}"),
        ("load", "no TOML"),
    ],
)
def test_wrong_known_failures(configure: Configure, pytester: pytest.Pytester, text: str, message: str) -> None:
    """An excuse for nothing, or without a reason, is a usage error that names it."""
    pytester.path.joinpath("known.toml").write_text(text)
    with pytest.raises(pytest.UsageError, match=message):
        configure("--refruntime-xfail=known.toml")


def test_changed_goldens(run: Run, goldens: Path, tmp_path: Path) -> None:
    """Sections 5, 7: an edited golden is STALE, one that the index does not know and one that is gone are found."""
    changed = tmp_path / "changed"
    shutil.copytree(goldens, changed)
    expect = changed / "cases" / "load" / "reset" / "expect.json"
    expect.write_text(expect.read_text().replace('"kv_length": 0', '"kv_length": 1'))
    add_case(changed, "errors/added", CASES["errors/top-k-0"])
    result = run(GUEST, "-vv", golden=changed)
    assert result.ret == 1
    found = verdicts(result)
    assert [node for node, outcome in found.items() if outcome == "FAILED"] == ["golden::verify", "golden/load/reset"]
    result.stdout.fnmatch_lines(["the goldens are not what INDEX.json says:", "*errors/added*"])
    result.stdout.fnmatch_lines(["STALE load/reset*", "*cases/load/reset/expect.json*expected the hash*"])
    known = tmp_path / "known.toml"
    known.write_text('"load/reset" = "a golden that does not fit is no failure of the build"')
    assert run(GUEST, f"--refruntime-xfail={known}", "golden/load/reset", golden=changed).ret == 1


def test_another_profile(run: Run, tmp_path: Path) -> None:
    """PR-3, ABI-5: answers for another option, given or declared by the build, are computed by the oracle."""
    profile = tmp_path / "other.toml"
    profile.write_text(Profile(unit_conversion="53 high bits").to_toml())
    draw = "golden/sampling/draw"
    assert run(OTHER_DRAW, draw).ret == 1
    result = run(OTHER_DRAW, draw, f"--refruntime-profile={profile}")
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines(["*(of *other.toml; the oracle computes the answers)", "1 cases*1 MATCH"])
    result = run(GUEST, draw, f"--refruntime-profile={profile}")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["MISMATCH sampling/draw*", "  repro     the same options and golden/sampling/draw*"])
    section = b"tinyrustlm.abi" + json.dumps({"contract": "0.1.0", "profile": {"PR-3": "53 high bits"}}).encode()
    declaring = tmp_path / "declaring.wasm"
    declaring.write_bytes(OTHER_DRAW.read_bytes() + bytes([0, len(section) + 1, 14]) + section)
    result = run(declaring, draw)
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines(["*(that the build declares; the oracle computes the answers)", "1 cases*1 MATCH"])


def test_selection(run: Run) -> None:
    """Goldens are chosen by -k, by family and rule markers, by node id and by --refruntime-filter."""
    draw, ties = (f"golden/sampling/{name}" for name in ("draw", "ties"))
    chosen = {
        ("-k", "sampling and not draw"): [ties],
        ("-m", "SA-2"): [ties],
        ("-m", "golden_sampling"): [draw, ties],
        (ties, draw): [draw, ties],
        ("golden::verify",): ["golden::verify"],
        ("golden/load",): ["golden/load/reset"],
        ("golden",): NODES,
        ("--refruntime-filter=load", "--refruntime-filter=PR-3"): ["golden::verify", "golden/load/reset", draw],
        (): NODES,
    }
    for arguments, expected in chosen.items():
        result = run(GUEST, "--collect-only", "-q", "--strict-markers", *arguments)
        assert [line for line in result.outlines if line.startswith("golden")] == expected, arguments
        assert result.ret == 0


def test_beside_other_tests(run: Run, pytester: pytest.Pytester) -> None:
    """In a repository with tests these run too, unless only goldens are named; `-x` ends after the first failure."""
    pytester.makepyfile("def test_own(): pass")
    run(GUEST).assert_outcomes(passed=7)
    run(GUEST, "golden/load").assert_outcomes(passed=1)
    run(GUEST, "test_beside_other_tests.py", "golden/load").assert_outcomes(passed=2)
    run(MUTANTS["reset_keeps_kv"], "-x").assert_outcomes(passed=4, failed=1)


@pytest.mark.slow
def test_worker_processes(run_apart: Run, pytester: pytest.Pytester) -> None:
    """With pytest-xdist the workers run the same goldens, and the sums are those of all workers."""
    pytester.makepyfile("def test_own(): pass")
    bug = MUTANTS["draw_from_32_bits"]
    result = run_apart(bug, "-n2")
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(
        ["refruntime: contract*", "MISMATCH sampling/*", "5 cases*2 MATCH, 2 refused alike, 1 MISMATCH"]
    )
    run_apart(bug, "-n1", "golden/sampling").assert_outcomes(passed=1, failed=1)


def test_builds_that_misbehave(run: Run, tmp_path: Path) -> None:
    """ABI-1: another surface fails with every difference; a build that hangs is stopped and fails; nothing crashes."""
    build = tmp_path / "build.wasm"
    build.write_bytes(build_module(without="free_model"))
    result = run(build, "golden/load", "golden/errors")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["the surface differs (ABI-1, ABI-2):", "  missing free_model*"])
    build.write_bytes(build_module(set_sampling_config=FOREVER))
    result = run(build, "golden/errors", "--refruntime-timeout=0.3")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["POISONED errors/top-k-0*", "*stopped after 0.3 seconds*"])
    build.write_bytes(build_module(set_sampling_config="(unreachable)"))
    result = run(build, "golden/errors")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unreachable*"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--refruntime-wasm=none.wasm"], "--refruntime-wasm: .*none.wasm: No such file"),
        ([f"--refruntime-wasm={__file__}"], "is no WebAssembly module"),
        (["--refruntime-golden=none"], "no goldens in .*none; name the folder"),
        (["--refruntime-profile=none.toml"], "--refruntime-profile: .*none.toml: No such file"),
        ([f"--refruntime-profile={PROJECT / 'pyproject.toml'}"], "--refruntime-profile: .*pyproject.toml"),
        (["--refruntime-filter=none/*"], "'none/.' fits no golden; families are errors, gguf, load, sampling"),
        (["--refruntime-timeout=0"], "--refruntime-timeout: expected seconds above 0, found 0.0"),
        (["--refruntime-xfail=none.toml"], "--refruntime-xfail: .*none.toml: No such file"),
    ],
)
def test_wrong_usage(configure: Configure, arguments: list[str], message: str) -> None:
    """Section 7: what is wrong with an option is a usage error that says what to do."""
    with pytest.raises(pytest.UsageError, match=message):
        configure(*arguments)


def test_exit_code_of_wrong_usage(run_apart: Run) -> None:
    """Section 7: wrong usage ends with pytest's exit code for it, without a traceback."""
    result = run_apart(GUEST, "--refruntime-filter=none")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --refruntime-filter: 'none' fits no golden; families are *"])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()


def test_nothing_without_a_build(pytester: pytest.Pytester) -> None:
    """Without --refruntime-wasm the plugin collects nothing and imports nothing but its options."""
    pytester.makepyfile(
        "import sys\n"
        "def test_own():\n"
        "    loaded = {name for name in sys.modules if name.startswith('refruntime')}\n"
        "    assert loaded == {'refruntime', 'refruntime.display', 'refruntime.pytest_plugin'}, loaded\n"
        "    assert not {'numpy', 'wasmtime'} & set(sys.modules)\n"
    )
    words = [*_loading(), "-p", "no:hypothesispytest", "--refruntime-golden=nowhere"]
    pytester.runpytest_subprocess(*words, timeout=60).assert_outcomes(passed=1)


def test_entry_point() -> None:
    """The package names the plugin for pytest, and naming it costs no import of anything heavy."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"refruntime": "refruntime.pytest_plugin"}
    program = (
        "import sys, refruntime.pytest_plugin as plugin\n"
        "print(plugin.pytest_addoption.__name__, *sorted({'numpy', 'wasmtime', 'click'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["pytest_addoption"]


def test_documented_options(pytester: pytest.Pytester) -> None:
    """The how-to names every option and no other, and shows a file of known failures that is TOML."""
    text = (PROJECT / "docs" / "testing-a-build.md").read_text()
    shown = pytester.runpytest_subprocess(*_loading(), "--help", timeout=60).stdout.str()
    options = set(re.findall(r"--refruntime-[a-z]+", shown))
    assert len(options) == 6
    assert set(re.findall(r"^\| `(--refruntime-[a-z]+)=", text, re.MULTILINE)) == options
    (known,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert all(isinstance(reason, str) for reason in tomllib.loads(known).values())
