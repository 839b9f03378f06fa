"""What commands say of a file that is another than they take, and of a name that is mistyped."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import wasmtime

from refruntime.commands.diff import build as diff_build
from tests.support.builds import GUEST
from tests.support.command_line import command

EMPTY_MODULE = b"\0asm\x01\0\0\0"
COMPONENT = b"\0asm\x0d\0\x01\0"
COMMANDS = (
    ("diff",),
    ("diff", "--golden"),
    ("identify",),
    ("fuzz",),
    ("orders",),
    ("witness", "--model", "stories.q8_0.slm1"),
    ("seal", "stories.q8_0.slm1", "--build"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_is_no_module_is_named(words: tuple[str, ...], tmp_path: Path) -> None:
    """ABI-1: each command that takes a build names the file, and says what it is instead where its bytes tell."""
    path = tmp_path / "my build.wasm"
    path.write_bytes(COMPONENT)
    shown = command(*words, path)
    assert shown.code == 2
    assert "my build.wasm: not a WebAssembly module" in shown.stderr
    assert "it is a WebAssembly component: a core module is needed" in shown.stderr
    path.write_bytes(b"something else")
    shown = command(*words, path)
    assert shown.code == 2
    assert shown.stderr.rstrip().endswith(r"begins with b'somethin', expected b'\x00asm\x01\x00\x00\x00'")


@pytest.mark.parametrize("words", [each for each in COMMANDS if "--golden" not in each], ids=" ".join)
def test_a_module_without_exports_is_advised(words: tuple[str, ...], tmp_path: Path) -> None:
    """ABI-1: a module that exports nothing is told what a Rust crate has to say; one that exports some, what lacks."""
    path = tmp_path / "empty.wasm"
    path.write_bytes(EMPTY_MODULE)
    shown = command(*words, path)
    assert shown.code == 1
    assert shown.stderr.startswith("the surface of empty.wasm differs (ABI-1, ABI-2):\n  missing memory: ")
    assert "none of the exports is there: a Rust crate exports what is `#[unsafe(no_mangle)]" in shown.stderr


def test_one_export_is_no_reason_for_advice(tmp_path: Path) -> None:
    """ABI-1: a module that exports `free_model` knows how; only what it lacks is told."""
    path = tmp_path / "one.wasm"
    path.write_bytes(wasmtime.wat2wasm('(module (func (export "free_model") (result i32) i32.const 0))'))
    shown = command("diff", path)
    assert (shown.code, "missing alloc" in shown.stderr, "no_mangle" in shown.stderr) == (1, True, False)
    assert "free_model" not in shown.stderr


def test_a_filter_that_fits_nothing_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ID-1: a mistyped filter is refused before the build is asked anything, which may take a minute."""

    def met(*_: object, **__: object) -> None:
        raise AssertionError("the build was met")

    monkeypatch.setattr(diff_build, "meet", met)
    shown = command("diff", GUEST, "--filter", "smapler")
    assert shown.code == 2
    assert "'smapler' fits no case. Did you mean 'sampler'" in shown.stderr


def test_a_mistyped_model_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SL-1: a name that is nearly that of a model of the project is answered with it; any other one is not."""
    monkeypatch.chdir(tmp_path)
    shown = command("inspect", "stories.q8.slm1")
    assert shown.code == 3
    assert "No such file or directory; did you mean stories.q8_0.slm1, which comes with refruntime?" in shown.stderr
    for name in ("my.gguf", "elsewhere/stories.q8.slm1"):
        shown = command("inspect", name)
        assert (shown.code, shown.stderr) == (3, f"Error: {name}: No such file or directory\n")


def test_a_mistyped_case() -> None:
    """GEN-1: `repl --case` names what is near, as `--filter` does."""
    shown = command("repl", "--case", "sampling/ties-at-the-cat")
    assert shown.code == 2
    assert "Did you mean 'sampling/ties-at-the-cut'" in shown.stderr
    assert "`refruntime golden list` names the goldens" in shown.stderr


def test_a_command_that_is_shown_can_be_typed(tmp_path: Path) -> None:
    """ABI-5: what `golden pack` says comes next is quoted for a shell."""
    path = tmp_path / "my goldens.tar"
    shown = command("golden", "pack", "-o", path)
    (following,) = (line for line in shown.stdout.splitlines() if line.startswith("next: "))
    assert shlex.split(following.removeprefix("next: ").partition(";")[0]) == ["tar", "xf", str(path)]
