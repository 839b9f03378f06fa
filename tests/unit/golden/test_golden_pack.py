"""`refruntime golden`: one archive with the same bytes everywhere, a server for this machine, a list."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from refruntime.golden.corpus import Corpus
from refruntime.golden.pack import pack
from tests.support.command_line import command
from tests.support.golden_files import CASES, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_corpus(tmp_path_factory.mktemp("golden") / "golden")
    (root / "consume.mjs").write_text("export {};\n")
    (root / "consumer").mkdir()
    (root / "consumer/values.mjs").write_text("export {};\n")
    (root / "consume.html").write_text("<!doctype html>\n")
    assert command("fill", "--golden", root).code == 0
    return root


def test_an_archive_holds_every_file(corpus: Path, tmp_path: Path) -> None:
    """What Python's tarfile reads from the archive is the corpus; owner, time and mode are fixed, names sorted."""
    shown = command("golden", "pack", "--golden", corpus, "--partial", "-o", tmp_path / "x.tar")
    assert shown.code == 0, shown.stderr
    data = (tmp_path / "x.tar").read_bytes()
    assert shown.stdout.startswith(hashlib.sha256(data).hexdigest())
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
        held = {member.name.partition("/")[2]: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    files = {path.relative_to(corpus).as_posix(): path.read_bytes() for path in corpus.rglob("*") if path.is_file()}
    assert held == files
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(m.mode, m.uid, m.gid, m.mtime, m.isreg()) for m in members} == {(0o644, 0, 0, 0, True)}
    assert {member.name.partition("/")[0][:23] for member in members} == {"refruntime-golden-0.1.0"}


def test_an_archive_does_not_depend_on_the_folder(corpus: Path, tmp_path: Path) -> None:
    """Another folder, other times and other modes give the same bytes."""
    copy = Path(shutil.copytree(corpus, tmp_path / "elsewhere"))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert pack(Corpus(copy)) == pack(Corpus(corpus))


def test_what_is_wrong_is_not_packed(corpus: Path, tmp_path: Path) -> None:
    """Goldens with findings are refused before anything is written."""
    copy = Path(shutil.copytree(corpus, tmp_path / "golden"))
    (copy / "models/table-story.slm1").write_bytes(b"")
    shown = command("golden", "pack", "--golden", copy, "--partial", "-o", tmp_path / "x.tar")
    assert (shown.code, "nothing was packed" in shown.stderr) == (1, True)
    assert not (tmp_path / "x.tar").exists()
    assert command("golden", "pack", "--golden", corpus, "--partial", "-o", tmp_path / "no" / "x.tar").code == 3


def test_cases_are_listed(corpus: Path) -> None:
    """Every case is there with its rules, as text and as JSON."""
    shown = command("golden", "list", "--golden", corpus)
    assert shown.code == 0
    assert "generate/story        GEN-5" in shown.stdout
    listed = command("golden", "list", "--golden", corpus, "--json").json["cases"]
    assert {item["id"]: item["rules"] for item in listed} == {key: value["rules"] for key, value in CASES.items()}
