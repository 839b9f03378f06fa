"""Results are kept under the hash of the sources that gave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime.resources import sources_hash


@pytest.mark.parametrize(
    ("path", "counts"), [("a.py", True), ("room/b.py", True), ("room/rules.toml", True), ("room/read.me", False)]
)
def test_a_changed_module_or_table_is_another_package(tmp_path: Path, path: str, counts: bool) -> None:
    """The hash is over every module and every table, and over nothing else."""
    hashes = []
    for text in ("1", "2"):
        package = tmp_path / text
        (package / "room").mkdir(parents=True)
        for name in ("a.py", "room/b.py", "room/rules.toml", "room/read.me"):
            (package / name).write_text("1")
        (package / path).write_text(text)
        hashes.append(sources_hash(package))
    assert (hashes[0] != hashes[1]) == counts
