"""What the words of the REPL take: usage, the number of arguments, completion and errors derive from these.

A word declares its parameters in their order; its function gets what they read under their names. Readers raise
WrongWord and say what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from refruntime.repl.parsing import Argument, WrongWord

Completes = Literal[
    "nothing", "token", "case", "tensor", "word", "export", "branch", "sampling", "change", "chain", "file"
]
"""What an argument can be completed with."""

Reader = Callable[[Argument], Any]
"""Make a value of one argument. WrongWord."""

MANY: Final = 2**31
MOST_TIMES: Final = 1_000_000


@dataclass(frozen=True)
class WordParameter:
    """Some of the arguments of a word: `usage` as help writes them, how many there may be, and what they become.

    `hint` says more in an error. A `flag` may stand anywhere, unquoted, and becomes whether it is there; `key=VALUE`
    may, too, and becomes what its value is read as.
    """

    name: str
    usage: str
    read: Callable[[Sequence[Argument]], Any]
    completes: Completes = "nothing"
    least: int = 1
    most: int = 1
    hint: str = ""
    flag: str = ""
    key: str = ""

    @property
    def anywhere(self) -> bool:
        """Say whether the argument may stand anywhere."""
        return bool(self.flag or self.key)

    def take(self, left: list[Argument]) -> Any:
        """Take this parameter's arguments away from those that are left, and read them. WrongWord."""
        if self.anywhere:
            taken = [each for each in left if self._is_mine(each)]
            left[:] = [each for each in left if not self._is_mine(each)]
        else:
            taken = left[: self.most]
            del left[: self.most]
        return self.read(taken)

    def _is_mine(self, argument: Argument) -> bool:
        if self.flag:
            return argument.text == self.flag and not argument.quoted
        return argument.text.startswith(f"{self.key}=") and not argument.starts_quoted


def required(name: str, label: str, read: Reader, completes: Completes = "nothing", hint: str = "") -> WordParameter:
    """Return a parameter of exactly one argument."""
    return WordParameter(name, label, lambda taken: read(taken[0]), completes, hint=hint)


def optional(
    name: str, label: str, read: Reader, default: Any = None, completes: Completes = "nothing", hint: str = ""
) -> WordParameter:
    """Return a parameter of one argument or none."""
    return WordParameter(
        name, f"[{label}]", lambda taken: read(taken[0]) if taken else default, completes, least=0, hint=hint
    )


def count(default: int) -> WordParameter:
    """Return the parameter `times`: how often, or how many."""
    return optional("times", "COUNT", whole("COUNT", 1, MOST_TIMES), default)


def several(
    name: str,
    usage: str,
    read: Callable[[Sequence[Argument]], Any] = tuple,
    completes: Completes = "nothing",
    least: int = 0,
    hint: str = "",
) -> WordParameter:
    """Return a parameter that takes all that is left."""
    return WordParameter(name, usage, read, completes, least, MANY, hint)


def keyed(name: str, key: str, label: str, read: Callable[[str], Any], default: Any = None) -> WordParameter:
    """Return a parameter KEY=VALUE that may stand anywhere, at most once; `read` is given the value."""

    def value(taken: Sequence[Argument]) -> Any:
        if len(taken) > 1:
            raise WrongWord(f"{key} is there twice")
        return read(taken[0].text.removeprefix(f"{key}=")) if taken else default

    return WordParameter(name, f"[{key}={label}]", value, least=0, most=0, key=key)


def yes_or_no(key: str) -> Callable[[str], bool]:
    """Return a reader of `yes` and `no`."""

    def read(text: str) -> bool:
        if text not in ("yes", "no"):
            raise WrongWord(f"{key}: expected yes or no, found {text!r}")
        return text == "yes"

    return read


HEX: Final = WordParameter("hexes", "[--hex]", bool, least=0, most=0, flag="--hex")
"""Whether hex floats are wanted."""


def take_all(parameters: Sequence[WordParameter], arguments: Sequence[Argument], usage: str) -> dict[str, Any]:
    """Return what the parameters make of the arguments, by their names. WrongWord, also for too many or too few."""
    left = list(arguments)
    flags = {each.name: each.take(left) for each in parameters if each.anywhere}
    plain = [each for each in parameters if not each.anywhere]
    least, most = sum(each.least for each in plain), sum(each.most for each in plain)
    if most == 0 and left:
        raise WrongWord(f"expected no arguments, found {left[0].text!r}")
    if not least <= len(left) <= most:
        found = f"{len(left)} argument{'' if len(left) == 1 else 's'}"
        labels = [f"{each.usage.strip('[]')}: " if len(plain) > 1 else "" for each in plain]
        hints = "".join(f"; {label}{each.hint}" for label, each in zip(labels, plain, strict=True) if each.hint)
        raise WrongWord(f"expected {usage}, found {found}{hints}")
    return {each.name: each.take(left) for each in plain} | flags


# Readers -------------------------------------------------------------------------------------------------------------


def itself(argument: Argument) -> Argument:
    """Return the argument as it is, for a word that knows more than its parameters."""
    return argument


def as_text(argument: Argument) -> str:
    """Return the text of an argument."""
    return argument.text


def whole(what: str, low: int | None = None, high: int | None = None) -> Reader:
    """Return a reader of integers."""
    return lambda argument: integer(argument.text, what, low, high)


def named_values(readers: Mapping[str, Callable[[str], Any]], others: Callable[[str], Any] | None = None) -> Any:
    """Return a reader of NAME=VALUE arguments into a mapping; each name has its own reader, `others` takes the rest."""

    def read(arguments: Sequence[Argument]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for argument in arguments:
            name, equals, value = argument.text.partition("=")
            if not equals or not name:
                raise WrongWord(f"expected NAME=VALUE, found {argument.text!r}")
            if name in values:
                raise WrongWord(f"{name} is there twice")
            reader = readers.get(name, others)
            if reader is None:
                *first, last = readers
                raise WrongWord(f"unknown value {name!r}; expected {', '.join(first)} or {last}")
            values[name] = reader(value)
        return values

    return read


def integer(text: str, what: str, low: int | None = None, high: int | None = None) -> int:
    """Read an integer, decimal or 0x. WrongWord says what was expected."""
    try:
        number = int(text, 0) if text.lower().lstrip("-").startswith("0x") else int(text)
    except ValueError:
        raise WrongWord(f"{what}: expected an integer, found {text!r}") from None
    if (low is not None and number < low) or (high is not None and number > high):
        span = f"{low} or more" if high is None else f"{low} .. {high}"
        raise WrongWord(f"{what}: expected {span}, found {number}")
    return number


def number(text: str, what: str) -> float:
    """Read a decimal or hexadecimal float. WrongWord says what was expected."""
    try:
        return float.fromhex(text) if "0x" in text.lower() else float(text)
    except (ValueError, OverflowError):
        raise WrongWord(f"{what}: expected a number, found {text!r}") from None


def sampling_values(low: int | None = None, high: int | None = None) -> dict[str, Callable[[str], Any]]:
    """Return the readers of the sampling values; integers lie between `low` and `high`."""
    return {
        "temperature": lambda text: number(text, "temperature"),
        "top_k": lambda text: integer(text, "top_k", low, high),
        "top_p": lambda text: number(text, "top_p"),
        "seed": lambda text: integer(text, "seed", low, high),
    }
