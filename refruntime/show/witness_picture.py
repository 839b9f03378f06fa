"""The map of a witness as a picture (extra `plot`): tensors of one position, and the cache of all positions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from refruntime.show.plot_frame import LONGEST_PROMPT, framed, label_of, settled
from refruntime.show.witness import headline, layer_and_kind

COLOURS: Final = {"equal": "#1b7837", "rounding": "#d8b365", "wrong": "#c51b7d", "not seen": "#e4e4e4"}
STATES: Final = tuple(COLOURS)
NOTHING: Final = -1
LONGEST_TITLE: Final = 125
"""Characters of a line."""


@settled
def witness_picture(report: Mapping[str, Any]) -> Figure:
    """Draw the document of `refruntime witness`: layers down; tensors across, then positions across."""
    caches = [(name, part) for name, part in report["cache"].items() if part is not None]
    title = "\n".join(textwrap.wrap(headline(report), LONGEST_TITLE))
    figure = framed(title, 10.0, 3.6 + 1.1 * len(caches), _about(report))
    heights = [2.6, *[1.0] * len(caches)]
    axes = figure.subplots(1 + len(caches), 1, squeeze=False, height_ratios=heights)[:, 0]
    _tensors(axes[0], report)
    for place, (name, part) in zip(axes[1:], caches, strict=True):
        _cache(place, name, part, report)
    return figure


def _about(report: Mapping[str, Any]) -> str:
    """Return what the picture is about: build, model, prompt, arithmetic."""
    prompt = f'prompt "{label_of(str(report["prompt"]).encode("utf-8", "replace"), LONGEST_PROMPT)}"'
    parts = [f"build {report['build']}", f"model {report['model']}", prompt, f"numerics {report['numerics']}"]
    return "; ".join(part.replace(" ", "\u00a0") for part in parts)  # lines end between the parts only


def _grid(axes: Axes, states: np.ndarray[Any, Any]) -> None:
    shown = np.ma.masked_equal(states, NOTHING)
    axes.pcolormesh(shown, cmap=ListedColormap(list(COLOURS.values())), vmin=-0.5, vmax=3.5, edgecolors="white")
    axes.invert_yaxis()
    axes.set_yticks(np.arange(len(states)) + 0.5, [str(row) for row in range(len(states))], fontsize=7)
    axes.set_ylabel("layer", fontsize=8)


def _tensors(axes: Axes, report: Mapping[str, Any]) -> None:
    cells: dict[tuple[int, str], str] = {}
    for event in report["events"]:
        layer, kind = layer_and_kind(event["tensor"])
        if layer:
            cells[int(layer), kind] = event["state"]
    kinds = list(dict.fromkeys(kind for _, kind in cells))
    layers = 1 + max(layer for layer, _ in cells)
    states = np.full((layers, len(kinds)), NOTHING)
    first = report["first"]
    for (row, kind), state in cells.items():
        states[row, kinds.index(kind)] = STATES.index(state)
    axes.set_xticks(np.arange(len(kinds)) + 0.5, kinds, rotation=45, ha="right", fontsize=7)
    if first is not None:
        layer_text, kind = layer_and_kind(first["tensor"])
        if layer_text and kind in kinds:
            place = int(layer_text), kinds.index(kind)
            if first["pattern"] == "rounding":
                states[place] = STATES.index("rounding")
            axes.add_patch(Rectangle((place[1], place[0]), 1, 1, fill=False, edgecolor="black", linewidth=2, zorder=3))
    _grid(axes, states)
    axes.set_title(f"tensors of position {report['position']}", fontsize=8)
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    axes.legend(handles, STATES, fontsize=7, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))


def _cache(axes: Axes, name: str, part: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    marks = {"=": "equal", "x": "wrong", "?": "not seen"}
    states = np.array([[STATES.index(marks[mark]) for mark in row] for row in part["layers"]])
    _grid(axes, states)
    axes.set_title(f"{name} in the cache, by position", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.axvline(report["position"] + 0.5, color="black", linewidth=0.8)
