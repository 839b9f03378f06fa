"""Machine code that is kept: called without numba, for what it was compiled for alone, made anew when it must be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from refruntime.machine_code import Loop, layout, prepare
from tests.support import kernels

pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")
kept = pytest.importorskip("refruntime.machine_code.kept")

MODULE = kernels.__name__
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep machine code in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept.folder.cache_clear()
    yield tmp_path / "refruntime" / "machine-code"
    kept.folder.cache_clear()


def test_arguments_of_every_kind(folder: Path) -> None:
    """Arrays of several dimensions, whole numbers, both floats and tuples, each in its place."""
    out = np.zeros((2, 3), np.float32)
    Loop(MODULE, "everything")(out, X, -2, np.float32(0.5), 0.25, (3, X[0]))
    np.testing.assert_array_equal(out, X * np.float32(-2) + np.float32(0.75) + 3 + X[0])


def test_a_variant_is_made_by_the_function(folder: Path) -> None:
    """One name, two meanings, two pieces of machine code."""
    for name, expected in (("add", 5), ("multiply", 6)):
        out = np.array([2], np.int64)
        Loop(MODULE, "variant", name)(out, np.array([3], np.int64))
        assert out[0] == expected
    (place,) = folder.iterdir()
    assert len(list(place.iterdir())) == 2


def test_arguments_of_another_kind_are_refused(folder: Path) -> None:
    """Memory is never read as what it is not: type, order of bytes, dimensions, gaps, and what is no array."""
    loop, out = Loop(MODULE, "double"), np.zeros(6, np.float32)
    flat = X.reshape(-1)
    loop(out, flat)
    np.testing.assert_array_equal(out, 2 * flat)
    wrong = (flat.astype(np.float64), flat.astype(">f4"), flat.astype(np.int32), X, np.repeat(flat, 2)[::2])
    for other in wrong:
        with pytest.raises(TypeError, match="takes a contiguous array of float32 with 1 dimensions here, not one of"):
            loop(out, other)
    for nothing in (None, 7, [1.0]):
        with pytest.raises(TypeError, match="takes an array here, not"):
            loop(out, nothing)
    with pytest.raises(TypeError, match="takes 2 arguments here, not 1"):
        loop(out)
    with pytest.raises(TypeError, match="not str"):
        Loop(MODULE, "double")(out, "text")
    loop(out, np.zeros(6, np.float32))
    assert not out.any()


def test_memory_that_may_not_be_written_is_read(folder: Path) -> None:
    """A file that is mapped is such memory; a subclass of arrays is one."""
    out = np.zeros(6, np.float32)
    Loop(MODULE, "double")(out, np.frombuffer(X.tobytes(), np.float32))
    np.testing.assert_array_equal(out, 2 * X.reshape(-1))


def test_damaged_machine_code_is_made_anew(folder: Path) -> None:
    """A file that was cut or changed is not run."""
    out = np.zeros(6, np.float32)
    Loop(MODULE, "double")(out, X.reshape(-1))
    (path,) = folder.glob("*/*")
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"", whole[:40] + b"\xff" + whole[41:], b"\0" * len(whole)):
        path.write_bytes(damaged)
        assert kept.read(path.name) is None
        Loop(MODULE, "double")(out, X.reshape(-1))
        assert kept.read(path.name) == whole[32:]


def test_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop is then compiled for the process."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept.folder.cache_clear()
    out = np.zeros(6, np.float32)
    prepare()
    Loop(MODULE, "double")(out, X.reshape(-1))
    kept.folder.cache_clear()
    np.testing.assert_array_equal(out, 2 * X.reshape(-1))


def test_a_loop_that_needs_numba_when_it_runs_is_refused(folder: Path) -> None:
    """Another process would call into what is not there."""
    with pytest.raises(RuntimeError, match=r"allocating cannot be kept: it calls .*NRT_"):
        Loop(MODULE, "allocating")(np.zeros(6, np.float32))


def test_any_number_of_threads_may_ask_first(folder: Path) -> None:
    """Machine code is made once, whoever asks."""
    loop, results = Loop(MODULE, "double"), []

    def ask() -> None:
        out = np.zeros(6, np.float32)
        loop(out, X.reshape(-1))
        results.append(out)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all((out == 2 * X.reshape(-1)).all() for out in results)


def test_whoever_waits_is_told_once(folder: Path) -> None:
    """Compiling takes seconds, once on a machine."""
    told: list[str] = []
    prepare(told.append)
    for variant in ("add", "multiply", "add"):
        Loop(MODULE, "variant", variant)(np.array([2], np.int64), np.array([3], np.int64))
    prepare()
    assert told == ["compiling loops; this happens once and takes a few seconds"]


def test_another_process_calls_what_was_kept(folder: Path) -> None:
    """It never imports numba."""
    program = (
        "import sys, numpy as np\nfrom refruntime.machine_code import Loop\nout = np.zeros(2, np.float32)\n"
        f"Loop({MODULE!r}, 'double')(out, np.array([1, 2], np.float32))\nprint(out, 'numba' in sys.modules)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder.parents[1])}
    for compiles in ("True", "False"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert done.stdout.split() == ["[2.", "4.]", compiles], done.stderr


def test_a_change_of_anything_below_asks_for_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper of a helper of a loop, numba, the processor: machine code holds a copy of all."""
    package = tmp_path / "package"
    (package / "quants/compiled").mkdir(parents=True)
    (package / "containers").mkdir()
    helper, checksum, other = (
        package / "quants/compiled/a.py",
        package / "containers/checksum.py",
        package / "containers/gguf.py",
    )
    for path in (helper, checksum, other):
        path.write_text("1")
    monkeypatch.setattr(kept, "PACKAGE", package)

    def place() -> Path | None:
        kept.folder.cache_clear()
        return kept.folder()

    found = [place()]
    helper.write_text("2")
    found.append(place())
    checksum.write_text("2")
    found.append(place())
    monkeypatch.setenv("NUMBA_OPT", "1")
    found.append(place())
    monkeypatch.setattr(kept.llvm, "get_host_cpu_name", lambda: "another")
    found.append(place())
    assert len(set(found)) == 5
    other.write_text("2")
    assert place() == found[-1]


def test_old_folders_are_forgotten(folder: Path) -> None:
    """The latest ones stay, and so does the one in use."""
    for number in range(kept.FOLDERS_KEPT + 3):
        (folder / str(number)).mkdir(parents=True)
        os.utime(folder / str(number), (number, number))
    kept.write("name", b"code")
    assert kept.read("name") == b"code"
    remaining = {path.name for path in folder.iterdir()} - {str(kept.folder()).split("/")[-1]}
    assert remaining == {str(number) for number in range(3, kept.FOLDERS_KEPT + 3)}


def test_another_layout_of_arrays_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fields lie elsewhere nothing is called: the plain loops go on."""
    layout.check_layout()
    for name in ("HEAD", "DIMENSIONS", "TYPE", "FLAGS", "NUMBER"):
        with monkeypatch.context() as patched:
            patched.setattr(layout, name, getattr(layout, name) + 8)
            with pytest.raises(ImportError, match="places that compiled loops do not know"):
                prepare()
