"""The GitHub action and the pre-commit hook: their steps run as GitHub and pre-commit would run them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from refruntime.campaign.judging import read_matrix
from refruntime.resources import own_model
from tests.consumers.node import PROJECT
from tests.package.wheels import copy_of_the_project
from tests.support.asked_engines import PROGRAM
from tests.support.builds import GUEST, MUTANTS

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install pyyaml")

ACTION: dict[str, Any] = yaml.safe_load((PROJECT / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
JUDGING: dict[str, Any] = yaml.safe_load((PROJECT / "judge" / "action.yml").read_text())
HOOKS: list[dict[str, Any]] = yaml.safe_load((PROJECT / ".pre-commit-hooks.yaml").read_text())


def run_step(
    step: dict[str, Any], place: Path, action: dict[str, Any] = ACTION, /, **inputs: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the script of a step with a runner's environment; return what it did and its outputs."""
    values = {name: given.get("default", "") for name, given in action["inputs"].items()} | inputs
    environment = {
        key: value.replace("${{ inputs.", "").replace(" }}", "") for key, value in step.get("env", {}).items()
    }
    (place / "temp").mkdir(exist_ok=True)
    for name in ("output", "summary"):
        (place / name).write_text("")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=place,
        env={
            **os.environ,
            **{key: values[name] for key, name in environment.items()},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(PROJECT),
            "GITHUB_OUTPUT": str(place / "output"),
            "GITHUB_STEP_SUMMARY": str(place / "summary"),
            "RUNNER_TEMP": str(place / "temp"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    outputs = dict(line.split("=", 1) for line in (place / "output").read_text().splitlines())
    return done, outputs


def comparing() -> dict[str, Any]:
    (step,) = [step for step in STEPS if step.get("id") == "diff"]
    return step


def test_inputs_are_documented_and_safe() -> None:
    """ABI-5: docs/ci.md lists every input with its default; no script is put together from an input."""
    page = (PROJECT / "docs" / "ci.md").read_text()
    for name, given in ACTION["inputs"].items():
        default = f"`{given['default']}`" if given.get("default") else ""
        assert f"| `{name}` | {default}".rstrip() in page, name
    for name in ACTION["outputs"]:
        assert f"`{name}`" in page
    assert not [step for step in STEPS if "${{" in step.get("run", "")]
    assert set(ACTION["outputs"]) == {line.split("=")[0] for line in _written(comparing()["run"])}


def _written(script: str) -> list[str]:
    return [line.split('"')[1] for line in script.splitlines() if line.strip().startswith('echo "')]


def test_a_wrong_build(tmp_path: Path) -> None:
    """SA-2: the step fails; annotations, summary, JUnit and HTML name the case; patterns reach refruntime unharmed."""
    (tmp_path / "sampling").mkdir()
    (tmp_path / "sampling" / "top-k-1").touch()  # a pattern that the shell expands would miss the other cases
    shutil.copy(MUTANTS["top_k_off_by_one"], tmp_path / "a build.wasm")
    inputs = {"build": "a build.wasm", "goldens": "true", "filter": "sampling/top-k-[12]\n SC-2 sampling/top-k-1*"}
    done, outputs = run_step(comparing(), tmp_path, **inputs, arguments="--max-fail 9")
    assert done.returncode == 1, done.stdout + done.stderr
    assert outputs["exit-code"] == "1"
    assert done.stdout.count("::error title=MISMATCH sampling/top-k-") == 2
    summary = (tmp_path / "summary").read_text()
    assert summary.startswith("## \u274c a build.wasm: not fine")
    assert "### First difference: sampling/top-k-1" in summary
    assert "<details><summary>MISMATCH sampling/top-k-2</summary>" in summary
    suite = ElementTree.parse(outputs["junit"])
    assert len(suite.findall(".//failure")) == 2
    assert "sampling/top-k-2" in Path(outputs["html"]).read_text()


@pytest.mark.slow
def test_a_right_build(tmp_path: Path) -> None:
    """MEM-1: the step passes and says how much was compared."""
    shutil.copy(GUEST, tmp_path / "build.wasm")
    done, outputs = run_step(comparing(), tmp_path, build="build.wasm", goldens="true", filter="MEM-1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert outputs["exit-code"] == "0"
    assert (tmp_path / "summary").read_text().startswith("## \u2705 build.wasm: fine")
    assert "::notice title=refruntime diff build.wasm::" in done.stdout


@pytest.mark.slow
def test_judging_a_table(tmp_path: Path) -> None:
    """ABI-5: the action beside writes its pages, its exit code is that of the command; each input is documented."""
    (step,) = [step for step in JUDGING["runs"]["steps"] if step.get("id") == "judge"]
    (tmp_path / "engine.py").write_text(PROGRAM)
    engine = f"[engines.own]\nnode = '{sys.executable} {{folder}}/engine.py {{model}} fast'\n"
    asked = "text = 'abc'\npositions = 3\ngreedy = 0\n[models]\nplain = 'plain-gguf.gguf'\n"
    (tmp_path / "a table.toml").write_text(asked + engine)
    done, outputs = run_step(step, tmp_path, JUDGING, matrix="a table.toml", folder="its pages")
    assert (done.returncode, outputs["exit-code"]) == (0, "0"), done.stderr
    assert "ROUNDING" in (tmp_path / outputs["html"]).read_text()
    assert (tmp_path / outputs["json"]).is_file()
    done, outputs = run_step(step, tmp_path, JUDGING, matrix="nothing.toml", folder="its pages")
    assert (done.returncode, outputs["exit-code"]) == (3, "3")
    page = (PROJECT / "docs" / "judging-an-engine.md").read_text()
    for name, given in JUDGING["inputs"].items():
        default = f"`{given['default']}`" if given.get("default") else ""
        assert f"| `{name}` | {default}".rstrip() in page, name
    assert not [step for step in JUDGING["runs"]["steps"] if "${{" in step.get("run", "")]


def test_the_table_of_the_documentation() -> None:
    """ABI-5: it can be read, and names models of the project."""
    path = PROJECT / "docs" / "judge-matrix.toml"
    matrix = read_matrix(path.read_text(), path.parent, own_model, "")
    assert len(matrix.models) > 3
    assert {engine.name for engine in matrix.engines} >= {"xllamacpp", "mistralrs", "transformers"}
    for engine in matrix.engines:
        place = engine.source_with(Path("m.gguf"), "").place
        assert "{folder}" not in place
        scripts = [word for word in place.split() if word.startswith(str(path.parent))]
        assert all(Path(word).is_file() for word in scripts)


@pytest.mark.slow
def test_a_missing_build(tmp_path: Path) -> None:
    """ABI-1: what cannot be compared fails with the exit code of the command, which is an output too."""
    done, outputs = run_step(comparing(), tmp_path, build="nothing.wasm")
    assert done.returncode == int(outputs["exit-code"]) >= 2
    assert "nothing.wasm" in done.stderr


@pytest.mark.slow
def test_installing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-5: the step that installs makes a package of this folder that holds the goldens."""
    (install,) = [step for step in STEPS if "pip install" in step.get("run", "")]
    for name, value in {
        "NO_DEPS": "1",
        "NO_INDEX": "1",
        "TARGET": str(tmp_path / "site"),
        "NO_BUILD_ISOLATION": "0",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    done, _ = run_step(install, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "refruntime" / "data" / "golden" / "INDEX.json").is_file()


@pytest.mark.slow
def test_the_hook_verifies(tmp_path: Path) -> None:
    """ABI-5: the hook's command with the arguments of docs/ci.md passes on whole goldens and fails on an edited one."""
    (hook,) = HOOKS
    assert hook["id"] == "refruntime-verify"
    page = (PROJECT / "docs" / "ci.md").read_text()
    (block,) = [part for part in page.split("```") if ".pre-commit-config.yaml" in part]
    (used,) = yaml.safe_load(block.removeprefix("yaml"))["repos"][0]["hooks"]
    assert used["id"] == hook["id"]
    golden = tmp_path / "golden"
    shutil.copytree(PROJECT / "golden", golden)
    words = [sys.executable, "-m", *shlex.split(hook["entry"]), *used["args"]]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    assert subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode == 0
    (golden / "cases" / "sampling" / "top-k-1" / "case.json").write_text("{}")
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sampling/top-k-1" in done.stderr


@pytest.mark.package
def test_pre_commit_runs_the_hook(tmp_path: Path) -> None:
    """ABI-5: pre-commit installs the hook as docs/ci.md says; whole goldens pass, an edited one does not."""
    program = Path(sys.executable).parent / "pre-commit"
    if not program.exists():
        pytest.skip("pre-commit is not installed: pip install -e '.[package]'")
    hook, theirs = copy_of_the_project(tmp_path / "hook", 1_700_000_000), tmp_path / "theirs"
    shutil.copytree(PROJECT / "golden", theirs / "golden")
    names = {f"GIT_{who}_{what}": "x@y.z" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    packages = sysconfig.get_path("purelib")  # the hook's environment is made offline: what it needs is taken from ours
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": packages}
    environment = {**os.environ, **names, **offline, "PRE_COMMIT_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}

    def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
        given = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 300}
        return subprocess.run([*map(str, words)], check=False, **given)  # type: ignore[call-overload,no-any-return]

    for folder in (hook, theirs):
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "x")):
            done = run(folder, "git", *words)
            assert done.returncode == 0, done.stderr
    revision = run(hook, "git", "rev-parse", "HEAD").stdout.strip()
    page = (PROJECT / "docs" / "ci.md").read_text()
    (block,) = [part for part in page.split("```") if ".pre-commit-config.yaml" in part]
    config = block.removeprefix("yaml").replace("https://github.com/OWNER/refruntime", str(hook))
    (theirs / ".pre-commit-config.yaml").write_text(config.replace("rev: main", f"rev: {revision}"))
    run(theirs, "git", "add", "-A")
    done = run(theirs, program, "run", "--all-files")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"goldens are whole\.+Passed", done.stdout)
    (theirs / "golden" / "cases" / "sampling" / "top-k-1" / "case.json").write_text("{}")
    done = run(theirs, program, "run", "--all-files")
    assert done.returncode == 1
    assert "sampling/top-k-1" in done.stdout
