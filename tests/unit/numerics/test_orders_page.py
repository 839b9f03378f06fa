"""The page on builds that add in another order: its commands are run as they stand there, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.numerics.test_kernel_tutorial import PROJECT, run

PAGE = PROJECT / "docs" / "another-order.md"
BLOCKS = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    """FW-4: read off, written, used by both commands; `...` stands for any lines."""
    assert len(BLOCKS) == 4
    for line, shown in BLOCKS:
        pattern = "".join(
            r"(?:.*\n)*" if part == "..." else re.escape(part.rstrip()).replace(r"\.\.\.", ".*") + r"\n"
            for part in shown.splitlines()
        )
        printed = run(line, tmp_path)
        assert re.fullmatch(pattern, printed), printed
