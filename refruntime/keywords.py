"""Answer a wrong keyword with the right one: `temprature=1` is a TypeError that says `temperature`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def suggests(function: Callable[P, R]) -> Callable[P, R]:
    """Let a keyword that a function does not have be answered with the nearest that it has: TypeError."""
    parameters = inspect.signature(function).parameters.values()
    names = [each.name for each in parameters if each.kind in NAMED and each.name != "self"]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in names:
                what = f"{function.__qualname__}() has no keyword {name!r}"
                raise TypeError(f"{what}; {nearest(name, names)}it takes {', '.join(names)}")
        return function(*args, **kwargs)

    return checked


def nearest(name: str, names: list[str]) -> str:
    """Return the name that is meant perhaps, as the beginning of a sentence; empty where none is near."""
    near = get_close_matches(name, names, 1)
    return f"perhaps {near[0]}? " if near else ""
