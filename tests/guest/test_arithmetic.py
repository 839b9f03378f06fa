"""Orders of additions and forms of elementary functions that a guest may be built with: each does what its row says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.guest.dialects import ARITHMETIC, Dialect, names_of
from tests.guest.random_builds import Variant, build_all

pytest.importorskip("wasmtime")

from refruntime.api import open_model
from refruntime.battery.models.slm1 import Shape, random_model, random_weights
from refruntime.contract.profile import Profile
from tests.guest.probe import differences, record_of
from tests.support.toolchain import needed_toolchain

pytestmark = pytest.mark.slow

SHAPE = Shape(hidden=44, heads=2, ffn=77)  # neither 44 nor 77 is a multiple of 8: every sum in lanes has a tail
SEED = 21
PROMPT = b"the hen and the fox"
SUMS = (
    "sum=lanes_4",
    "sum=lanes_4 tail=after_the_lanes",
    "sum=lanes_4 tail=on_its_own reduction=neighbours",
    "sum=lanes_8 reduction=folded",
    "sum=lanes_8 tail=after_the_lanes reduction=neighbours",
    "sum=lanes_8 tail=on_its_own reduction=folded vector=simd128",
    "sum=lanes_16 tail=after_the_lanes reduction=folded",
    "sum=lanes_16 reduction=neighbours vector=simd128",
    "sum=lanes_4 vector=simd128",
    "sum=lanes_8 product=fused",
    "sum=f64_of_rounded_products",
    "sum=f64",
    "sum=reversed",
    "sum=pairwise",
    "sum=pairwise_of_16",
    "sum=blocks_of_8",
    "sum=blocks_of_32",
    "product=fused",
)
Floats = list[np.float32]


def add(sum_: np.float32, a: np.float32, b: np.float32, fused: bool) -> np.float32:
    """Return `sum + a * b` in f32, rounded twice or, exactly, once."""
    if not fused:
        return np.float32(sum_ + np.float32(a * b))
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(sum_))
    near = np.float32(float(exact))
    options = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    # Of two that are equally near, the even one wins.
    return min(options, key=lambda item: (abs(Fraction(float(item)) - exact), int(item.view(np.uint32)) & 1))


def ordered(a: Floats, b: Floats, fused: bool = False) -> np.float32:
    """Return the sum of products in order from 0.0."""
    total = np.float32(0)
    for x, y in zip(a, b, strict=True):
        total = add(total, x, y, fused)
    return total


def halves(a: Floats, b: Floats, base: int, fused: bool) -> np.float32:
    """Return the pairwise sum."""
    if len(a) <= base:
        return ordered(a, b, fused)
    middle = len(a) // 2
    return np.float32(halves(a[:middle], b[:middle], base, fused) + halves(a[middle:], b[middle:], base, fused))


def in_lanes(a: Floats, b: Floats, lanes: int, dialect: Dialect, fused: bool) -> np.float32:
    """Return the sum of partial sums."""
    whole = len(a) // lanes * lanes
    tail = dialect.one("tail")
    end = whole if tail else len(a)
    partial = [ordered(a[lane:end:lanes], b[lane:end:lanes], fused) for lane in range(lanes)]
    reduction = dialect.one("reduction")
    while reduction and len(partial) > 1:
        half = len(partial) // 2
        lower, upper = (partial[::2], partial[1::2]) if reduction == "neighbours" else (partial[:half], partial[half:])
        partial = [np.float32(x + y) for x, y in zip(lower, upper, strict=True)]
    total = partial[0]
    for lane in partial[1:]:
        total = np.float32(total + lane)
    if tail == "after_the_lanes":
        for x, y in zip(a[whole:], b[whole:], strict=True):
            total = add(total, x, y, fused)
    elif tail == "on_its_own":
        total = np.float32(total + ordered(a[whole:], b[whole:], fused))
    return total


def expected(a: Floats, b: Floats, dialect: Dialect) -> np.float32:
    """Return the sum of products as the dialect orders it, written from the words of the table."""
    fused, name = dialect.one("product") == "fused", dialect.one("sum") or "in order"
    if name.startswith("lanes_"):
        return in_lanes(a, b, int(name.removeprefix("lanes_")), dialect, fused)
    if name.startswith("pairwise"):
        return halves(a, b, 16 if name.endswith("16") else 1, fused)
    if name.startswith("blocks"):
        size, total = int(name.removeprefix("blocks_of_")), np.float32(0)
        for at in range(0, len(a), size):
            total = np.float32(total + ordered(a[at : at + size], b[at : at + size], fused))
        return total
    if name.startswith("f64"):
        rounded = name == "f64_of_rounded_products"
        wide = 0.0
        for x, y in zip(a, b, strict=True):
            wide += float(np.float32(x * y)) if rounded else float(x) * float(y)
        return np.float32(wide)
    return ordered(a[::-1], b[::-1], fused) if name == "reversed" else ordered(a, b, fused)


@pytest.fixture(scope="module")
def model() -> bytes:
    """Small SLM1 model; skips without a compiler."""
    needed_toolchain()
    return random_model(SEED, SHAPE, profile=Profile())


def test_sums_are_those_of_the_table(model: bytes, tmp_path: Path) -> None:
    """FW-4: rows of W2 times the hidden vector, added up as the table says, are what a build computed, bit for bit."""
    weights = random_weights(SEED, SHAPE)["layers.0.w2.weight"]  # [H, F]
    dialects = [Dialect.of(text.split()) for text in SUMS]
    seen = set()
    for dialect, module in zip(
        dialects, build_all([Variant(dialect=item, probe=True) for item in dialects], tmp_path), strict=True
    ):
        record = dict(reversed([item for item in record_of(module, model, PROMPT) if item[0].startswith("blk.0.ffn_")]))
        hidden, down = record["blk.0.ffn_hidden"], record["blk.0.ffn_down"]
        rows = [expected(list(weights[row]), list(hidden), dialect) for row in range(1, 13)]
        assert np.array_equal(np.array(rows, np.float32).view(np.uint32), down[1:13].view(np.uint32)), dialect.texts
        seen.add(down.tobytes())
    assert len(seen) >= 15


def test_elementary_functions_change_little(model: bytes, tmp_path: Path) -> None:
    """FW-3, FW-5 to FW-8: each other form changes some bits, and no logit by more than the form is known to be off."""
    alone = [f"{group}={name}" for group in ARITHMETIC[6:] for name in names_of(group)]
    alone += ["sum=lanes_4 reach=scores", "sum=lanes_4 reach=squares"]
    dialects = [Dialect.of(text.split()) for text in alone]
    oracle = open_model(model)
    right = oracle.logits(oracle.prompt_ids(PROMPT))[-1]
    for dialect, module in zip(
        dialects, build_all([Variant(dialect=item, probe=True) for item in dialects], tmp_path), strict=True
    ):
        wrong = [item for item in differences(module, model, PROMPT) if item]
        if dialect.texts not in (["power=through_f64"], ["sine=through_f64"]):  # these are nearly always rounded alike
            assert wrong, dialect.texts
        record = [values for name, values in record_of(module, model, PROMPT) if name == "logits"]
        allowed = 0.05 if "exp=limit" in dialect.texts or "sine=cosine_from_sine" in dialect.texts else 1e-3
        assert np.abs(record[len(oracle.prompt_ids(PROMPT)) - 1] - right).max() <= allowed, dialect.texts
