"""The arithmetic of the blocks that llama lacks, bit for bit against plain scalar float32 loops written from GG-11."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from refruntime.numerics import F64, AttentionVariant, Seq32, libm

f = np.float32
SEQ32 = Seq32()
EPSILON = 1e-5


def tanh(x: np.float32) -> np.float32:
    return f(libm.tanhf(np.array([x], f))[0])


def exp(x: np.float32) -> np.float32:
    return f(libm.expf(np.array([x], f))[0])


def total(values: list[np.float32]) -> np.float32:
    result = f(0)
    for value in values:
        result = f(result + value)
    return result


def numbers(*shape: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 2, shape)).astype(f)


def assert_same_bits(found: np.ndarray, expected: object) -> None:
    wanted = np.array(expected, f)
    assert found.dtype == f
    assert found.shape == wanted.shape
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))


def layer_norm(row: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None) -> list[np.float32]:
    mean = f(total(list(row)) / f(len(row)))
    centred = [f(x - mean) for x in row]
    variance = f(total([f(c * c) for c in centred]) / f(len(row)))
    inverse = f(f(1) / np.sqrt(f(variance + f(EPSILON))))
    result = [f(c * inverse) for c in centred]
    if weight is not None:
        result = [f(y * w) for y, w in zip(result, weight, strict=True)]
    return result if bias is None else [f(y + b) for y, b in zip(result, bias, strict=True)]


@pytest.mark.parametrize("vectors", ["none", "weight", "both"])
@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 33), (5, 48), (130, 7)])
def test_layer_norm(n: int, size: int, vectors: str) -> None:
    """GG-11: mean, centred values, variance, inverse root, weight and bias, each rounded, sums in index order."""
    x = numbers(n, size)
    weight = None if vectors == "none" else numbers(size, seed=4)
    bias = numbers(size, seed=5) if vectors == "both" else None
    found = SEQ32.layer_norm(x, weight, bias, EPSILON)
    assert_same_bits(found, [layer_norm(row, weight, bias) for row in x])


def gelu_tanh(x: np.float32) -> np.float32:
    inner = f(f(f(math.sqrt(2 / math.pi)) * x) * f(f(1) + f(f(f(0.044715) * x) * x)))
    return f(f(f(0.5) * x) * f(f(1) + tanh(inner)))


def gelu_erf(x: np.float32) -> np.float32:
    return f(f(f(0.5) * x) * f(f(1) + f(math.erf(f(x / f(math.sqrt(2)))))))


def relu_squared(x: np.float32) -> np.float32:
    return f(x * x) if x > 0 else f(0)


ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.float32], np.float32]]] = {
    "gelu tanh": (SEQ32.gelu_tanh, gelu_tanh),
    "gelu erf": (SEQ32.gelu_erf, gelu_erf),
    "relu squared": (SEQ32.relu_squared, relu_squared),
    "soft cap": (lambda x: SEQ32.softcap(x, 4.5), lambda x: f(f(4.5) * tanh(f(x / f(4.5))))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    """GG-11, GG-12: GELU in both forms, squared ReLU, soft cap, from left to right, over many sizes of numbers."""
    vectorised, scalar = ACTIVATIONS[name]
    x = np.concatenate([numbers(600), np.array([0.0, -0.0, 9.0, -9.0, 1e-30, -1e-30, 50.0, -50.0], f)])
    assert_same_bits(vectorised(x.reshape(-1, 4)).reshape(-1), [scalar(value) for value in x])


def test_activations_in_float64() -> None:
    """GG-11, GG-12: in float64 the same formulas, known values among them: GELU(2) = 2 Phi(2)."""
    numerics = F64()
    two = np.array([2.0])
    assert numerics.gelu_erf(two)[0] == pytest.approx(1.9544997361036416, abs=1e-15)
    assert numerics.gelu_tanh(two)[0] == pytest.approx(1.9545976940877750, abs=1e-15)
    assert numerics.relu_squared(np.array([-3.0, 3.0])).tolist() == [0, 9]
    assert numerics.softcap(np.array([1e9]), 30.0)[0] == 30


def attend(
    q: np.ndarray, keys: np.ndarray, values: np.ndarray, position: int, scale: np.float32, cap: float, window: int
) -> list[list[list[np.float32]]]:
    """Return what every row and head mixes: q [n, A, D], keys and values [T, K, D]."""
    heads, group = q.shape[1], q.shape[1] // keys.shape[1]
    result = []
    for row, queries in enumerate(q):
        own = position + row
        seen = range(max(0, own - window + 1) if window else 0, own + 1)
        mixed = []
        for head in range(heads):
            vectors = [keys[t, head // group] for t in seen]
            scores = [f(total([f(a * b) for a, b in zip(queries[head], k, strict=True)]) * scale) for k in vectors]
            if cap:
                scores = [f(f(cap) * tanh(f(score / f(cap)))) for score in scores]
            raised = [exp(f(score - max(scores))) for score in scores]
            shares = [f(value / total(raised)) for value in raised]
            terms = [[f(p * v) for v in values[t, head // group]] for p, t in zip(shares, seen, strict=True)]
            mixed.append([total(list(column)) for column in zip(*terms, strict=True)])
        result.append(mixed)
    return result


@pytest.mark.parametrize(("cap", "scale"), [(0.0, None), (1.5, None), (0.0, f(0.35)), (2.0, f(0.7))])
@pytest.mark.parametrize("window", [0, 1, 2, 5, 100])
def test_attention_variants(window: int, cap: float, scale: np.float32 | None) -> None:
    """FW-6, GG-11: scale, then soft cap, then the window; every row for itself, whatever is computed together."""
    rng = np.random.default_rng(window)
    q = rng.standard_normal((6, 4, 6)).astype(f)
    keys, values = (rng.standard_normal((9, 2, 6)).astype(f) for _ in range(2))
    used = f(1) / np.sqrt(f(6)) if scale is None else scale
    found = SEQ32.attention(q, keys.transpose(2, 1, 0), values, 3, AttentionVariant(scale, cap, window))
    assert_same_bits(np.ascontiguousarray(found.mixed), attend(q, keys, values, 3, used, cap, window))
    for row in range(6):
        hidden = [t for t in range(9) if t > 3 + row or (window and t <= 3 + row - window)]
        assert not found.weights[:, row, hidden].any()
        assert np.isneginf(found.scores[:, row, hidden]).all()


def test_a_window_keeps_bad_values_out() -> None:
    """FW-6, GG-11: what a window hides may be infinite or NaN; the rows that do not see it keep their bits."""
    rng = np.random.default_rng(1)
    q, keys, values = (rng.standard_normal(shape).astype(f) for shape in ((4, 2, 4), (4, 1, 8), (8, 1, 4)))
    variant = AttentionVariant(window=3)
    clean = SEQ32.attention(q, keys, values, 4, variant)
    values[1], keys[:, :, 0] = np.nan, np.inf
    with np.errstate(all="ignore"):
        dirty = SEQ32.attention(q, keys, values, 4, variant)
    assert_same_bits(np.ascontiguousarray(dirty.mixed), clean.mixed)


@pytest.mark.parametrize(("n", "length"), [(1, 2), (4, 3), (7, 5)])
def test_causal_convolution(n: int, length: int) -> None:
    """GG-11: products are added from the oldest position to the newest, from 0.0."""
    x, kernel = numbers(length - 1 + n, 6), numbers(6, length, seed=9)
    expected = [[total([f(x[r + j, c] * kernel[c, j]) for j in range(length)]) for c in range(6)] for r in range(n)]
    assert_same_bits(SEQ32.causal_convolution(x, kernel), expected)
