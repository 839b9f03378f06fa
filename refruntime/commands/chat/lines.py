"""Lines that a person types: with history and editing where the system has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

PROMPT = "> "


def typed_lines() -> Iterator[str]:
    """Yield the lines that are typed until Ctrl-D; Ctrl-C gives up the line that was begun and says what leaves."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it is what gives `input` its keys
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            click.echo("")
            return
        except KeyboardInterrupt:
            click.echo("\n(Ctrl-D or /quit leaves)", err=True)
