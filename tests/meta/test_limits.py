"""Excuses for long files hold only as long as the files are long; tests lie where what they test lies."""

from __future__ import annotations

from tests.meta.test_house import LONGER, MAX_LINES, PACKAGE, PROJECT


def test_no_excuse_is_stale() -> None:
    """A file that became short again, or went, needs no reason any more."""
    lengths = {
        name: len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) if (PACKAGE / name).is_file() else 0
        for name in LONGER
    }
    assert not {name: length for name, length in lengths.items() if length <= MAX_LINES}


def test_unit_tests_mirror_the_package() -> None:
    """A folder of tests/unit is a room of the package, and a test beside them is about a module beside the rooms."""
    unit = PROJECT / "tests" / "unit"
    folders = [path for path in unit.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert not [path.name for path in folders if not (PACKAGE / path.relative_to(unit)).is_dir()]
    beside = [path.stem.removeprefix("test_") for path in unit.glob("test_*.py")]
    assert not [name for name in beside if not (PACKAGE / f"{name}.py").is_file()]
    assert len(folders) > 20
