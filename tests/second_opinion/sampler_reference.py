"""Section 8 of the contract a second time: plain Python scalars, one rounding to float32 after every operation.

It shares no code with the package. Floats are Python doubles that hold float32 values. A double carries more than twice
the digits of a float32, so rounding one sum, product or quotient of two of them to float32 gives the float32 operation.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

OVERFLOW = 2.0**128 - 2.0**103  # from here on rounding to nearest gives infinity


def f32(value: float) -> float:
    """Round a double to the nearest float32, ties to even."""
    if math.isfinite(value) and abs(value) >= OVERFLOW:
        return math.copysign(math.inf, value)
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def f32_quotient(dividend: float, divisor: float) -> float:
    """Divide as IEEE 754 does, by zero too."""
    if divisor != 0:
        return f32(dividend / divisor)
    if dividend == 0 or math.isnan(dividend):
        return math.nan
    return math.copysign(math.inf, dividend) * math.copysign(1, divisor)


def expf(x: float) -> float:
    """Compute msun's float32 exponential for x <= 0 or NaN, the only arguments that sampling has."""
    if math.isnan(x):
        return math.nan
    if x <= f32(-103.972084):
        return 0.0
    if -x <= 2.0**-13:
        return f32(1.0 + x)
    ln2_high, ln2_low = f32(6.9314575195e-01), f32(1.4286067653e-06)
    inverse_ln2, p1, p2 = f32(1.4426950216), f32(1.6666625440e-1), f32(-2.7667332906e-3)
    k = 0
    high, low = x, 0.0
    if -x > f32(0.5 * math.log(2)):
        k = -1 if -x <= 1.0397207736968994 else math.trunc(f32(f32(inverse_ln2 * x) - 0.5))
        high, low = f32(x - f32(k * ln2_high)), f32(k * ln2_low)
        x = f32(high - low)
    square = f32(x * x)
    c = f32(x - f32(square * f32(p1 + f32(square * p2))))
    fraction = f32(f32(x * c) / f32(2.0 - c))
    y = f32(1.0 + f32(f32(fraction - low) + high))
    return f32(math.ldexp(y, k))


def outputs(state: int, count: int, variant: str = "13,7,17") -> list[int]:
    """Return `count` outputs of the generator in `state`, which is not 0 (PR-1)."""
    modulus = 2**64
    result = []
    for _ in range(count):
        if variant == "13,7,17":
            state ^= state * 2**13 % modulus
            state ^= state // 2**7
            state ^= state * 2**17 % modulus
            result.append(state)
        elif variant == "7,9,8":
            state ^= state * 2**7 % modulus
            state ^= state // 2**9
            state ^= state * 2**8 % modulus
            result.append(state)
        else:
            state ^= state // 2**12
            state ^= state * 2**25 % modulus
            state ^= state // 2**27
            result.append(state * 0x2545F4914F6CDD1D % modulus)
    return result


def unit(output: int, conversion: str = "24 high bits") -> float:
    """Convert an output to the coin (PR-3)."""
    if conversion == "24 high bits":
        return (output // 2**40) / 2**24
    if conversion == "53 high bits":
        return f32((output // 2**11) / 2**53)
    return f32(output / 2**64)


@dataclass(frozen=True)
class Options:
    """The options of the declared sampler rules, by their first choice."""

    higher_id_first: bool = False
    multiply_by_reciprocal: bool = False
    drop_crossing: bool = False
    draw_at_most: bool = False
    temperature_first: bool = False
    normalised: bool = False
    above_threshold: bool = False


def greedy(logits: Sequence[float]) -> int:
    """Return the first of the greatest logits; NaN never wins, 0 if none is above -infinity (SA-1)."""
    winner, best = 0, -math.inf
    for token, logit in enumerate(logits):
        if logit > best:
            winner, best = token, logit
    return winner


def retained(logits: Sequence[float], top_k: int, options: Options) -> list[int]:
    """Return the ids of the highest min(top_k, V, 1024) logits, best first, without NaN (SA-2)."""
    ids = [token for token, logit in enumerate(logits) if not math.isnan(logit)]
    sign = -1 if options.higher_id_first else 1
    return sorted(ids, key=lambda token: (-logits[token], sign * token))[: min(top_k, 1024)]


def tempered(value: float, temperature: float, options: Options) -> float:
    """Return a number after the temperature (SA-3)."""
    if options.multiply_by_reciprocal:
        return f32(value * f32_quotient(1.0, temperature))
    return f32_quotient(value, temperature)


def weights(logits: Sequence[float], ids: Sequence[int], temperature: float, options: Options) -> list[float]:
    """Return the weight of each retained id (SA-3); with the temperature first the logits have it already."""
    result = []
    for token in ids:
        distance = f32(logits[token] - logits[ids[0]])
        result.append(expf(distance if options.temperature_first else tempered(distance, temperature, options)))
    return result


def running_sums(values: Sequence[float]) -> list[float]:
    """Return the float32 sums of the first one, two, three ... values."""
    sums, running = [], 0.0
    for value in values:
        running = f32(running + value)
        sums.append(running)
    return sums


def choose(
    logits: Sequence[float], temperature: float, top_k: int, top_p: float, coin: float, options: Options | None = None
) -> tuple[int, bool]:
    """Return the token for one coin, and whether the coin was used (SA-1 to SA-6)."""
    options = options or Options()
    if temperature == 0:
        return greedy(logits), False
    ranked = [tempered(logit, temperature, options) for logit in logits] if options.temperature_first else logits
    ids = retained(ranked, top_k, options)
    candidate_weights = weights(ranked, ids, temperature, options)
    sums = running_sums(candidate_weights)
    if not ids or not math.isfinite(sums[-1]) or not sums[-1] > 0:
        return greedy(logits), False
    if options.normalised:
        sums = running_sums([f32(weight / sums[-1]) for weight in candidate_weights])
    threshold = f32(top_p * sums[-1])
    crossing = [
        place
        for place, total in enumerate(sums)
        if total > threshold or (total == threshold and not options.above_threshold)
    ]
    kept = crossing[0] + 1 if crossing else len(sums)
    if options.drop_crossing and crossing and kept > 1:
        kept -= 1
    point = f32(coin * sums[kept - 1])
    for place in range(kept):
        if point < sums[place] or (options.draw_at_most and point == sums[place]):
            return ids[place], True
    return ids[kept - 1], True
