"""The wheel: small, complete, the same bytes from the same files, through an sdist too."""

from __future__ import annotations

import hashlib
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.meta.test_house import PROJECT, TRACKED
from tests.package.wheels import built, copy_of_the_project

pytestmark = pytest.mark.package

MAX_BYTES = 8_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from a copy of the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    return built(copy_of_the_project(folder / "project", 1_000_000_000), "wheel", folder / "dist")


def test_it_is_small(wheel: Path) -> None:
    """Goldens and models travel with the package, which stays below 8 MB."""
    assert wheel.stat().st_size < MAX_BYTES


def test_it_has_every_file(wheel: Path) -> None:
    """Each tracked file of the package and of golden/ is in the wheel, byte for byte, and nothing else."""
    wanted = {}
    for path in TRACKED:
        name = path.relative_to(PROJECT)
        if name.parts[0] in ("refruntime", "golden"):
            place = name if name.parts[0] == "refruntime" else Path("refruntime/data") / name
            wanted[place.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        found = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}
    assert found == wanted
    assert len(found) > 1000


def test_it_is_reproducible(wheel: Path, tmp_path: Path) -> None:
    """The same files with other dates and permissions in another folder give the same bytes, through an sdist too."""
    other = copy_of_the_project(tmp_path / "another" / "folder", 1_234_567_891)
    sdist = built(other, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for project in (other, unpacked):
        again = built(project, "wheel", tmp_path / project.name)
        assert again.name == wheel.name
        assert again.read_bytes() == wheel.read_bytes()


def test_extras_name_what_the_package_imports() -> None:
    """Only tests build the package; its own dependencies do not grow by that."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert not [name for name in project["dependencies"] if name.startswith(("hatchling", "setuptools"))]
