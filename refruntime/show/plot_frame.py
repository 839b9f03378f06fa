"""What every plot has in common: settings that no person's matplotlibrc changes, size, titles, labels, files.

    figure = framed("Candidates", 9.0, 4.0, about)
    write_plot(figure, Path("steps.svg"))

The same numbers give the same bytes under one version of matplotlib; files hold no dates and no names of tools.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from matplotlib import font_manager, rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from refruntime.atomic import write_whole
from refruntime.visible import visible

if TYPE_CHECKING:
    from refruntime.session.session import Session

FORMATS: Final = (".png", ".svg")
DPI: Final = 120
WIDEST: Final = 1600
"""Pixels across, unless more are asked for."""

LEAST_WIDTH: Final = 6.6
"""Inches across: the titles need them."""

LONGEST_LABEL: Final = 12
LONGEST_PROMPT: Final = 60
NO_TEXT: Final = "(no text)"
PICTURES: Final = 0x2400
"""Where Unicode has the pictures of control characters."""

LETTER: Final = 0.066
"""Inches that a letter of a label takes at most."""

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


def settled(function: Drawing) -> Drawing:
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
        figure.savefig(buffer, format=kind, metadata=nothing, dpi=DPI)
    return bytes(buffer.getvalue())


def write_plot(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the suffix of the file. ValueError for another suffix, OSError."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    write_whole(path, figure_bytes(figure, suffix))


# Size and titles -----------------------------------------------------------------------------------------------------


def about_session(session: Session) -> str:
    """Return what a session's plot is about: model, prompt, settings."""
    subject, state = session.subject, session.state
    sampling = state.sampling
    prompt = subject.tokenizer.decode(list(state.prompt_ids))
    asked = f'prompt "{label_of(prompt, LONGEST_PROMPT)}"' if prompt else f"prompt of {len(state.prompt_ids)} ids"
    drawn = f"temperature {sampling.temperature:g}, top_k {sampling.top_k}, top_p {sampling.top_p:g}"
    numerics = getattr(getattr(subject.prefix_cache, "transformer", None), "numerics", None)
    file = Path(subject.artifact).name if isinstance(subject.artifact, str | Path) else ""
    told = [file or subject.name, asked, f"{drawn}, seed {sampling.seed}" if sampling.temperature else "greedy"]
    told += [] if numerics is None else [f"numerics {numerics.name}"]
    return "; ".join(part.replace(" ", "\u00a0") for part in told)  # lines end between the parts only


def framed(title: str, width: float, height: float, about: str = "", widest: int = WIDEST) -> Figure:
    """Return an empty figure of at most `widest` pixels across, whose title says what is shown and of what."""
    size = min(max(width, LEAST_WIDTH), widest / DPI), min(height, 40.0)
    figure = Figure(figsize=size, layout="constrained")
    lines = textwrap.wrap(about, int(size[0] / 0.072), break_on_hyphens=False) if about else []
    figure.suptitle(
        "\n".join([title, *lines]), x=0.01, ha="left", fontsize=9, linespacing=1.35, parse_math=False, in_layout=True
    )
    return figure


def legend_above(axes: Axes, **options: Any) -> None:
    """Put the legend above the axes, where it covers nothing."""
    handles = options.pop("handles", None) or axes.get_legend_handles_labels()[0]
    axes.legend(
        handles=handles,
        fontsize=7,
        ncols=len(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        frameon=False,
        **options,
    )


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


def token_axis(axes: Axes, texts: Sequence[bytes], inches: float, vertical: bool = False) -> None:
    """Label an axis of so many inches with tokens, as many as do not touch."""
    stride = max(1, -(-len(texts) * 0.13 // max(inches, 0.13)))
    places = list(range(0, len(texts), int(stride)))
    labels = [label_of(texts[place]) for place in places]
    if vertical:
        axes.set_yticks(places, labels, fontsize=7, parse_math=False)
    else:
        axes.set_xticks(places, labels, fontsize=7, rotation=90, parse_math=False)
