"""Fold the lines of a report where a terminal is too narrow for them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from textwrap import wrap
from typing import Final

LEAST: Final = 24
"""Columns that a value gets at least; where the label leaves fewer, the value goes on near the margin."""

_LABEL: Final = re.compile(r"\s*\S+(?: \S+)*\s{2,}")
_COMMAND: Final = re.compile(r"\s*(?:repro|go on)?\s*refruntime ")


def folded(line: str, columns: int) -> list[str]:
    """Return a line in lines of so many columns, broken between words; a value goes on below where it begins.

    A command stays one line, which a terminal breaks anywhere but copies whole; so does a word that is too long.
    """
    if len(line) <= columns or _COMMAND.match(line):
        return [line]
    label = _LABEL.match(line)
    begins = len(label.group()) if label is not None else 0
    lead = len(line) - len(line.lstrip())
    margin = lead if lead > 4 else lead + 4
    indent = begins if label is not None and columns - begins >= LEAST and begins <= columns // 2 else margin
    return wrap(line, columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def fitting(lines: Iterable[str]) -> list[str]:
    """Return lines folded for the terminal behind standard output; what reads a pipe or a file gets them whole."""
    if not sys.stdout.isatty():
        return list(lines)
    columns = shutil.get_terminal_size().columns
    return [part for line in lines for part in folded(line, columns)]
