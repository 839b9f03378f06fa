"""The command line as a whole: commands, help, exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import refruntime
from refruntime.cli import COMMANDS, CommandGroup, main
from tests.support.command_line import command
from tests.support.lookup_model import lookup_model, spelling

MODEL_COMMANDS = ("run", "logits", "inspect", "tokenize", "convert")


def every_command() -> list[str]:
    """Return the words that lead to each command, those inside of groups too."""
    group = CommandGroup()
    found = []
    for name in COMMANDS:
        inside = group.get_command(click.Context(group), name)
        subcommands = inside.commands if isinstance(inside, click.Group) else ()
        found += [f"{name} {each}" for each in subcommands] or [name]
    return found


@pytest.mark.parametrize("name", every_command())
def test_every_command_helps(name: str) -> None:
    """ABI-5: each command explains itself with an example; machine-readable output is offered."""
    outcome = command(*name.split(), "--help")
    assert outcome.code == 0
    assert "Example" in outcome.stdout
    assert f"refruntime {name}" in outcome.stdout
    assert name in ("demo", "golden serve") or "--json" in outcome.stdout


@pytest.mark.parametrize("name", ["", "golden", "corpus", *every_command()])
def test_help_ends_every_sentence(name: str) -> None:
    """ABI-5: in a narrow terminal no sentence of a help is cut: of the command, its options, and what a group lists."""
    outcome = command(*name.split(), "--help", columns=60)
    assert outcome.code == 0
    usage, _, told = outcome.stdout.partition("\n\n")
    assert usage.startswith("Usage: ")
    assert re.search(r"\w\.{2,}$|\w\u2026", told, re.MULTILINE) is None
    summary = told.partition("\n\n")[0]
    assert summary.rstrip().endswith("."), summary
    assert max(map(len, told.partition("Example")[0].splitlines())) <= 60


def test_the_group_helps() -> None:
    """ABI-5: the list names every command; no arguments show the same and are a usage error."""
    shown = command("--help")
    assert shown.code == 0
    assert all(f"\n  {name} " in shown.stdout for name in COMMANDS)
    assert command().code == 2
    assert command("--version").stdout == f"refruntime, version {refruntime.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_each_command_says(name: str) -> None:
    """ABI-5: the sentence that is listed without importing a command is the first one of its own help."""
    group = CommandGroup()
    found = group.get_command(click.Context(group), name)
    assert found is not None
    assert COMMANDS[name].summary == found.get_short_help_str(limit=1000)


@pytest.mark.parametrize("arguments", [("--help",), ("contract", "--rule", "PR-2")], ids=" ".join)
def test_what_needs_no_model_loads_no_numbers(arguments: tuple[str, ...]) -> None:
    """ABI-5: the list of commands and a rule of the contract come without NumPy, readers of files or compilers."""
    program = (
        "import sys; from refruntime.cli import main; main(sys.argv[1:])\n"
        "heavy = {'numpy', 'gguf', 'numba', 'wasmtime', 'yaml', 'requests'} & set(sys.modules)\n"
        "print(heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


@pytest.mark.parametrize("arguments", [("tokenize", "stories.f32.gguf", "Once"), ("inspect", "stories.f32.gguf")])
def test_what_reads_no_weight_loads_nothing_that_computes(arguments: tuple[str, ...]) -> None:
    """GG-5: a text is encoded and a file described without the forward pass, the sampler and compiled loops."""
    program = (
        "import sys; from refruntime.cli import main; main(sys.argv[1:])\n"
        "heavy = {'refruntime.model.forward', 'refruntime.runtime', 'refruntime.sampling', 'llvmlite', 'numba'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"


def test_a_shell_completes_commands_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-5: what Tab offers behind `refruntime` comes from the list."""
    group = CommandGroup()
    context = click.Context(group, info_name="refruntime")
    with monkeypatch.context() as patch:
        patch.setattr(CommandGroup, "get_command", lambda *_: pytest.fail("a command was imported"))
        offered = {each.value: each.help for each in group.shell_complete(context, "re")}
    assert offered == {name: COMMANDS[name].summary for name in ("repl", "record")}


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("--nonsense",), *((name, "--nonsense") for name in COMMANDS), ("run",), ("convert", "a")],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    """ABI-5: unknown commands, unknown flags and missing arguments are usage errors."""
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "Usage:" in outcome.stderr


@pytest.mark.parametrize("name", MODEL_COMMANDS)
def test_missing_files_are_3(name: str, tmp_path: Path) -> None:
    """GG-1: a file that is not there is no failure of the contract; a folder is no file either."""
    more = [tmp_path / "out.gguf"] if name == "convert" else [] if name == "inspect" else ["text"]
    for path in (tmp_path / "none", tmp_path):
        outcome = command(name, path, *more)
        assert outcome.code == 3, outcome.stderr
        assert str(path) in outcome.stderr


@pytest.mark.parametrize("name", MODEL_COMMANDS)
def test_broken_models_are_1(name: str, tmp_path: Path) -> None:
    """GG-1, ERR-3: every command reports status, rule, offset, expected and found of a file with another magic."""
    path = tmp_path / "model"
    path.write_bytes(b"NOPE and more")
    more = [tmp_path / "out.gguf"] if name == "convert" else [] if name == "inspect" else ["text"]
    outcome = command(name, path, *more)
    assert outcome.code == 1
    for part in ("InvalidModelMagic (4)", "GG-1", "0 (0x0)", "SLM1 or GGUF", "NOPE"):
        assert part in outcome.stdout + outcome.stderr
    document = command(name, path, *more, "--json")
    assert document.code == 1
    assert document.json["status"] == {"code": 4, "name": "InvalidModelMagic"}
    assert document.json["error"]["rule"] == "GG-1"
    assert document.json["error"]["offset"] == 0


def test_profile_files(tmp_path: Path) -> None:
    """GG-1, SL-5: a profile is obeyed; a missing one is 3, an invalid one 2."""
    model = tmp_path / "model.slm1"
    damaged = bytearray(lookup_model(spelling(b"Helo!")))
    damaged[-1] ^= 1
    model.write_bytes(damaged)
    profile = tmp_path / "build.toml"
    assert command("run", model, "H", "--profile", profile).code == 3
    profile.write_text("[rules]\n'SL-5.verify' = 'perhaps'\n")
    outcome = command("run", model, "H", "--profile", profile)
    assert outcome.code == 2
    assert "SL-5.verify" in outcome.stderr
    assert "not verified" in outcome.stderr
    assert command("run", model, "H").code == 1
    profile.write_text("[rules]\n'SL-5.verify' = 'not verified'\n")
    assert command("run", model, "H", "--profile", profile).stdout == "elo!\n"


def test_a_bug_is_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """ERR-2: an unexpected exception is neither a status nor a usage error; the traceback is there on demand."""

    @click.command()
    def broken() -> None:
        raise RuntimeError("the oracle is wrong")

    monkeypatch.setattr(CommandGroup, "get_command", lambda *_: broken)
    outcome = command("run")
    assert outcome.code == 4
    assert "RuntimeError: the oracle is wrong" in outcome.stderr
    assert "--traceback" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    outcome = command("--traceback", "run")
    assert outcome.code == 4
    assert "Traceback (most recent call last)" in outcome.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (click.Abort(), 130), (OSError(28, "No space left on device"), 3)]
)
def test_interrupts_and_the_machine(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    """ERR-2: an interrupt, and a disk that is full, are not bugs of the oracle."""

    @click.command()
    def stopped() -> None:
        raise error

    monkeypatch.setattr(CommandGroup, "get_command", lambda *_: stopped)
    outcome = command("run")
    assert outcome.code == code
    assert "bug" not in outcome.stderr


def test_as_a_program(tmp_path: Path) -> None:
    """ABI-4: `python -m refruntime` passes the exit code on; a reader that leaves early is no bug."""
    program = [sys.executable, "-m", "refruntime"]
    assert subprocess.run([*program, "nonsense"], capture_output=True).returncode == 2
    assert subprocess.run([*program, "--version"], capture_output=True).returncode == 0
    model, texts = tmp_path / "model.slm1", tmp_path / "texts.jsonl"
    model.write_bytes(lookup_model(spelling(b"Helo!")))
    texts.write_text('"more than a pipe can hold"\n' * 10_000)
    endless = [*program, "tokenize", str(model), "--jsonl", str(texts)]
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("words", [("diff", "b.wasm"), ("identify", "b.wasm"), ("fuzz", "b.wasm"), ("seal", "m")])
def test_a_missing_extra_is_no_bug(words: tuple[str, ...]) -> None:
    """ABI-1: a command that runs builds says which extra to install where wasmtime is not, with exit code 3."""
    program = (
        "import sys; sys.modules['wasmtime'] = None; from refruntime.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    outcome = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert outcome.returncode == 3
    assert outcome.stderr == "refruntime: wasmtime is not installed: pip install 'refruntime[wasm]'\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_a_full_disk_is_no_bug(tmp_path: Path) -> None:
    """ERR-2: output that cannot be written is exit code 3, also when only the last flush finds out."""
    model = tmp_path / "model.slm1"
    model.write_bytes(lookup_model(spelling(b"Helo!")))
    words = [sys.executable, "-m", "refruntime", "tokenize", str(model), "--jsonl", "-"]
    with Path("/dev/full").open("wb") as full:
        outcome = subprocess.run(words, input=b'"H"', stdout=full, stderr=subprocess.PIPE)
    assert outcome.returncode == 3
    assert b"No space left" in outcome.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes the stream")
@pytest.mark.parametrize("arguments", [("contract",), ("inspect",), ("inspect", "--json"), ("tokenize", "H")])
def test_closed_output_is_no_bug(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """ABI-4: a caller that closes standard output wants none; the exit code stays that of the command."""
    model = tmp_path / "model.slm1"
    model.write_bytes(lookup_model(spelling(b"Helo!")))
    name, *rest = arguments
    words = [sys.executable, "-m", "refruntime", name, *([] if name == "contract" else [str(model)]), *rest]
    outcome = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *words], capture_output=True)
    assert (outcome.returncode, outcome.stderr) == (0, b"")


@pytest.mark.parametrize("typed", ["rn", "difff", "tokenise", "contrct", "golden lst", "corpus writ"])
def test_a_mistyped_command_gets_a_suggestion(typed: str) -> None:
    """ABI-1: the nearest command is named, inside of a group too."""
    outcome = command(*typed.split())
    assert outcome.code == 2
    assert "Did you mean '" in outcome.stderr


HOSTILE = ("\x1b[2J", "\x07", "\x9b31m", "\u202egpj.exe", "\u2066")
COMMANDING = {*"\x1b\x07\x9b\u202e\u2066"}
NAMING = {
    "demo": [["--model", "?"]],
    "run": [["?", "x"], ["?", "x", "--profile", "?"]],
    "chat": [["?"]],
    "logits": [["?", "x"]],
    "embed": [["?", "x"], ["?", "--lines", "?"]],
    "repl": [["?"], ["--wasm", "?"]],
    "trace": [["?", "x"]],
    "plot": [["?", "x"]],
    "compare": [["?", "?"]],
    "inspect": [["?"]],
    "tokenize": [["?", "x"]],
    "convert": [["?", "?"]],
    "identify": [["?"]],
    "seal": [["?", "--build", "?"], ["?", "--profile", "?"]],
    "diff": [["?"], ["?", "--filter", "?"], ["--recorded", "?"], ["?", "--golden", "?"]],
    "fuzz": [["?"], ["?", "--profile", "?"], ["?", "--replay", "--corpus", "?"], ["?", "--seed", "?"]],
    "campaign": [["?", "?"], ["?", "?", "--cluster", "?"], ["?", "?", "--filter", "?"]],
    "witness": [["?", "--model", "?"]],
    "judge": [["?", "--logits", "?"], ["?", "--node", "?"], ["?", "--profile", "?"]],
    "orders": [["?", "--model", "?"]],
    "record": [["?"]],
    "fill": [["--golden", "?"], ["?"]],
    "verify": [["--golden", "?"]],
    "corpus": [["write", "/dev/null/?"]],
    "golden": [["list", "--golden", "?"], ["?"]],
    "contract": [["--rule", "?"]],
}
"""Command -> arguments in which a person, or a script with foreign file names, may name anything (`?`)."""


def test_every_command_is_told_hostile_names() -> None:
    """ABI-1: a new command is added to the table."""
    assert NAMING.keys() == COMMANDS.keys()


def test_no_argument_reaches_a_terminal_as_a_command(tmp_path: Path) -> None:
    """ABI-1: escape sequences and marks of direction in what is named are made visible in every complaint."""
    text = "".join(HOSTILE)
    missing, there = tmp_path / f"a{text}b", tmp_path / f"c{text}d"
    there.write_bytes(b"\0asm nothing of the kind")
    lines = [[name, *arguments] for name, each in NAMING.items() for arguments in each]
    for words in [*lines, [text]]:
        for path in (missing, there):
            outcome = command(*[word.replace("?", str(path)) for word in words])
            assert outcome.code != 0, words
            assert not COMMANDING & set(outcome.stderr + outcome.stdout), words


@pytest.mark.slow
def test_no_name_of_a_build_reaches_a_terminal_in_a_report(tmp_path: Path) -> None:
    """ABI-1: reports name the build, the model and the folder as they can be read."""
    pytest.importorskip("wasmtime")
    text = "".join(HOSTILE)
    golden = Path(__file__).resolve().parents[2] / "golden" / "models"
    mutant = Path(__file__).resolve().parents[1] / "guest" / "mutants" / "guest-bug-reset_keeps_kv.wasm"
    build, model = tmp_path / f"{text}.wasm", tmp_path / f"{text}.slm1"
    build.write_bytes(mutant.read_bytes())
    model.write_bytes((golden / "stories.q8_0.slm1").read_bytes())
    for words in (
        ["diff", build, "--filter", "state/ready-re*", "--model", model],
        ["fuzz", build, "--batches", 1, "-j", 1, "--corpus", tmp_path / f"{text}1"],
        ["fuzz", build, "--replay", "--corpus", tmp_path / f"{text}1"],
        ["campaign", tmp_path / f"{text}2", build, "--filter", "state/ready-re*", "-j", 1],
        ["witness", build, "--model", model],
        ["identify", build],
        ["seal", model, "--build", build],
    ):
        outcome = command(*words)
        assert outcome.stdout, (words, outcome.stderr)
        assert not COMMANDING & set(outcome.stderr + outcome.stdout), words


def test_summaries_end_with_their_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """ABI-1: the list of commands cuts no sentence."""
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2].partition("Start here:")[0]
    assert "..." not in listed
    assert listed.rstrip().endswith(".")


def test_shell_completion(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-1: a shell that asks gets the commands that begin so, and exit code 0."""
    for name, value in {
        "_REFRUNTIME_COMPLETE": "bash_complete",
        "COMP_WORDS": "refruntime di",
        "COMP_CWORD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capfd.readouterr().out.split() == ["plain,diff"]


def test_narrow_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """FW-2: at 60 columns no line is longer, names of tensors and cases stay whole."""
    monkeypatch.setenv("COLUMNS", "60")
    for words in (["trace", "stories.q8_0.slm1", "Once"], ["golden", "list"], ["contract"]):
        assert main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 60, words
        if words[0] == "trace":
            assert sum(line.startswith("blk.3.attn_residual ") for line in lines) == 1
