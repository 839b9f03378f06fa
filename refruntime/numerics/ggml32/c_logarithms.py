"""logf and powf of glibc and musl: Arm's optimized routines, tables of sixteen and polynomials in float64.

Sources: musl 1.2 `src/math/logf.c` and `powf.c`, with their tables.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def _constants(*numbers: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, numbers))


LOG_TABLE: Final = np.array(
    [
        _constants(*pair.split())
        for pair in (
            "0x1.661ec79f8f3bep+0 -0x1.57bf7808caadep-2",
            "0x1.571ed4aaf883dp+0 -0x1.2bef0a7c06ddbp-2",
            "0x1.49539f0f010bp+0 -0x1.01eae7f513a67p-2",
            "0x1.3c995b0b80385p+0 -0x1.b31d8a68224e9p-3",
            "0x1.30d190c8864a5p+0 -0x1.6574f0ac07758p-3",
            "0x1.25e227b0b8eap+0 -0x1.1aa2bc79c81p-3",
            "0x1.1bb4a4a1a343fp+0 -0x1.a4e76ce8c0e5ep-4",
            "0x1.12358f08ae5bap+0 -0x1.1973c5a611cccp-4",
            "0x1.0953f419900a7p+0 -0x1.252f438e10c1ep-5",
            "0x1p+0 0x0p+0",
            "0x1.e608cfd9a47acp-1 0x1.aa5aa5df25984p-5",
            "0x1.ca4b31f026aap-1 0x1.c5e53aa362eb4p-4",
            "0x1.b2036576afce6p-1 0x1.526e57720db08p-3",
            "0x1.9c2d163a1aa2dp-1 0x1.bc2860d22477p-3",
            "0x1.886e6037841edp-1 0x1.1058bc8a07ee1p-2",
            "0x1.767dcf5534862p-1 0x1.4043057b6ee09p-2",
        )
    ]
)
"""For sixteenths of an octave: the reciprocal of a number in it, and its logarithm."""
LOG_CUBIC: Final = _constants("-0x1.00ea348b88334p-2", "0x1.5575b0be00b6ap-2", "-0x1.ffffef20a4123p-2")
LN_2: Final = float.fromhex("0x1.62e42fefa39efp-1")


@np.errstate(all="ignore")
def logarithm(x: Any) -> Float32:
    """Return the natural logarithm: a table of sixteen and a cubic, in float64, as both libraries have it."""
    x = np.asarray(x, np.float32)
    small = (x > 0) & (x < np.float32(2.0**-126))
    bits = np.asarray(np.where(small, x * np.float32(2.0**23), x), np.float32).view(np.int32).astype(np.int64)
    bits = np.where(small, bits - (23 << 23), bits)
    offset = bits - 0x3F330000
    reciprocal, known = LOG_TABLE[(offset >> 19) % 16, 0], LOG_TABLE[(offset >> 19) % 16, 1]
    octave = offset >> 23
    mantissa = (bits - (octave << 23)).astype(np.int32).view(np.float32).astype(np.float64)
    r = mantissa * reciprocal - 1
    square = r * r
    value = (LOG_CUBIC[0] * square + (LOG_CUBIC[1] * r + LOG_CUBIC[2])) * square + ((known + octave * LN_2) + r)
    result = np.where(x == np.inf, np.float32(np.inf), value.astype(np.float32))
    result = np.where(x == 0, np.float32(-np.inf), result)
    return np.asarray(np.where((x < 0) | np.isnan(x), np.float32(np.nan), result), np.float32)


BINARY_LOGARITHMS: Final = np.array(
    _constants(
        "-0x1.efec65b963019p-2",
        "-0x1.b0b6832d4fca4p-2",
        "-0x1.7418b0a1fb77bp-2",
        "-0x1.39de91a6dcf7bp-2",
        "-0x1.01d9bf3f2b631p-2",
        "-0x1.97c1d1b3b7afp-3",
        "-0x1.2f9e393af3c9fp-3",
        "-0x1.960cbbf788d5cp-4",
        "-0x1.a6f9db6475fcep-5",
        "0x0p+0",
        "0x1.338ca9f24f53dp-4",
        "0x1.476a9543891bap-3",
        "0x1.e840b4ac4e4d2p-3",
        "0x1.40645f0c6651cp-2",
        "0x1.88e9c2c1b9ff8p-2",
        "0x1.ce0a44eb17bccp-2",
    )
)
"""The binary logarithms that go with the reciprocals of LOG_TABLE."""
LOG2_QUINTIC: Final = _constants(
    "0x1.27616c9496e0bp-2",
    "-0x1.71969a075c67ap-2",
    "0x1.ec70a6ca7baddp-2",
    "-0x1.7154748bef6c8p-1",
    "0x1.71547652ab82bp0",
)
EXP2_CUBIC: Final = _constants("0x1.c6af84b912394p-5", "0x1.ebfce50fac4f3p-3", "0x1.62e42ff0c52d6p-1")


@np.errstate(all="ignore")
def power(base: Any, exponent: Any) -> Float32:
    """Return base to the power of exponent: 2 ** (exponent * log2(base)), both in float64."""
    base, exponent = np.broadcast_arrays(np.asarray(base, np.float32), np.asarray(exponent, np.float32))
    plain = (base > 0) & np.isfinite(base) & np.isfinite(exponent)
    value = _exp2(exponent.astype(np.float64) * _log2(np.where(plain, base, np.float32(1)))).astype(np.float32)
    special = np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)
    return np.asarray(np.where(plain, value, special), np.float32)


def _log2(x: Float32) -> Float64:
    """Return the binary logarithm of positive finite numbers."""
    small = x < np.float32(2.0**-126)
    bits = np.asarray(np.where(small, x * np.float32(2.0**23), x), np.float32).view(np.int32).astype(np.int64)
    bits = np.where(small, bits - (23 << 23), bits)
    offset = bits - 0x3F330000
    place, octave = (offset >> 19) % 16, offset >> 23
    mantissa = (bits - (octave << 23)).astype(np.int32).view(np.float32).astype(np.float64)
    r = mantissa * LOG_TABLE[place, 0] - 1
    square = r * r
    first, second = LOG2_QUINTIC[0] * r + LOG2_QUINTIC[1], LOG2_QUINTIC[2] * r + LOG2_QUINTIC[3]
    rest = second * square + (LOG2_QUINTIC[4] * r + (BINARY_LOGARITHMS[place] + octave))
    value: Float64 = first * (square * square) + rest
    return value


def _exp2(x: Float64) -> Float64:
    """Return 2 ** x: a whole number of steps of 1 / 32, and a cubic of the rest."""
    x = np.clip(x, -1000.0, 1000.0)
    steps = np.rint(x * 32)
    r = x - steps / 32
    high = EXP2_CUBIC[0] * r + EXP2_CUBIC[1]
    value: Float64 = (high * (r * r) + (EXP2_CUBIC[2] * r + 1)) * np.exp2(steps / 32)
    return value
