"""Plots of a session with matplotlib (extra `plot`): the same numbers give the same bytes under one version of it.

    write_plot(probabilities_plot(candidates_of(session)), Path("steps.svg"))

Each function takes a series and gives a figure; `write_plot` writes it as PNG or SVG without dates or names of tools.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
from matplotlib import font_manager, rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from refruntime.atomic import write_whole
from refruntime.session.series import Attention, LayerErrors, StepCandidates, Steps
from refruntime.visible import visible

FORMATS: Final = (".png", ".svg")
COLOURS: Final = {
    "won": "#1b7837",
    "lost": "#bababa",
    "kept": "#7fbf7b",
    "cut by top_p": "#d8b365",
    "cut by top_k": "#d9d9d9",
}
FORCED: Final = "#c51b7d"
LONGEST_LABEL: Final = 12
MOST_LABELS: Final = 64
NO_TEXT: Final = "(no text)"
PICTURES: Final = 0x2400
"""Where Unicode has the pictures of control characters."""

SETTINGS: Final = {
    "svg.hashsalt": "refruntime",
    "svg.fonttype": "path",
    "font.family": ["DejaVu Sans"],
    "path.simplify": False,
}

_NOT_OURS: Final = frozenset({"backend", "backend_fallback", "toolbar", "interactive"})

Drawing = TypeVar("Drawing", bound=Callable[..., Figure])


def _settings() -> dict[Any, Any]:
    return {key: value for key, value in rcParamsDefault.items() if key not in _NOT_OURS} | SETTINGS


def _settled(function: Drawing) -> Drawing:
    """Draw with the settings above whatever a person's matplotlibrc says."""

    @wraps(function)
    def drawn(*arguments: Any, **options: Any) -> Figure:
        with rc_context(_settings()):
            return function(*arguments, **options)

    return cast(Drawing, drawn)


def figure_bytes(figure: Figure, suffix: str) -> bytes:
    """Return a figure as the bytes of a `.png` or `.svg` file."""
    buffer = io.BytesIO()
    kind = suffix.removeprefix(".")
    nothing = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with rc_context(_settings()):
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format=kind, metadata=nothing, dpi=120)
    return bytes(buffer.getvalue())


def write_plot(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the suffix of the file. ValueError for another suffix, OSError."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    write_whole(path, figure_bytes(figure, suffix))


# Labels --------------------------------------------------------------------------------------------------------------


@cache
def _drawable() -> frozenset[int]:
    """Return the code points that the font of the plots has; others are written as escapes, never as boxes."""
    found = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans"))
    return frozenset(font_manager.get_font(found).get_charmap())


def label_of(raw: bytes, longest: int = LONGEST_LABEL) -> str:
    """Return the text of a token for an axis: everything shows, and what the font has not is an escape."""
    if not raw:
        return NO_TEXT
    shown = "".join(each if ord(each) in _drawable() else _escaped(ord(each)) for each in visible(raw))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _escaped(code: int) -> str:
    """Return an escape; a picture of a control character is escaped as that character."""
    return f"\\u{{{code - PICTURES if PICTURES <= code < PICTURES + 0x20 else code:x}}}"


def _token_axis(axes: Axes, texts: Sequence[bytes], vertical: bool = False) -> None:
    stride = -(-len(texts) // MOST_LABELS)
    places = list(range(0, len(texts), max(stride, 1)))
    labels = [label_of(texts[place]) for place in places]
    if vertical:
        axes.set_yticks(places, labels, fontsize=7, parse_math=False)
    else:
        axes.set_xticks(places, labels, fontsize=7, rotation=90, parse_math=False)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(min(width, 40.0), min(height, 40.0)), layout="constrained")


# Plots ---------------------------------------------------------------------------------------------------------------


@_settled
def probabilities_plot(steps: Sequence[StepCandidates]) -> Figure:
    """Show the candidates of every step as bars of their probability: chosen, kept, cut by top-p, cut by top-k."""
    figure = _figure(2.2 + 0.75 * len(steps), 5.2)
    axes = figure.add_subplot()
    seen: dict[str, str] = {}
    for place, step in enumerate(steps):
        bottom = 0.0
        for index, fate in enumerate(step.fates):
            forced = step.taken != step.chosen and int(step.tokens[index]) == step.taken
            height, colour = float(step.probability[index]), FORCED if forced else COLOURS[fate]
            seen.setdefault("forced" if forced else fate, colour)
            axes.bar(place, height, 0.86, bottom=bottom, color=colour, edgecolor="white", linewidth=0.4)
            if height > 0.045:
                axes.text(
                    place,
                    bottom + height / 2,
                    label_of(step.texts[index]),
                    ha="center",
                    va="center",
                    fontsize=7,
                    fontweight="bold" if fate == "won" else "normal",
                    color="white" if fate == "won" else "black",
                    parse_math=False,
                )
            bottom += height
    axes.set(ylim=(0, 1), ylabel="probability at the step's temperature", xlabel="taken token", title="Candidates")
    _token_axis(axes, [_text_of_taken(step) for step in steps])
    handles = [axes.bar(0, 0, color=colour, label=name) for name, colour in seen.items()]
    axes.legend(handles=handles, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_xlim(-0.6, len(steps) - 0.4)
    return figure


def _text_of_taken(step: StepCandidates) -> bytes:
    return step.texts[int(np.flatnonzero(step.tokens == step.taken)[0])]


@_settled
def entropy_plot(steps: Steps) -> Figure:
    """Show entropy above and margin below along a generation."""
    count = steps.tokens.size
    figure = _figure(2.5 + 0.22 * count, 5.2)
    above, below = figure.subplots(2, 1, sharex=True)
    places = np.arange(count)
    above.plot(places, steps.entropy, marker="o", markersize=3, color="#2166ac", label="model, temperature 1")
    above.plot(places, steps.drawn_entropy, marker="s", markersize=3, color="#b2182b", label="what the coin decided")
    above.set(ylabel="entropy, bits", title="Entropy and margin")
    above.set_ylim(bottom=0)
    above.legend(fontsize=7)
    below.bar(places, np.nan_to_num(steps.margin, nan=0.0), color="#4d4d4d")
    below.set(ylabel="margin, logits", xlabel="taken token")
    _token_axis(below, steps.texts)
    return figure


@_settled
def attention_plot(attention: Attention) -> Figure:
    """Show one head: a row for each position, brighter where it looked."""
    count = len(attention.texts)
    figure = _figure(2.5 + 0.2 * count, 2.2 + 0.2 * count)
    axes = figure.add_subplot()
    seen = np.where(np.tri(count, dtype=bool), attention.weights.astype(np.float64), np.nan)
    image = axes.imshow(seen, cmap="viridis", vmin=0.0, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.7, label="attention weight")
    axes.set(xlabel="looked at", ylabel="position", title=f"Layer {attention.layer}, head {attention.head}")
    _token_axis(axes, attention.texts)
    _token_axis(axes, attention.texts, vertical=True)
    return figure


@_settled
def error_plot(error: LayerErrors) -> Figure:
    """Show the distance from float64 layer by layer, on a logarithmic scale."""
    figure = _figure(3.0 + 0.35 * error.layers.size, 4.4)
    axes = figure.add_subplot()
    axes.plot(error.layers, error.residual, marker="o", color="#2166ac", label="residual stream behind the layer")
    axes.plot(error.layers, error.worst, marker="^", linestyle="none", color="#b2182b", label="its worst tensor")
    axes.axhline(error.logits, color="#4d4d4d", linestyle="--", linewidth=1, label="logits")
    if (error.residual > 0).any() or error.logits > 0:
        axes.set_yscale("log")
    axes.set(xlabel="layer", ylabel="relative error", title="Distance from float64", xticks=error.layers.tolist())
    axes.legend(fontsize=7)
    return figure
