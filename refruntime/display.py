"""What a value shows of itself in Python and in a notebook; the package says who renders it, the value only what it is.

Values derive from `Displayed` and expose plain data. What turns them into text and HTML needs them, so that they cannot
need it: the package's own `__init__` names it, and it is loaded when something is shown for the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Renderer(Protocol):
    """What turns values into what people see."""

    def text(self, value: Displayed) -> str:
        """Return the value as plain text."""

    def html(self, value: Displayed) -> str:
        """Return the value as a part of a page."""


class Displayed:
    """A value that people look at."""

    def __repr__(self) -> str:
        """Show the value in plain text, as `print` and an interactive Python do."""
        return _load_renderer().text(self)

    def _repr_html_(self) -> str:
        """Show the value in a notebook."""
        return _load_renderer().html(self)


def rendered_by(load: Callable[[], Renderer]) -> None:
    """Let values be shown by what `load` gives; it is asked each time, so it should be quick the second time."""
    global _load_renderer
    _load_renderer = load


def _nobody() -> Renderer:
    raise LookupError("nobody renders values; `import refruntime` says who does")


_load_renderer: Callable[[], Renderer] = _nobody
