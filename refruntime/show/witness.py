"""A report of the witness for people: verdict, table of events, map of layers and tensors, map of the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from refruntime.show.text import plain_table

MARKS: Final = {"equal": ("=", "green"), "wrong": ("x", "bold red"), "not seen": (".", "dim")}
ROUNDING: Final = ("~", "yellow")
LEGEND: Final = "= equal bit by bit   ~ rounding   x wrong   . not seen   [ ] the first wrong one"
SEQ32: Final = "seq32"
AROUND: Final = 4
"""Rows of the table before and behind the first wrong tensor."""


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the verdict, what was seen around the first wrong tensor, and the maps."""
    for part in report_shown(report):
        console.print(part, soft_wrap=isinstance(part, Text))


def report_shown(report: Mapping[str, Any]) -> list[RenderableType]:
    """Return the verdict, what was seen around the first wrong tensor, and the maps."""
    first, events = report["first"], report["events"]
    shown: list[RenderableType] = [Text(headline(report))]
    if first is not None:
        shown += [Text(f"  {label:<9}{value}") for label, value in [("pattern", first["pattern"]), *details(first)]]
    if report.get("numerics", SEQ32) != SEQ32:
        shown.append(Text(f"  under the arithmetic {report['numerics']}, which is not the contract's (ID-4)"))
    return [
        *shown,
        Text(""),
        events_table(_around(events, first)),
        Text(f"position {report['position']} of {report['positions']}, {report['pauses']} pauses"),
        tensor_map(events, first),
        Text(LEGEND, style="dim"),
        *(line for name in ("keys", "values") for line in _cache_lines(name, report["cache"][name])),
    ]


def headline(report: Mapping[str, Any]) -> str:
    """Return the verdict in one line."""
    first, events = report["first"], report["events"]
    if first is not None:
        return f"WRONG {first['tensor']} at position {first['position']}: {first['text']}"
    equal = sum(event["state"] == "equal" for event in events)
    what = f"{equal} of {len(events)} tensors of position {report['position']} are in its memory bit by bit"
    return f"CLEAN no number is wrong; {what}" if report["verdict"] == "clean" else f"NOT SEEN {what}"


def details(held: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return as labelled lines where a tensor lies and some of its numbers, of both sides; nothing without a place."""
    if "address" not in held:
        return []
    return [
        ("address", f"{held['address']:#x}, shape {' x '.join(map(str, held['shape']))}"),
        ("oracle", " ".join(f"{x:.9g}" for x in held["expected"])),
        ("build", " ".join(f"{x:.9g}" for x in held["found"])),
        ("elements", " ".join(":".join(map(str, place)) for place in held["elements"])),
    ]


def _around(events: Sequence[Mapping[str, Any]], first: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    if first is None:
        return [event for event in events if event["state"] != "equal"] or events[:AROUND]
    place = next(index for index, event in enumerate(events) if event["tensor"] == first["tensor"])
    return events[max(0, place - AROUND) : place + 1 + AROUND]


def events_table(events: Sequence[Mapping[str, Any]]) -> Table:
    """Return what was seen of some tensors as a table."""
    headings = (("tensor", False), ("state", False), ("seen", True), ("address", True), ("fuel", True), ("why", False))
    table = plain_table(*headings)
    for event in events:
        mark, style = MARKS[event["state"]]
        numbers = [
            f"{event['seen']} of {event['of']}",
            "" if event["address"] is None else f"{event['address']:#x}",
            "" if event["fuel"] is None else f"{event['fuel']:,}",
        ]
        state = Text(f"{mark} {event['state']}", style)
        table.add_row(Text(event["tensor"]), state, *map(Text, [*numbers, event["reason"]]))
    return table


def tensor_map(events: Sequence[Mapping[str, Any]], first: Mapping[str, Any] | None) -> Table:
    """Return a map of one position: layers down, tensors across."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for event in events:
        layer, kind = layer_and_kind(event["tensor"])
        rows.setdefault(layer, {})[kind] = event
    kinds = list(dict.fromkeys(kind for layer, row in rows.items() if layer for kind in row))
    table = Table(show_header=True, box=None, padding=(0, 0), pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for index in range(len(kinds)):
        table.add_column(f"{index + 1:>3}", no_wrap=True)
    for layer, row in rows.items():
        if layer:
            table.add_row(layer, *(_cell(row.get(kind), first) for kind in kinds))
    outer = Text("  ".join(kind for kind in rows.get("", {})))
    legend = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    legend.add_column(overflow="fold")
    legend.add_row(table)
    names = ", ".join(f"{index + 1} {kind}" for index, kind in enumerate(kinds))
    legend.add_row(Text(names, style="dim"))
    if outer:
        line = Text("outside of layers: ")
        for kind, event in rows[""].items():
            line.append(f"{kind} ")
            line.append_text(_cell(event, first))
            line.append("  ")
        legend.add_row(line)
    return legend


def _cell(event: Mapping[str, Any] | None, first: Mapping[str, Any] | None) -> Text:
    if event is None:
        return Text("   ")
    mark, style = MARKS[event["state"]]
    if first is not None and event["tensor"] == first["tensor"]:
        if first["pattern"] == "rounding":
            mark, style = ROUNDING
        return Text(f"[{mark}]", style)
    return Text(f" {mark} ", style)


def layer_and_kind(name: str) -> tuple[str, str]:
    """Return the layer of a tensor as text, empty outside of layers, and its name without it."""
    parts = name.split(".")
    return (f"{int(parts[1]):>5}", ".".join(parts[2:])) if parts[0] == "blk" else ("", name)


def _cache_lines(name: str, part: Mapping[str, Any] | None) -> list[Text]:
    if part is None:
        return [Text(f"{name}: not found in memory as float32")]
    heading = Text(f"{name} of the cache at {part['address']:#x}: layers down, positions across")
    return [heading, *(Text(f"{layer:>5} {row}") for layer, row in enumerate(part["layers"]))]
