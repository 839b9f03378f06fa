"""Read a line: a word and its arguments, with quotes and escapes.

    prompt "Once upon\\n a time"      force 'x'      set temperature=0.8 top_k=40      # a comment

Arguments are separated by white space, which inside quotes belongs to the argument. Escapes: `\\n \\t \\r \\0`, a
backslash before a backslash, a quote or a space, `\\xHH` for a byte, `\\u{H..}` for a character.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

SIMPLE_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", '"': '"', "'": "'", " ": " "}
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|(.))", re.DOTALL)


class WrongWord(ValueError):
    """The line is no word, or its arguments are not those of the word; the message says what was expected."""


class OpenQuote(WrongWord):
    """A quote is not closed: a terminal asks for the rest."""


@dataclass(frozen=True)
class Argument:
    """One argument: `raw` bytes after escapes; `quoted` tells text that is not to be read as a number or an option.

    `starts_quoted` tells "at=3" from at="3".
    """

    raw: bytes
    quoted: bool = False
    starts_quoted: bool = field(default=False, compare=False)

    @property
    def text(self) -> str:
        """Return the text; bytes that are no UTF-8 become surrogates, as Python reads a command line."""
        return self.raw.decode("utf-8", "surrogateescape")


def split_line(line: str) -> list[Argument]:
    """Split a line into its word and arguments; none for an empty line or a comment. WrongWord, OpenQuote."""
    arguments = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
        elif line[at] == "#":
            at = line.find("\n", at) if "\n" in line[at:] else len(line)
        else:
            argument, at = _argument(line, at)
            arguments.append(argument)
    return arguments


def is_open(text: str) -> bool:
    """Say whether a quote is open, so that the text goes on in the next line."""
    try:
        split_line(text)
    except OpenQuote:
        return True
    except WrongWord:
        return False
    return False


def lines_of(text: str, words: Container[str]) -> list[str]:
    """Split what was typed or pasted into the lines that are obeyed one by one.

    A line break inside of quotes belongs to the argument; a line that begins with none of the words goes on with the
    arguments of the line before.
    """
    lines: list[str] = []
    for part in text.split("\n"):
        first = part.split(maxsplit=1)[:1]
        if lines and (is_open(lines[-1]) or (first and first[0] not in words)):
            lines[-1] += f"\n{part}"
        else:
            lines.append(part)
    return lines


def _argument(line: str, at: int) -> tuple[Argument, int]:
    raw, quoted, starts_quoted = (
        bytearray(),
        False,
        line[at] in "\"'",
    )  # grows in place, so that a long line takes time in proportion
    while at < len(line) and not line[at].isspace():
        character = line[at]
        if character in "\"'":
            part, at = _until_quote(line, at + 1, character)
            quoted = True
        elif character == "\\":
            part, at = _escape(line, at)
        else:
            part, at = _bytes(character), at + 1
        raw += part
    return Argument(bytes(raw), quoted, starts_quoted), at


def _until_quote(line: str, at: int, quote: str) -> tuple[bytes, int]:
    raw = bytearray()
    while at < len(line):
        if line[at] == quote:
            return bytes(raw), at + 1
        if line[at] == "\\":
            part, at = _escape(line, at)
        else:
            part, at = _bytes(line[at]), at + 1
        raw += part
    raise OpenQuote(f"the quote {quote} is not closed")


def _escape(line: str, at: int) -> tuple[bytes, int]:
    match = _ESCAPE.match(line, at)
    if match is None and at + 1 == len(line):
        raise OpenQuote("a backslash at the end escapes nothing")
    byte, code, simple = match.groups() if match is not None else (None, None, None)
    if match is not None and byte is not None:
        return bytes.fromhex(byte), match.end()
    if match is not None and code is not None and int(code, 16) <= 0x10FFFF:
        return chr(int(code, 16)).encode("utf-8", "surrogatepass"), match.end()
    if match is not None and simple in SIMPLE_ESCAPES:
        return _bytes(SIMPLE_ESCAPES[simple]), match.end()
    raise WrongWord(f"unknown escape {line[at : at + 2]!r}; expected \\n \\t \\r \\0 \\\\ \\\" \\' \\xHH or \\u{{H..}}")


def _bytes(character: str) -> bytes:
    try:
        return character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return character.encode("utf-8", "surrogatepass")


# The other way -------------------------------------------------------------------------------------------------------


def written(raw: bytes) -> str:
    """Return bytes as an argument in quotes, all in printable characters; reading it gives the bytes again."""
    return '"' + "".join(_written(character) for character in raw.decode("utf-8", "surrogateescape")) + '"'


def _written(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character in '"\\':
        return "\\" + character
    if character == "\n":
        return "\\n"
    return character if character.isprintable() else f"\\u{{{code:x}}}"


def fragment(line: str) -> tuple[int, str]:
    """Return how many arguments stand before the one at the end of an unfinished line, and that one as written."""
    begun: int | None = None
    quote, number_of, at = "", 0, 0
    while at < len(line):
        character = line[at]
        if quote:
            quote = "" if character == quote else quote
        elif character.isspace():
            number_of += begun is not None
            begun = None
        else:
            begun = at if begun is None else begun
            quote = character if character in "\"'" else ""
        at += 2 if character == "\\" else 1
    return number_of, "" if begun is None else line[begun:]
