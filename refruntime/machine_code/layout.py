"""Where an array has its fields in its object, as NumPy's C interface fixes them, and a check of that."""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np

WORD: Final = 8  # bytes
HEAD: Final = object.__basicsize__  # of every object; behind it data, dimensions, shape, strides, base, type, flags
DIMENSIONS, SHAPE, STRIDES, TYPE, FLAGS = (HEAD + at * WORD for at in (1, 2, 3, 5, 6))
CONTIGUOUS: Final = 1  # flag

# In a type: a class, four letters of which the third is the order of bytes, and a number.
BYTE_ORDER: Final = HEAD + WORD + 2
NUMBER: Final = HEAD + WORD + 4


def check_layout() -> None:
    """Read an array as machine code does. ImportError where its fields are elsewhere, so that nothing is called."""
    array = np.zeros((3, 5), np.float32)
    if ctypes.sizeof(ctypes.c_void_p) != WORD or type(array.dtype).__basicsize__ < HEAD + 2 * WORD:
        raise ImportError("compiled loops need addresses of 64 bits")

    def word(address: int) -> int:
        return ctypes.c_int64.from_address(address).value

    at = id(array)
    found = (word(at + HEAD), ctypes.c_int32.from_address(at + DIMENSIONS).value, word(at + TYPE))
    flags = ctypes.c_int32.from_address(at + FLAGS).value & CONTIGUOUS
    if found != (array.ctypes.data, 2, id(array.dtype)) or flags != CONTIGUOUS:
        raise ImportError("arrays of this NumPy or Python have their fields in places that compiled loops do not know")
    shape, strides = word(at + SHAPE), word(at + STRIDES)
    sizes = (word(shape), word(shape + WORD), word(strides), word(strides + WORD))
    dtype = id(array.dtype)
    kind = (ctypes.c_int32.from_address(dtype + NUMBER).value, ctypes.c_char.from_address(dtype + BYTE_ORDER).value)
    if sizes != (3, 5, 20, 4) or kind != (array.dtype.num, array.dtype.byteorder.encode()):
        raise ImportError("arrays of this NumPy or Python have their sizes in places that compiled loops do not know")
