"""How other runtimes draw: unit values of their generators, as endless iterators, and where a unit value falls.

`units_of_mt19937`: C++'s std::mt19937 with libstdc++'s std::uniform_real_distribution<double>, as llama.cpp draws.
`units_of_chacha12`: Rust's StdRng of the crate rand 0.8 (ChaCha with 12 rounds, seeded from a u64) with its float32
distribution, as candle draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from refruntime.samplers.stages import Float32

_MASK32: Final = 2**32 - 1
_MASK64: Final = 2**64 - 1


def units_of_mt19937(seed: int) -> Iterator[float]:
    """Yield float64 values in [0, 1), two 32-bit outputs each, the first one the low half (libstdc++)."""
    source = np.random.RandomState(seed & _MASK32)
    while True:
        low, high = source.randint(0, 2**32, size=2, dtype=np.uint32)
        unit = (float(low) + float(high) * 4294967296.0) / 18446744073709551616.0
        yield unit if unit < 1.0 else float(np.nextafter(1.0, 0.0))


def units_of_chacha12(seed: int) -> Iterator[float]:
    """Yield float32 values in [0, 1), the 23 high bits of one 32-bit output each."""
    for word in _chacha_words(_seed_words(seed), rounds=12):
        yield (word >> 9) / 8388608.0


def _seed_words(seed: int) -> list[int]:
    """Return the 8 key words that `seed_from_u64` makes: PCG32 (XSH RR), state advanced before each output."""
    state, words = seed & _MASK64, []
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) & _MASK64
        folded = (((state >> 18) ^ state) >> 27) & _MASK32
        words.append(_rotate_left(folded, 32 - (state >> 59)))
    return words


def _chacha_words(key: list[int], rounds: int) -> Iterator[int]:
    """Yield the words of the key stream: 64-bit counter, stream 0 (D. J. Bernstein, ChaCha)."""
    constants = [int.from_bytes(b"expand 32-byte k"[at : at + 4], "little") for at in range(0, 16, 4)]
    counter = 0
    while True:
        start = [*constants, *key, counter & _MASK32, counter >> 32, 0, 0]
        state = list(start)
        for _ in range(rounds // 2):
            for column in range(4):
                _quarter_round(state, column, 4 + column, 8 + column, 12 + column)
            for place in range(4):
                _quarter_round(state, place, 4 + (place + 1) % 4, 8 + (place + 2) % 4, 12 + (place + 3) % 4)
        yield from ((mixed + first) & _MASK32 for mixed, first in zip(state, start, strict=True))
        counter = (counter + 1) & _MASK64


def _quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for first, second, third, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[first] = (state[first] + state[second]) & _MASK32
        state[third] = _rotate_left(state[third] ^ state[first], bits)


def _rotate_left(word: int, bits: int) -> int:
    bits %= 32
    return ((word << bits) | (word >> (32 - bits))) & _MASK32


# Where a unit value falls --------------------------------------------------------------------------------------------


def pick_by_double_sum(weights: Float32, unit: float) -> int:
    """Draw where the running float64 sum reaches unit * sum (llama.cpp)."""
    running = np.cumsum(weights, dtype=np.float64)
    reached = np.flatnonzero(running >= running[-1] * unit)
    return int(reached[0]) if reached.size else weights.size - 1


def pick_by_weighted_index(weights: Float32, unit: float) -> int:
    """Draw as the crate rand: the first running float32 sum above unit * scale, where scale keeps it below the sum."""
    running = np.add.accumulate(weights, dtype=np.float32)
    scale = running[-1]
    greatest_unit = np.float32(1.0 - 2.0**-23)
    while np.float32(scale * greatest_unit) >= running[-1]:
        scale = np.nextafter(scale, np.float32(0))
    above = np.flatnonzero(running[:-1] > np.float32(np.float32(unit) * scale))
    return int(above[0]) if above.size else weights.size - 1


def pick_by_id(weights: Float32, unit: float) -> int:
    """Draw along the ids: the first running float64 sum above unit * sum."""
    running = np.cumsum(weights, dtype=np.float64)
    above = np.flatnonzero(running > running[-1] * unit)
    return int(above[0]) if above.size else weights.size - 1
