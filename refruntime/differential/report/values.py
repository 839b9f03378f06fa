"""Two values of a field side by side: parts in columns, floats as value and bits, nothing cut inside a number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from refruntime.differential.compare import Difference, float32_bits, same_meaning
from refruntime.differential.report.about import row

SHOWN_TEXT: Final = 60
SHOWN_ROWS: Final = 8
"""Parts of a value that differ and are shown; the others are counted."""

LONGEST_NUMBER: Final = 24
"""Digits of an integer that is shown; a build may write any number of them."""

ON_ONE_LINE: Final = 4
"""Elements of a list of plain values that are shown as one part, such as token and logit."""

DEEPEST: Final = 4

Part = tuple[Any, ...]
"""One or a few plain values that belong together."""


def difference_lines(difference: Difference, most: int = SHOWN_ROWS) -> Iterator[str]:
    """Yield a differing field with both values, at most `most` parts of them."""
    mine, theirs = difference.reference, difference.build
    if isinstance(mine, bytes) and isinstance(theirs, bytes):
        yield from _text_lines("result", mine, theirs)
    elif isinstance(mine, str) or isinstance(theirs, str) or not (_is_tree(mine) and _is_tree(theirs)):
        yield from _short_lines(difference.field, value_text(mine), value_text(theirs))
    else:
        yield from _tree_lines(difference.field, mine, theirs, most)


def _is_tree(value: Any) -> bool:
    return isinstance(value, list | dict)


def _text_lines(name: str, mine: bytes, theirs: bytes) -> Iterator[str]:
    offset = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
    at = min(len(mine), len(theirs)) if offset is None else offset
    yield row(f"  {name}", f"{len(mine)} and {len(theirs)} bytes differ at offset {at}", 2)
    yield row("    oracle", _around(mine, at), 2)
    yield row("    build", _around(theirs, at), 2)


def _around(text: bytes, offset: int) -> str:
    start = max(0, offset - SHOWN_TEXT // 2)
    part = text[start : start + SHOWN_TEXT]
    before, after = ("..." if start else ""), ("..." if start + SHOWN_TEXT < len(text) else "")
    return f"{before}{visible(part)}{after}"


def _short_lines(name: str, mine: str, theirs: str) -> Iterator[str]:
    if len(mine) + len(theirs) <= SHOWN_TEXT:
        yield row(f"  {name}", f"oracle {mine}    build {theirs}", 2)
        return
    yield f"  {name}"
    yield row("    oracle", mine, 2)
    yield row("    build", theirs, 2)


# Lists and objects ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """The parts of two values that differ, in the oracle's order; `rest` more do, `same` agree."""

    rows: tuple[tuple[str, str, str], ...]
    rest: int
    same: int


def columns(mine: Any, theirs: Any, most: int = SHOWN_ROWS) -> Columns:
    """Return the parts that differ as (key, oracle, build), numbers of one column as wide as each other."""
    ours, others = dict(_parts(mine)), dict(_parts(theirs))
    keys = [*ours, *(key for key in others if key not in ours)]
    differing = [key for key in keys if not _same(ours.get(key), others.get(key))]
    shown = differing[:most]
    parts = ([ours.get(key) for key in shown], [others.get(key) for key in shown])
    floats = _float_columns([*parts[0], *parts[1]])
    left, right = (_column(side, floats) for side in parts)
    rows = tuple(zip(shown, left, right, strict=True))
    return Columns(rows, len(differing) - len(shown), len(keys) - len(differing))


def side_by_side(difference: Difference, most: int = SHOWN_ROWS) -> Columns:
    """Return any difference as columns; one of plain values has a single row."""
    mine, theirs = difference.reference, difference.build
    if _is_tree(mine) and _is_tree(theirs):
        return columns(mine, theirs, most)
    return Columns((("value", value_text(mine), value_text(theirs)),), 0, 0)


def _tree_lines(name: str, mine: Any, theirs: Any, most: int) -> Iterator[str]:
    """Yield the parts that differ in columns."""
    found = columns(mine, theirs, most)
    label = max([len(f"  {name}"), *(len(key) + 4 for key, _, _ in found.rows)])
    width = max([len("oracle"), *(len(one) for _, one, _ in found.rows)])
    yield f"{f'  {name}':<{label}}  {'oracle':<{width}}   build"
    for key, one, other in found.rows:
        yield f"{f'    {key}':<{label}}  {one:<{width}}   {other}".rstrip()
    if found.rest or found.same:
        said = ([f"{found.rest} more differ"] if found.rest else []) + ([f"{found.same} agree"] if found.same else [])
        yield f"    {', '.join(said)}"


def _parts(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Part]]:
    if depth == DEEPEST or not _is_tree(value) or not value:
        yield path or "(all)", (value,)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(item, f"{path}.{_shown(key)}" if path else _shown(key), depth + 1)
    elif path and len(value) <= ON_ONE_LINE and not any(map(_is_tree, value)):
        yield path, tuple(value)
    else:
        for place, item in enumerate(value):
            yield from _parts(item, f"{path}[{place}]", depth + 1)


def _same(mine: Part | None, theirs: Part | None) -> bool:
    if mine is None or theirs is None:
        return False
    return len(mine) == len(theirs) and all(map(same_meaning, mine, theirs))


def _float_columns(parts: Sequence[Part | None]) -> list[bool]:
    """Say of each column whether it holds a fractional number, so that a whole one there is a float32 too (DG-7)."""
    columns = zip_longest(*(part for part in parts if part is not None))
    return [any(isinstance(value, float) for value in column) for column in columns]


def _column(side: Sequence[Part | None], floats: Sequence[bool]) -> list[str]:
    """Return one side's parts as text, numbers of one column below each other."""
    cells = [
        []
        if part is None
        else [cell for value, single in zip(part, floats, strict=False) for cell in _cells(value, single)]
        for part in side
    ]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row_, widths, strict=False)) if row_ else "(none)"
        for row_ in cells
    ]


def _cells(value: Any, single: bool) -> list[str]:
    if single and isinstance(value, int | float) and not isinstance(value, bool):
        return [value_text(value), f"0x{float32_bits(value):08x}"]
    return [value_text(value), ""] if single else [value_text(value)]


# Plain values --------------------------------------------------------------------------------------------------------


def value_text(value: Any) -> str:
    """Return a value in one line: bytes and text in which everything shows, numbers whole."""
    if isinstance(value, bytes):
        return visible(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**LONGEST_NUMBER:
        return f"an integer of {value.bit_length()} bits"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    text = "".join(character if character.isprintable() else _escape(character) for character in text)
    return text if len(text) <= 4 * SHOWN_TEXT else _cut(text)


def _cut(text: str) -> str:
    """Cut a long text between its words, so that no number loses digits."""
    head = text[: 4 * SHOWN_TEXT]
    return (head.rpartition(" ")[0] or head) + " ..."


def visible(raw: bytes) -> str:
    """Return bytes in quotes as text in which everything shows; what is not UTF-8 as `\\x..`."""
    return f'"{_shown(raw.decode("utf-8", "surrogateescape"))}"'


def _shown(text: str) -> str:
    return "".join(
        character if character.isprintable() and character not in '"\\' else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return '\\"' if character == '"' else character.encode("unicode_escape").decode()
