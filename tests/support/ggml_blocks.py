"""Blocks of every ggml type to decode: any bytes, and scales at the edges of their number formats."""

from __future__ import annotations

import itertools
from importlib.util import find_spec

import numpy as np
import pytest

from refruntime.quants.ggml import GGML_TYPES

BY_NAME = {each.name: each for each in GGML_TYPES.values()}
DECODED = [each.name for each in GGML_TYPES.values() if each.decode]
CAST = ["f64", "i8", "i16", "i32", "i64"]  # converted as in C; ggml and gguf-py do not decode them
NEWER = ["q1_0", "q2_0"]  # gguf-py does not decode them
IN_GGUF_PY = [name for name in DECODED if name not in (*CAST, *NEWER)]
COMPILED = [name for name in DECODED if BY_NAME[name].block_size > 1]

NO_NUMBA = pytest.mark.skipif(
    find_spec("numba") is None, reason="numba is not installed: pip install 'refruntime[speed]'"
)
KERNELS = ["numpy", pytest.param("numba", marks=NO_NUMBA)]

HALF_SCALES = {  # where a block keeps half-precision scales
    **dict.fromkeys(["q4_0", "q5_0", "q8_0", "q1_0", "q2_0", "iq4_nl", "iq4_xs"], (0,)),
    **dict.fromkeys(["iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq1_s"], (0,)),
    **dict.fromkeys(["q4_1", "q5_1", "q4_k", "q5_k"], (0, 2)),
    **{"q2_k": (80, 82), "q3_k": (108,), "q6_k": (208,), "tq1_0": (52,), "tq2_0": (64,)},
}
EDGES = np.array(  # bits of 0, -0, subnormal, normal, largest, infinite numbers and NaN, of both signs
    [sign | bits for sign in (0, 0x8000) for bits in (0, 1, 0x155, 0x3FF, 0x400, 0x3C00, 0x7BFF, 0x7C00, 0x7E00)],
    np.uint16,
)


def random_blocks(name: str, count: int, seed: int) -> np.ndarray:
    """Return blocks of any bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, BY_NAME[name].type_size), np.uint8)


def extreme_blocks(name: str, seed: int) -> np.ndarray:
    """Return blocks with every scale, or every pair of scales, at an edge, over payloads of zeros, ones and noise."""
    kind, generator = BY_NAME[name], np.random.default_rng(seed)
    if name in HALF_SCALES:
        places = HALF_SCALES[name]
        combinations = np.array(list(itertools.product(EDGES, repeat=len(places))), np.uint16)
    elif name == "iq1_m":  # four bits of the scale on top of each of the last four words
        places, combinations = (), EDGES[:, np.newaxis]
    else:  # mxfp4: one scale byte, nvfp4: four; any byte is a scale
        places, combinations = (), np.arange(256, dtype=np.uint16)[:, np.newaxis]
    blocks = []
    for payload in ("zeros", "ones", "noise"):
        part = np.zeros((len(combinations), kind.type_size), np.uint8)
        if payload != "zeros":
            part[:] = 255 if payload == "ones" else generator.integers(0, 256, part.shape)
        for index, place in enumerate(places):
            part[:, place : place + 2] = combinations[:, index, np.newaxis].view(np.uint8)
        if name == "iq1_m":
            top = combinations >> np.array([0, 4, 8, 12], np.uint16) & 15
            part[:, 49:56:2] = part[:, 49:56:2] & 15 | (top << 4).astype(np.uint8)
        elif not places:
            part[:, : 1 if name == "mxfp4" else 4] = combinations
        blocks.append(part)
    return np.concatenate(blocks)


def same_bits(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal bits, and NaN where NaN is expected."""
    nan = np.isnan(expected)
    equal = found.view(np.uint32) == expected.view(np.uint32)
    return bool(found.dtype == np.float32 and (np.isnan(found) == nan).all() and equal[~nan].all())
