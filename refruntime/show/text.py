"""Words, numbers, lines and tables as terminals show them, and as plain text."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from refruntime.golden.values import hex_float
from refruntime.show.visible import cell, quoted
from refruntime.tokenizers.base import Tokenizer

if TYPE_CHECKING:
    from refruntime.sampling import SamplingConfig

LABEL: Final = 12
SHOWN: Final = 10
OWNERS: Final = {"generate": "the generator of `generate`", "runtime": "the runtime-owned generator"}


def decimal(value: float | np.floating[Any]) -> str:
    """Return the shortest decimal that reads back to the same float32 (DG-7)."""
    return str(np.float32(value))


def percent(share: float) -> str:
    """Return a share as a percentage, as exact as people read one."""
    value = 100 * float(share)
    if value < 0.005:
        return "<0.01 %" if value > 0 else "0 %"
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %" if value < 99.95 else "100 %"


def exact(value: float | np.floating[Any], hexes: bool, between: str = "  ") -> str:
    """Return a float32 as a decimal, with its hex float beside it if that is wanted."""
    return decimal(value) + (between + hex_float(np.float32(value)) if hexes else "")


def sampling_text(sampling: SamplingConfig, hexes: bool = False) -> str:
    """Return a sampling configuration in one line."""
    values = f"temperature {exact(sampling.temperature, hexes)}, top_k {sampling.top_k}"
    return f"{values}, top_p {exact(sampling.top_p, hexes)}, seed {sampling.seed}"


def token_cell(tokenizer: Tokenizer, token: int, width: int = 24) -> str:
    """Return the text of a token for a table; one without text says why it has none."""
    raw = tokenizer.decode([token])
    if raw:
        return cell(raw, width)
    return "(stops)" if token in tokenizer.stop_ids else "(no text)"


def named(tokenizer: Tokenizer, token: int, width: int = 48) -> str:
    """Return an id with its text."""
    raw = tokenizer.decode([token])
    return f"{token} {quoted(raw, width) if raw else token_cell(tokenizer, token)}"


def row(label: str, *parts: str | tuple[str, str]) -> Table:
    """Return a line that begins with a label and keeps its indent where it folds; parts are texts or (text, style)."""
    grid = Table.grid(padding=0)
    grid.add_column(width=LABEL, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style="bold"), Text.assemble(*parts))
    return grid


def plain_table(*columns: tuple[str, bool]) -> Table:
    """Return a table without frames; each column is a heading and whether it holds numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), highlight=False, header_style="bold")
    for heading, numeric in columns:
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    return table


def as_string(shown: Iterable[RenderableType], width: int = 100) -> str:
    """Return what people see as plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False, force_jupyter=False)
    for each in shown:
        console.print(each, soft_wrap=False, highlight=False, markup=False)
    file = console.file
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) if isinstance(file, io.StringIO) else ""


def count(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
