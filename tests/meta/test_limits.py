"""Excuses for long files hold only as long as the files are long."""

from __future__ import annotations

from tests.meta.test_house import LONGER, MAX_LINES, PACKAGE


def test_no_excuse_is_stale() -> None:
    """A file that became short again, or went, needs no reason any more."""
    lengths = {
        name: len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) if (PACKAGE / name).is_file() else 0
        for name in LONGER
    }
    assert not {name: length for name, length in lengths.items() if length <= MAX_LINES}
