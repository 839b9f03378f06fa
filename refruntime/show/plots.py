"""Plots of a session with matplotlib (extra `plot`).

    write_plot(probabilities_plot(candidates_of(session), about_session(session)), Path("steps.svg"))

Each function takes a series, what it is about, and how many pixels wide the picture may be, and gives a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from refruntime.session.answers import HeadAttention
from refruntime.session.series import LayerErrors, StepCandidates, Steps
from refruntime.show.plot_frame import (
    LETTER,
    WIDEST,
    about_session,
    figure_bytes,
    framed,
    label_of,
    legend_above,
    settled,
    token_axis,
    write_plot,
)

__all__ = [
    "about_session",
    "attention_plot",
    "entropy_plot",
    "error_plot",
    "figure_bytes",
    "label_of",
    "probabilities_plot",
    "write_plot",
]

COLOURS: Final = {
    "won": "#1b7837",
    "lost": "#bababa",
    "kept": "#7fbf7b",
    "cut by top_p": "#d8b365",
    "cut by top_k": "#d9d9d9",
}
FORCED: Final = "#c51b7d"
REST: Final = "not shown"
"""What stands for the mass of all candidates that are not shown."""

BAR: Final = 0.86
LEAST_TOLD: Final = 0.045
"""A smaller share has no room for its label."""

INCHES_OF_A_STEP: Final = 0.6
MOST_ROWS: Final = 8


@settled
def probabilities_plot(steps: Sequence[StepCandidates], about: str = "", widest: int = WIDEST) -> Figure:
    """Show the candidates of every step as bars of their probability: chosen, kept, cut by top-p, cut by top-k.

    What is left to 1 is the mass of candidates that are not shown. Steps that do not fit into one row go on below it.
    """
    in_a_row = max(8, int((widest / 120 - 1.2) / INCHES_OF_A_STEP), -(-len(steps) // MOST_ROWS))
    rows = [steps[place : place + in_a_row] for place in range(0, len(steps), in_a_row)]
    columns = min(len(steps), in_a_row)
    figure = framed("Candidates of every step", 1.2 + INCHES_OF_A_STEP * columns, 0.9 + 3.3 * len(rows), about, widest)
    step_inches = (figure.get_figwidth() - 1.0) / columns
    seen: dict[str, Patch] = {}
    every = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for place, (axes, row) in enumerate(zip(every, rows, strict=True)):
        for column, step in enumerate(row):
            _stack(axes, column, step, step_inches, seen)
        axes.set(ylim=(0, 1), xlim=(-0.6, columns - 0.4), ylabel="probability at the step's temperature")
        axes.yaxis.label.set_fontsize(8)
        token_axis(axes, [step.texts[step.tokens.tolist().index(step.taken)] for step in row], step_inches * len(row))
        axes.set_xlabel(f"taken token, steps {place * in_a_row} to {place * in_a_row + len(row) - 1}", fontsize=8)
    legend_above(every[0], handles=list(seen.values()))
    return figure


def _stack(axes: Axes, place: int, step: StepCandidates, inches: float, seen: dict[str, Patch]) -> None:
    bottom = 0.0
    letters = int(BAR * inches / LETTER)
    for index, fate in enumerate(step.fates):
        forced = step.taken != step.chosen and int(step.tokens[index]) == step.taken
        height, colour = float(step.probability[index]), FORCED if forced else COLOURS[fate]
        name = "forced" if forced else fate
        seen.setdefault(name, Patch(color=colour, label=name))
        axes.bar(place, height, BAR, bottom=bottom, color=colour, edgecolor="white", linewidth=0.4)
        if height > LEAST_TOLD and letters:
            white = fate == "won" or forced
            weight, ink = ("bold", "white") if white else ("normal", "black")
            _tell(axes, place, bottom + height / 2, label_of(step.texts[index], max(letters, 2)), ink, weight)
        bottom += height
    rest = 1.0 - bottom
    if rest > 1e-6:
        seen.setdefault(REST, Patch(facecolor="white", edgecolor="#8c8c8c", hatch="////", label=REST))
        axes.bar(place, rest, BAR, bottom=bottom, color="white", edgecolor="#8c8c8c", hatch="////", linewidth=0)
        if rest > LEAST_TOLD and letters >= 3:
            box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
            _tell(axes, place, bottom + rest / 2, f"{rest:.0%}", "#404040", "normal", box)


def _tell(axes: Axes, x: float, y: float, text: str, ink: str, weight: str, box: dict[str, str] | None = None) -> None:
    axes.text(
        x, y, text, ha="center", va="center", fontsize=7, color=ink, fontweight=weight, parse_math=False, bbox=box
    )


@settled
def entropy_plot(steps: Steps, about: str = "", widest: int = WIDEST) -> Figure:
    """Show entropy above and margin below along a generation."""
    count = steps.tokens.size
    figure = framed("Entropy and margin along the generation", 1.5 + 0.2 * count, 5.4, about, widest)
    above, below = figure.subplots(2, 1, sharex=True)
    places = np.arange(count)
    above.plot(
        places,
        steps.entropy,
        marker="o",
        markersize=5,
        linewidth=3.2,
        alpha=0.55,
        color="#2166ac",
        label="of the model at temperature 1",
    )
    above.plot(
        places,
        steps.drawn_entropy,
        marker="s",
        markersize=2.2,
        linewidth=1.1,
        color="#b2182b",
        label="of what the coin decided between",
    )
    above.set(ylabel="entropy, bits")
    above.set_ylim(bottom=0)
    legend_above(above)
    below.bar(places, np.nan_to_num(steps.margin, nan=0.0), color="#4d4d4d")
    below.set(ylabel="margin, logits", xlabel="taken token")
    below.set_xlim(-0.8, count - 0.2)
    token_axis(below, steps.texts, figure.get_figwidth() - 1.2)
    return figure


@settled
def attention_plot(attention: HeadAttention, about: str = "", widest: int = WIDEST) -> Figure:
    """Show one head: a row for each position, brighter where it looked; brightness is the square root of the weight."""
    count = len(attention.texts)
    width = min(max(6.6, 3.0 + 0.16 * count), widest / 120)
    title = f"Attention of layer {attention.layer}, head {attention.head}: where each position looks"
    figure = framed(title, width, width - 0.6, about, widest)
    axes = figure.add_subplot()
    seen = np.where(np.tri(count, dtype=bool), attention.weights.astype(np.float64), np.nan)
    image = axes.imshow(seen, cmap="viridis", norm=PowerNorm(0.5, vmin=0.0), interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, label="attention weight")
    axes.set(xlabel="looked at", ylabel="position")
    token_axis(axes, attention.texts, width - 2.6)
    token_axis(axes, attention.texts, width - 2.6, vertical=True)
    return figure


@settled
def error_plot(error: LayerErrors, about: str = "", widest: int = WIDEST) -> Figure:
    """Show the distance from float64 layer by layer, on a logarithmic scale."""
    figure = framed("Distance from float64, layer by layer", 3.0 + 0.35 * error.layers.size, 4.6, about, widest)
    axes = figure.add_subplot()
    axes.plot(error.layers, error.residual, marker="o", color="#2166ac", label="residual stream behind the layer")
    axes.plot(error.layers, error.worst, marker="^", linestyle="none", color="#b2182b", label="its worst tensor")
    axes.axhline(error.logits, color="#4d4d4d", linestyle="--", linewidth=1, label="logits")
    if (error.residual > 0).any() or error.logits > 0:
        axes.set_yscale("log")
    stride = -(-error.layers.size // 40)
    axes.set(xlabel="layer", ylabel="relative error, Euclidean norm", xticks=error.layers[::stride].tolist())
    legend_above(axes)
    return figure
