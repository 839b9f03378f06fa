"""The map of a forward pass: layers down, tensors across, what was equal, wrong or not seen in a build's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refruntime.show.page.pieces import code, paragraph, sides, text
from refruntime.show.witness import LEGEND, headline, layer_and_kind

MARKS: Final = {"equal": ("=", "fine"), "wrong": ("x", "wrong"), "not seen": ("·", "nothing")}


def forward_map(report: Mapping[str, Any]) -> str:
    """Return the document of `refruntime witness` (see refruntime.witness.report) as a part of a page."""
    first = report["first"]
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for event in report["events"]:
        layer, kind = layer_and_kind(event["tensor"])
        rows.setdefault(layer.strip(), {})[kind] = event
    kinds = list(dict.fromkeys(kind for layer, row in rows.items() if layer for kind in row))
    cells = ["<span></span>", *(f'<i title="{text(kind)}">{place + 1}</i>' for place, kind in enumerate(kinds))]
    for layer, row in rows.items():
        if layer:
            cells.append(f'<span class="number quiet">{text(layer)}</span>')
            cells += [_cell(row.get(kind), first) for kind in kinds]
    grid = f"max-content repeat({len(kinds)}, 1.4rem)"
    outer = "  ".join(f"{code(kind)} {_cell(event, first)}" for kind, event in rows.get("", {}).items())
    names = ", ".join(f"{place + 1} {kind}" for place, kind in enumerate(kinds))
    parts = [
        paragraph(headline(report)),
        _numbers(first),
        f'<div class="wide"><div class="map" style="grid-template-columns:{grid}">{"".join(cells)}</div></div>',
        paragraph(names, "quiet"),
        f'<p>outside of layers: <span class="outer">{outer}</span></p>' if outer else "",
        paragraph(" · ".join(LEGEND.split("   ")), "quiet"),
    ]
    return "\n".join(part for part in parts if part)


def _cell(event: Mapping[str, Any] | None, first: Mapping[str, Any] | None) -> str:
    if event is None:
        return "<i></i>"
    mark, kind = MARKS[event["state"]]
    known = f" first {kind}" if first is not None and event["tensor"] == first["tensor"] else f" {kind}"
    return f'<i class="{known.strip()}" title="{text(event["tensor"])}: {text(event["state"])}">{mark}</i>'


def _numbers(first: Mapping[str, Any] | None) -> str:
    if first is None or "expected" not in first:
        return ""
    places = ["[" + ", ".join(map(str, place)) + "]" for place in first["elements"]]
    said = paragraph("The elements that differ first, by row and place:", "quiet")
    return said + sides(
        (p, f"{a:.9g}", f"{b:.9g}") for p, a, b in zip(places, first["expected"], first["found"], strict=True)
    )
