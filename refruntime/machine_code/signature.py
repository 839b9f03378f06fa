"""What arguments a loop takes, found from those of its first call, and how they become words for its machine code."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

REFUSED: Final = -1000
"""The status of machine code that was given an array of another kind."""


class ArrayKind(NamedTuple):
    """A contiguous array."""

    dtype: np.dtype[Any]
    dimensions: int


Kind = ArrayKind | str | tuple[Any, ...]
"""An array; `q` for a whole number, `f` and `d` for float32 and float64; or a tuple of kinds."""


def kind_of(argument: Any) -> Kind:
    """Return the kind of an argument. TypeError for one that no loop takes."""
    if isinstance(argument, np.ndarray):
        return ArrayKind(argument.dtype, argument.ndim)
    if isinstance(argument, tuple):
        return tuple(map(kind_of, argument))
    if isinstance(argument, np.float32):
        return "f"
    if isinstance(argument, float):
        return "d"
    if isinstance(argument, int | np.integer):
        return "q"
    raise TypeError(f"a compiled loop takes arrays, numbers and tuples of these, not {type(argument).__name__}")


def _layout(kinds: Sequence[Kind]) -> str:
    """Return the words of some kinds as a format of `struct`; of an array its address."""
    letters = ""
    for kind in kinds:
        if isinstance(kind, ArrayKind):
            letters += "q"
        elif isinstance(kind, tuple):
            letters += _layout(kind)
        else:
            letters += "f4x" if kind == "f" else kind
    return letters


def packer(kinds: Sequence[Kind]) -> Callable[[tuple[Any, ...]], bytes]:
    """Return what turns arguments into words. TypeError where an array is missing.

    Whether an array is of the right kind is for the machine code to say, which is quicker at it.
    """
    pack = struct.Struct("=" + _layout(kinds)).pack
    places = [place for place, kind in enumerate(kinds) if isinstance(kind, ArrayKind)]
    tuples = [place for place, kind in enumerate(kinds) if isinstance(kind, tuple) and place not in places]

    def words(arguments: tuple[Any, ...]) -> bytes:
        if len(arguments) != len(kinds):
            raise TypeError(f"a compiled loop takes {len(kinds)} arguments here, not {len(arguments)}")
        found = list(arguments)
        for place in places:
            array = found[place]
            if not isinstance(array, np.ndarray):
                raise TypeError(f"a compiled loop takes an array here, not {type(array).__name__}")
            found[place] = id(array)
        for place in reversed(tuples):
            found[place : place + 1] = inner[place](found[place])
        return pack(*found)

    inner = {place: _flattener(kinds[place]) for place in tuples}
    return words


def _flattener(kinds: Any) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return what turns a tuple of arguments into words, the tuple of the call before without any work."""
    pack, layout = packer(kinds), "=" + _layout(kinds)
    last: tuple[tuple[Any, ...], tuple[Any, ...]] = (), ()  # a tuple that is held, so that nothing in it goes or moves

    def flatten(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal last
        known, words = last
        if arguments is known:
            return words
        words = struct.unpack(layout, pack(arguments))
        last = arguments, words
        return words

    return flatten


def mismatch(arguments: Sequence[Any], kinds: Sequence[Kind]) -> str:
    """Say which argument is of another kind than the first call had; nothing where all are right."""
    for argument, kind in zip(arguments, kinds, strict=True):
        if isinstance(kind, ArrayKind):
            found = ArrayKind(argument.dtype, argument.ndim)
            if found != kind or not argument.flags.c_contiguous:
                return (
                    f"a compiled loop takes a contiguous array of {kind.dtype} with {kind.dimensions} dimensions here, "
                    f"not one of {found.dtype} with {found.dimensions} and strides {argument.strides}"
                )
        elif isinstance(kind, tuple) and (text := mismatch(argument, kind)):
            return text
    return ""
