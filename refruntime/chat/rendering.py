"""Render one chat template: the program of the child process that `template.py` starts.

It reads a request as JSON from standard input and writes an answer as JSON to standard output. It bounds its own memory
and processor time by the limits that the kernel keeps, before it looks at the template; where the system has none, the
operations that make a large value of a small one are bounded instead. Sources: the chat-template documentation of
Hugging Face transformers and its `chat_template_utils`; the sandbox chapter of Jinja's documentation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_ERROR: Final = 1000
"""Characters of what a template says when it refuses."""

MOST_INTEGER_BITS: Final = 4096
WIDENING: Final = {"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"}
"""Methods of strings that make a long text of a small number."""


class _Generation(Extension):
    """The block `{% generation %}`, with which templates mark what the model says; its body is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, in which no operator makes a value that is too large to hold."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, most_characters: int, kernel_limits: bool) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self._most_characters = most_characters
        self._kernel_limits = kernel_limits

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Evaluate `*`, `**` or `%` unless its result would be too large."""
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            self._bound(left.bit_length() * max(right, 0), MOST_INTEGER_BITS, "an integer of more than {} bits")
        elif operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, str | bytes | list | tuple) and isinstance(times, int):
                    self._bound(len(value) * times, self._most_characters, "a value of more than {} characters")
            if isinstance(left, int) and isinstance(right, int):
                bits = left.bit_length() + right.bit_length()
                self._bound(bits, MOST_INTEGER_BITS, "an integer of more than {} bits")
        elif operator == "%" and isinstance(left, str) and not self._kernel_limits:
            raise TemplateError("this system cannot bound what `%` makes of a text")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute; without limits of the kernel the methods that widen a text are refused."""
        if isinstance(obj, str) and attribute in WIDENING and not self._kernel_limits:
            raise TemplateError(f"this system cannot bound what `{attribute}` makes of a text")
        return super().getattr(obj, attribute)

    @staticmethod
    def _bound(size: int, most: int, text: str) -> None:
        if size > most:
            raise TemplateError(f"it asks for {text.format(most)}")


def limit_resources(seconds: float, extra_bytes: int) -> bool:
    """Bound processor time and address space of this process; False where the system has no such limits."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + extra_bytes, now + extra_bytes))
        whole = int(seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
    except (ImportError, OSError, ValueError):
        return False
    return True


def render(request: dict[str, Any], kernel_limits: bool) -> str:
    """Return the text that the template of a request makes of its messages; whatever it raises passes."""
    environment = _Environment(request["most_characters"], kernel_limits)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = datetime.fromisoformat(request["today"]).strftime
    if not kernel_limits:
        environment.filters = {
            name: filter for name, filter in environment.filters.items() if name not in {"center", "format", "indent"}
        }
    pieces = environment.from_string(request["template"]).generate(
        messages=request["messages"],
        tools=None,
        documents=None,
        add_generation_prompt=True,
        **request["special_tokens"],
    )
    return _bounded_text(pieces, request["most_characters"])


def answer(request: dict[str, Any], kernel_limits: bool) -> dict[str, str]:
    """Return `text`, or `error` with one line for people."""
    try:
        return {"text": render(request, kernel_limits)}
    except TemplateSyntaxError as error:
        return _error(f"is broken: line {error.lineno}", error.message)
    except TemplateError as error:
        return _error("refuses", error.message)
    except MemoryError:
        return _error("refuses", "it needs more memory than a template may have")
    except Exception as error:  # a template is a program: it may divide by zero or recurse without end
        return _error(f"fails: {type(error).__name__}", error)


def _error(what: str, said: object) -> dict[str, str]:
    """Return the line of an error; what the template says of it may be of any length, and halves of characters."""
    text = str(said)
    shown = text if len(text) <= MOST_ERROR else f"{text[:MOST_ERROR]}... ({len(text):,} characters)"
    return {"error": f"the chat template {what}: {shown}".encode("utf-8", "replace").decode()}


def _bounded_text(pieces: Iterable[str], most_characters: int) -> str:
    """Join the pieces of a text that is not longer than any prompt may be."""
    kept, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > most_characters:
            raise TemplateError(f"its text is longer than {most_characters} characters")
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


def main(read: Callable[[], str] = sys.stdin.read) -> None:
    """Answer one request."""
    request = json.loads(read())
    limited = limit_resources(request["seconds"], request["extra_bytes"])
    json.dump(answer(request, limited), sys.stdout)


if __name__ == "__main__":
    main()
