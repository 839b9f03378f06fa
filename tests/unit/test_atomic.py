"""Files are written as a whole or not at all."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from refruntime.atomic import whole_file, write_whole
from tests.support.command_line import command
from tests.support.lookup_model import lookup_model, spelling

GUEST = Path(__file__).resolve().parents[1] / "guest" / "guest.wasm"
OLD = b"what was written before"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 16 KiB that exists in memory alone; skips where that needs other rights."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small tmpfs cannot be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    """GEN-8: half a file never replaces a good one, and nothing unfinished stays behind."""
    path = small_disk / "result.json"
    path.write_bytes(OLD)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, bytes(100_000))
    assert path.read_bytes() == OLD
    assert list(small_disk.iterdir()) == [path]


def test_commands_on_a_full_disk_say_so(small_disk: Path, tmp_path: Path) -> None:
    """GEN-8: exit code 3 with the name of the file; what was there is what it was."""
    model = tmp_path / "model.slm1"
    model.write_bytes(lookup_model(spelling(b"Helo!")))
    for words in (["logits", model, "H" * 24, "--save"], ["trace", model, "H" * 24, "--save"]):
        path = small_disk / f"{words[0]}.npz"
        path.write_bytes(OLD)
        outcome = command(*words, path)
        assert (outcome.code, path.read_bytes()) == (3, OLD), outcome.stderr
        assert "No space left on device" in outcome.stderr


@pytest.mark.parametrize("words", [["golden", "pack", "-o"], ["diff", GUEST, "--filter", "status/*", "--junit"]])
def test_reports_and_packs_on_a_full_disk_leave_the_old_file(words: list[object], small_disk: Path) -> None:
    """GEN-8: `golden pack` and `diff --junit` wrote in place: a full disk left half a file over a good one."""
    if GUEST in words:
        pytest.importorskip("wasmtime")
    path = small_disk / "file"
    path.write_bytes(OLD)
    with (small_disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while rest.write(bytes(512)):
            pass
    outcome = command(*words, path)
    assert (outcome.code, path.read_bytes()) == (3, OLD), outcome.stderr
    assert {each.name for each in small_disk.iterdir()} == {"file", "rest"}


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    """GEN-8: an interrupt in the middle changes nothing."""
    path = tmp_path / "result.json"
    path.write_bytes(OLD)

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_at_once_share_nothing(tmp_path: Path) -> None:
    """GEN-8: each has a name of its own; one of the two files is there in the end, whole."""
    path = tmp_path / "result.bin"
    contents = [bytes([value]) * 1_000_000 for value in range(8)]
    writers = [threading.Thread(target=write_whole, args=(path, data)) for data in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_links_and_modes_stay(tmp_path: Path) -> None:
    """GEN-8: a link goes on naming its file, which keeps its mode; a new file has the usual one."""
    path, link, usual = tmp_path / "result.bin", tmp_path / "link", tmp_path / "usual"
    path.write_bytes(OLD)
    path.chmod(0o640)
    link.symlink_to(path.name)
    write_whole(link, b"new")
    assert (link.is_symlink(), path.read_bytes(), path.stat().st_mode & 0o777) == (True, b"new", 0o640)
    usual.write_bytes(b"")
    write_whole(tmp_path / "fresh", b"")
    assert (tmp_path / "fresh").stat().st_mode == usual.stat().st_mode


def test_devices_are_fed() -> None:
    """GEN-8: a device is no file to replace."""
    write_whole(Path("/dev/null"), OLD)
    assert not Path("/dev/null").is_file()
