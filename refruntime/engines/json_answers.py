"""Read what a foreign program answered in JSON: every part is looked at before it is used."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from refruntime.engines.asked import EngineAnswer

MOST_TOKEN: Final = 2**31 - 1


def document_of(data: bytes, who: str) -> Any:
    """Return a document: EngineAnswer for what is none, or nests too deep, or has numbers too long to be read."""
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise EngineAnswer(f"{who} answered with something that is no JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise EngineAnswer(f"{who} answered with something that is no JSON: it is no UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise EngineAnswer(f"{who} answered with JSON that cannot be read: {error}") from error


def object_of(value: Any, what: str) -> Mapping[str, Any]:
    """Return an object: EngineAnswer for anything else."""
    if not isinstance(value, dict):
        raise _unexpected(value, what, "an object")
    return value


def list_of(value: Any, what: str) -> Sequence[Any]:
    """Return a list: EngineAnswer for anything else."""
    if not isinstance(value, list):
        raise _unexpected(value, what, "a list")
    return value


def part_of(answer: Any, key: str, what: str) -> Any:
    """Return a part of an object: EngineAnswer where it is not there."""
    whole = object_of(answer, what)
    if key not in whole:
        raise EngineAnswer(f"{what} has no {key}; it holds {reprlib.repr(sorted(whole))}")
    return whole[key]


def real(value: Any, what: str) -> float:
    """Return a number: EngineAnswer for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _unexpected(value, what, "a number")


def token_of(value: Any, what: str) -> int:
    """Return the id of a token, of any vocabulary: EngineAnswer for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKEN:
        return value
    raise _unexpected(value, what, "the id of a token")


def tokens_of(value: Any, what: str) -> list[int]:
    """Return ids of tokens: EngineAnswer for anything else."""
    return [token_of(token, what) for token in list_of(value, what)]


def _unexpected(value: Any, what: str, expected: str) -> EngineAnswer:
    return EngineAnswer(f"{what} is {reprlib.repr(value)}; expected {expected}")
