"""Render the chat template of a model as transformers does: Jinja2 in its sandbox, with the same names and settings.

Source: the chat-template documentation of Hugging Face transformers and its `chat_template_utils`. A template is a
program from a model file. The sandbox keeps it away from attributes that lead out of its values and bounds `range`; its
time is bounded where the system has timers (not on Windows), and so is the length of the text.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NoReturn

import click
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_SECONDS: Final = 10.0
MOST_CHARACTERS: Final = 16 * 2**20

Message = Mapping[str, str]
"""One message of a chat: `role` (system, user, assistant) and `content`."""


class ChatTemplateError(click.ClickException):
    """The template of the model is broken, or refuses these messages; exit code 1."""


class _Generation(Extension):
    """The block `{% generation %}`, with which templates mark what the model says; its body is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def render_chat(template: str, messages: Sequence[Message], special_tokens: Mapping[str, str], today: datetime) -> str:
    """Return the text that `template` makes of `messages`, up to where the answer of the model begins.

    `special_tokens` maps `bos_token`, `eos_token` and so on to texts; `today` is what `strftime_now` formats.
    ChatTemplateError for whatever the template does wrong, and for what it raises itself.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = today.strftime
    try:
        with _bounded_time():
            pieces = environment.from_string(template).generate(
                messages=list(messages), tools=None, documents=None, add_generation_prompt=True, **special_tokens
            )
            return _bounded_text(pieces)
    except TemplateSyntaxError as error:
        raise ChatTemplateError(f"the chat template is broken: line {error.lineno}: {error.message}") from error
    except TemplateError as error:
        raise ChatTemplateError(f"the chat template refuses: {error.message}") from error
    except Exception as error:  # a template is a program: it may divide by zero, recurse without end or fill the memory
        raise ChatTemplateError(f"the chat template fails: {type(error).__name__}: {error}") from error


@contextmanager
def _bounded_time() -> Iterator[None]:
    """Interrupt what takes longer than MOST_SECONDS. Timers belong to the main thread; elsewhere nothing is bounded."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise TemplateError(f"it takes longer than {MOST_SECONDS:g} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _bounded_text(pieces: Iterable[str]) -> str:
    """Join the pieces of a text that is not longer than any prompt may be."""
    kept, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > MOST_CHARACTERS:
            raise TemplateError(f"its text is longer than {MOST_CHARACTERS} characters")
        kept.append(piece)
    return "".join(kept)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers does: no escapes for HTML, no ASCII unless asked."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
