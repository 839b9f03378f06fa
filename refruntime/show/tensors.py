"""Intermediates of a pass in few words: names, shape and range of a tensor, and where a head of attention looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from refruntime.session.answers import HeadAttention
from refruntime.show.text import percent, plain_table, row, token_cell

FIRST_VALUES: Final = 3
MOST_ROWS: Final = 16
WIDE: Final = 76
"""Columns of a terminal that show the first values of tensors beside their range."""

SHADES: Final = " ·░▒▓█"


def describe(name: str, values: NDArray[Any]) -> dict[str, Any]:
    """Return what there is to say about a tensor in few words; masked scores of -inf are left out of the range."""
    seen = values[~np.isneginf(values)] if name.endswith("attn.scores") else values.reshape(-1)
    size = {"name": name, "shape": list(values.shape), "dtype": values.dtype.name}
    if not seen.size:
        return {**size, "min": None, "max": None, "rms": None, "first": []}
    with np.errstate(all="ignore"):
        rms = float(np.sqrt(np.mean(np.square(seen.astype(np.float64)))))
        low, high = float(seen.min()), float(seen.max())
    first = [float(x) for x in values.reshape(-1)[:FIRST_VALUES]]
    return {**size, "min": low, "max": high, "rms": rms, "first": first}


def tensors_table(rows: Sequence[Mapping[str, Any]], width: int = WIDE) -> Table:
    """Return descriptions of tensors as a table; where it is narrow without the first values, and names stay whole."""
    wide = width >= WIDE
    last = [("first values", False)] if wide else []
    table = plain_table(("tensor", False), ("shape", False), ("min", True), ("max", True), ("rms", True), *last)
    table.columns[0].no_wrap = True
    for each in rows:
        numbers = ["" if each[key] is None else f"{each[key]:.4g}" for key in ("min", "max", "rms")]
        shape = " x ".join(map(str, each["shape"]))
        first = [" ".join(f"{x:.4g}" for x in each["first"])] if wide else []
        table.add_row(*map(Text, [each["name"], shape, *numbers, *first]))
    return table


def attention_shown(attention: HeadAttention) -> list[RenderableType]:
    """Return the strongest weights of the last position with their tokens, and the map of all positions."""
    last = attention.weights[-1]  # [T]
    strongest = sorted(np.argsort(-last, kind="stable")[:MOST_ROWS].tolist())
    table = plain_table(
        ("position", True), ("id", True), ("token", False), ("weight", True), ("share", True), ("", False)
    )
    for position in strongest:
        token = attention.ids[position]
        text = token_cell(attention.tokenizer, token)
        bar = "█" * round(20 * float(np.nan_to_num(last[position])))
        share = percent(float(np.nan_to_num(last[position])))
        table.add_row(*map(Text, [str(position), str(token), text, f"{last[position]:.6f}", share, bar]))
    left = len(last) - len(strongest)
    note = f"layer {attention.layer}, head {attention.head}: position {len(last) - 1} looks at {len(last)} positions"
    note += f"; {left} weaker ones left out" if left else ""
    return [row("attention", note), table, _Map(attention.weights)]


class _Map:
    """A map of attention weights: each line a position, darker where it looks more; as many as fit the width."""

    def __init__(self, weights: NDArray[Any]) -> None:
        self._weights = np.nan_to_num(weights)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        size = min(len(self._weights), max(1, options.max_width - 8), 64)
        part = self._weights[-size:, -size:]  # the last positions
        start = len(self._weights) - size
        for index, line in enumerate(part):
            shades = "".join(
                SHADES[min(len(SHADES) - 1, int(x * (len(SHADES) - 1) + 0.999))] for x in line[: index + 1]
            )
            yield Text(f"{start + index:>6} {shades}", no_wrap=True, overflow="crop")
