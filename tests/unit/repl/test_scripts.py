"""`refruntime repl` without a terminal: words from standard input, exit codes, JSON, where a session begins."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from refruntime.api import open_model
from refruntime.battery.state import generator_cases
from refruntime.contract.profile import Profile
from refruntime.golden.case import step_document
from tests.support.command_line import command
from tests.support.talks import (
    DRAWN,
    GUEST,
    PROJECT,
    STORIES,
    golden_folder,
    say,
    shell,
    tiny_model,
)


def test_script_echoes_and_counts() -> None:
    """Words come one a line, with comments; answers follow their echo; every word obeyed gives exit code 0."""
    run = command("repl", STORIES, stdin=b"# begin\nprompt 'Once'\n\nstep 2\nscript\n")
    assert (run.code, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[0] == "> # begin"
    assert lines[1] == "> prompt 'Once'"
    assert "> step 2" in lines
    assert lines[-1].strip().startswith("1  generate(b'Once', 2)")


@pytest.mark.parametrize(
    ("script", "code", "obeyed"),
    [
        (b"prompt a\nstep\nback 9\ntext\n", 1, 2),
        (b"prompt a\nstepp\ntext\n", 2, 1),
        (b"load nothing.slm1\ntext\n", 3, 0),
        (b"prompt 'a\nstep\n", 2, 0),
        (b"prompt a\nquit\nstep 0\n", 0, 2),
        (b"", 0, 0),
        (b"prompt \xff\n", 1, 0),
    ],
)
def test_script_stops_at_the_first_failure(script: bytes, code: int, obeyed: int) -> None:
    """1 a word failed, 2 no word, 3 a missing file; nothing after it runs, and the line is named."""
    run = command("repl", STORIES, "--json", stdin=script)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.code == code
    assert sum(answer["code"] == 0 for answer in answers) == obeyed
    if code:
        assert answers[-1]["code"] == code
        assert answers[-1]["error"]["text"]
        assert answers[-1]["line"] == obeyed + 1


def test_script_keeps_going() -> None:
    """With --keep-going every line runs, and the exit code is that of the worst."""
    run = command("repl", STORIES, "--keep-going", stdin=b"step\nprompt 'The'\nnonsense\nstep\ntext\n")
    assert run.code == 2
    assert "step: there is no prompt yet" in run.stderr
    assert "nonsense: unknown word" in run.stderr
    assert run.stdout.splitlines()[-3].startswith("text")


def test_json_is_strict() -> None:
    """One object a line, strict JSON, non-finite numbers as text."""
    script = b"configure 'nan' 1 1 1\ncall set_sampling_config inf 1 1 1\nprompt a\nstep\nwhy\n"
    run = command("repl", STORIES, "--json", stdin=script)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    answers = [json.loads(line, parse_constant=refuse) for line in run.stdout.splitlines()]
    assert [answer["word"] for answer in answers] == ["configure", "call", "prompt", "step", "why"]
    assert answers[0]["answer"]["status"]["name"] == "InvalidLength"


def test_sessions_begin_behind_a_golden(tmp_path: Path) -> None:
    """GEN-5: the calls of a case run up to a step, its tokens can be explained, and another model may stand in."""
    golden = golden_folder(tmp_path / "golden")
    talk = shell(STORIES, golden=golden)
    say(talk, *DRAWN, "step 4", "next 2", "save sampling/mine")
    session = talk.branches.node.present
    case = ["--case", "sampling/mine", "--golden", golden, "--json"]
    run = command("repl", *case, stdin=b"text\nback\nwhy\n")
    text, _, why = (json.loads(line)["answer"] for line in run.stdout.splitlines())
    assert text["ids"] == list(session.generated_ids)
    assert (why["token"], why["state_after"]) == (
        session.state.taken[-2].token,
        f"{session.state.taken[-2].choice.generator_state:016x}",
    )
    run = command("repl", *case, "--until", 2, stdin=b"script\ntext\n")
    script, text = (json.loads(line)["answer"] for line in run.stdout.splitlines())
    assert len(script["calls"]) == 3
    assert text["ids"] == list(session.generated_ids[:4])
    stand_in = tmp_path / "other.slm1"
    stand_in.write_bytes(tiny_model())
    run = command("repl", stand_in, *case, "--until", 2, stdin=b"text\n")
    generation = open_model(tiny_model()).generate("Once upon", 4, temperature=1, top_k=260, seed=3)
    assert json.loads(run.stdout)["answer"]["ids"] in ([], list(generation.generated_ids))
    assert command("repl", *case, "--until", 99).code == 2


def test_sessions_begin_behind_a_case_of_the_battery() -> None:
    """PR-4: the repro line of a report names a case of the battery; its calls are those of the battery."""
    case = next(case for case in generator_cases(Profile()))
    run = command("repl", "--case", case.name, "--json", stdin=b"script\n")
    assert json.loads(run.stdout)["answer"]["calls"] == [step_document(step) for step in case.steps]


def test_wrong_usage_and_missing_files() -> None:
    """2 wrong usage, 3 a missing file, 1 a model or a surface that the contract refuses."""
    assert command("repl", "--until", "1").code == 2
    assert command("repl", "--case", "no/such").code == 2
    assert command("repl", STORIES, "--until", "1").code == 2
    assert command("repl", "missing.slm1").code == 3
    assert command("repl", STORIES, "--wasm", "missing.wasm").code == 3
    assert command("repl", GUEST).code == 1
    assert command("repl", STORIES, "--wasm", STORIES).code == 2


def test_scripts_do_not_need_prompt_toolkit(tmp_path: Path) -> None:
    """Without prompt-toolkit scripts work, and a terminal gets exit code 3 with what to install."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, importlib.abc\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'prompt_toolkit': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    arguments = [sys.executable, "-m", "refruntime", "repl", str(STORIES)]
    script = subprocess.run(arguments, input="prompt a\nstep\n", env=environment, capture_output=True, text=True)
    assert (script.returncode, script.stderr) == (0, "")


def test_a_byte_order_mark_is_no_word() -> None:
    """Some shells begin what they pipe with a byte order mark: it is dropped there, and nowhere else."""
    assert command("repl", STORIES, stdin=b"\xef\xbb\xbfhelp why\r\n").code == 0
    assert command("repl", STORIES, stdin=b"help why\n\xef\xbb\xbfhelp why\n").code == 2


def test_closed_standard_streams() -> None:
    """Without standard input there is nothing to obey, which is told (3); without standard output words are obeyed."""
    program = f"exec {shlex.quote(sys.executable)} -m refruntime repl {shlex.quote(str(STORIES))}"
    closed = subprocess.run(["sh", "-c", f"{program} <&-"], cwd=PROJECT, capture_output=True, text=True)
    assert (closed.returncode, closed.stderr.count("\n")) == (3, 1)
    assert "standard input is closed" in closed.stderr
    silent = subprocess.run(["sh", "-c", f"echo nonsense | {program} >&-"], cwd=PROJECT, capture_output=True, text=True)
    assert silent.returncode == 2


def test_without_arguments_it_starts_on_its_own_model() -> None:
    """ABI-1: a first visit needs no file."""
    shown = command("repl", stdin=b"prompt 'The little'\nstep 8\ntext\n")
    assert shown.code == 0, shown.stderr
    assert "fox" in shown.stdout


@pytest.mark.parametrize("case", ["generate/stories.f32.slm1-probe", "golden/sampling/ties-at-the-cut"])
def test_every_case_that_diff_names_can_be_opened(case: str) -> None:
    """DG-3: cases on trained models and goldens have in the REPL the names that `diff` prints, in any folder."""
    shown = command("repl", "--case", case, "--until", 1, stdin=b"script\n")
    assert shown.code == 0, shown.stderr
