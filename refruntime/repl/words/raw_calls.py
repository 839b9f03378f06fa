"""Call exports with raw arguments, and write bytes at the names that calls bound."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from refruntime.cases.steps import Argument as StepArgument
from refruntime.cases.steps import Call, Write
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.golden.case import BOUND_NAME, PLACE
from refruntime.golden.values import parse_float
from refruntime.repl.node import Branches
from refruntime.repl.parameters import integer, number
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.repl.tools import Tools
from refruntime.repl.words.calling import call
from refruntime.repl.words.word import WordAnswer

EXPORT_NAMES: Final = ", ".join(EXPORTS_BY_NAME)


def raw_call(tools: Tools, branches: Branches, words: Sequence[str]) -> WordAnswer:
    """Call any export with raw arguments; `-> NAME` keeps the result under a name."""
    bind = None
    if "->" in words:
        at = words.index("->")
        words, after = words[:at], words[at + 1 :]
        if len(after) != 1:
            raise WrongWord("expected one name after ->, made of a-z and `_`")
        bind = after[0]
    if words[0] not in EXPORTS_BY_NAME:
        raise WrongWord(f"expected an export: {EXPORT_NAMES}")
    export = EXPORTS_BY_NAME[words[0]]
    types = export.wasm_parameters
    if len(words) - 1 != len(types):
        raise WrongWord(f"expected {len(types)} arguments for {export.signature}, found {len(words) - 1}")
    bound = _bound(branches)
    values = tuple(_value(word, type_, bound) for word, type_ in zip(words[1:], types, strict=True))
    if bind is not None:
        _check_bind(bind, export.result)
    return call(tools, branches, Call(export.name, values, bind))


def _check_bind(name: str, result: str) -> None:
    if not re.fullmatch(BOUND_NAME, name) or name in ("inf", "nan"):
        raise WrongWord(f"expected a name made of a-z and `_` that is no number, found {name!r}")
    if not result:
        raise WrongWord("this export returns nothing that could have a name")


def _bound(branches: Branches) -> set[str]:
    return {step.bind for step in branches.node.script if isinstance(step, Call) and step.bind is not None}


def _value(word: str, type_: str, bound: set[str]) -> StepArgument:
    if type_ == "f32":
        value = parse_float(word)
        return number(word, "a float argument") if value is None else value
    if word[:1].isalpha():
        return _place(word, bound)
    return integer(word, "an argument", -(2**63), 2**64 - 1)


def _place(word: str, bound: set[str]) -> str:
    match = PLACE.fullmatch(word)
    if match is None or match[1] not in bound:
        known = ", ".join(sorted(bound)) or "none yet"
        raise WrongWord(f"{word!r} is no number and no name that a call bound; bound names: {known}")
    return word


def raw_bytes_of(argument: Argument) -> bytes:
    """Read text, or `hex=` and digits where it stands without quotes."""
    text = argument.text
    if argument.quoted or not text.startswith("hex="):
        return argument.raw
    try:
        return bytes.fromhex(text.removeprefix("hex="))
    except ValueError:
        raise WrongWord(f"expected hex digits, two for each byte, found {text!r}") from None


def write(tools: Tools, branches: Branches, place: str, data: bytes) -> WordAnswer:
    """Write bytes into memory at a bound name."""
    return call(tools, branches, Write(_place(place, _bound(branches)), data))
