"""The formula of a build comes out of its sums, whatever step, start, rotation and factor of the family it has."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.wasm import WasmEngine
from refruntime.identify.formula import NoFormula, fit_formula, formula_of
from refruntime.identify.seal import Sealer, probes
from tests.support.checksum_builds import FNV_PRIME, summing_build

M = 2**64 - 1
P = FNV_PRIME
Q = 0xDEADBEEFCAFEBABF
"""An odd number that is in no list."""

Step = Callable[[int, int, int], int]


def rotl(value: int, count: int) -> int:
    return (value << count % 64 | value >> (64 - count % 64)) & M


def summing(step: Step, start: int) -> Callable[[bytes], int]:
    def checksum(file: bytes) -> int:
        state = start
        for index, byte in enumerate(file):
            state = step(state, 0 if 100 <= index < 108 else byte, index)
        return state

    return checksum


STEPS: dict[str, Step] = {
    "mix, rotate, multiply": lambda h, b, i: rotl(h ^ b ^ i, 19) * P & M,
    "mix, multiply, rotate": lambda h, b, i: rotl((h ^ b ^ i) * P & M, 31),
    "rotate, mix, multiply": lambda h, b, i: (rotl(h, 44) ^ b ^ i) * P & M,
    "multiply, rotate, xor byte, add index": lambda h, b, i: (rotl(h * P & M, 9) ^ b) + i & M,
    "xor byte, add index, rotate, multiply": lambda h, b, i: rotl((h ^ b) + i & M, 13) * P & M,
    "add byte + index, rotate, multiply": lambda h, b, i: rotl(h + b + i & M, 5) * P & M,
    "xor byte, rotate, multiply, xor index": lambda h, b, i: (rotl(h ^ b, 17) * P & M) ^ i,
    "xor byte, rotate, multiply, xor index, rotate, multiply": lambda h, b, i: (
        rotl((rotl(h ^ b, 7) * P & M) ^ i, 7) * P & M
    ),
    "mix, rotate by index % 64, multiply": lambda h, b, i: rotl(h ^ b ^ i, i % 64) * P & M,
    "mix, rotate right by index % 31 + 1, multiply": lambda h, b, i: rotl(h ^ b ^ i, 63 - i % 31) * P & M,
    "xor byte, xor index & 255, rotate, multiply": lambda h, b, i: rotl(h ^ b ^ i & 255, 5) * P & M,
    "mix, rotate, multiply 0x1000193": lambda h, b, i: rotl(h ^ b ^ i, 40) * 0x1000193 & M,
    "mix, rotate, multiply 0xdeadbeefcafebabf": lambda h, b, i: rotl(h ^ b ^ i, 11) * Q & M,
    "mix, multiply 0xdeadbeefcafebabf, rotate": lambda h, b, i: rotl((h ^ b ^ i) * Q & M, 50),
}
"""Steps as sums of Python's integers, by the order that is expected."""


@pytest.mark.parametrize(
    "order", [pytest.param(order, marks=pytest.mark.slow if "deadbeef" in order else ()) for order in STEPS]
)
def test_the_formula_comes_out_of_sums(order: str) -> None:
    """SL-5, ID-2: order, rotation, factor and a random start are found, and give every sum of fresh files."""
    start = Random(order).getrandbits(64)
    checksum = summing(STEPS[order], start)
    fitted = fit_formula(checksum, random_files=40)
    profile = fitted.profile(Profile())
    assert (profile.checksum_order, profile.checksum_start) == (order, start)
    assert fitted.files == 40


@pytest.mark.slow
def test_what_is_no_formula_of_the_family_is_told() -> None:
    """ID-2: a sum with something else in it fits nothing; the message gives a sum, and what was tried is listed."""
    with pytest.raises(NoFormula, match=r"no formula of the published family gives the sums .* bytes is 0x") as caught:
        fit_formula(summing(lambda h, b, i: rotl(h ^ b ^ i, 5) * P + (h >> 7 & 1) & M, 1))
    assert any("an unknown multiplier" in text for text in caught.value.tried)


@pytest.mark.slow
def test_a_formula_that_fails_late_is_not_taken() -> None:
    """ID-2: a build that sums long files otherwise is found out by the random files."""

    def checksum(file: bytes) -> int:
        return summing(STEPS["mix, rotate, multiply"], 5)(file) ^ (len(file) > 600)

    with pytest.raises(NoFormula) as caught:
        fit_formula(checksum)
    assert any("mix, rotate 19, multiply from 0x5 fits" in text for text in caught.value.tried)


def test_a_build_is_asked_once_and_then_no_more() -> None:
    """ID-2: with the formula in a profile, files that the build never saw are sealed without it and load."""
    step = f"""
        (local.set $h (i64.add (i64.xor (local.get $h) (local.get $b)) (local.get $i)))
        (local.set $h (i64.rotl (local.get $h) (i64.const 23)))
        (local.set $h (i64.mul (local.get $h) (i64.const {P})))
    """
    module = summing_build(step, start=0x123456789ABCDEF)
    profile = formula_of(Sealer(module), random_files=200).profile(Profile())
    assert profile == Profile(
        checksum_order="xor byte, add index, rotate, multiply", checksum_rotation=23, checksum_start=0x123456789ABCDEF
    )
    assert Profile.from_toml(profile.to_toml()) == profile
    sealer = Sealer(module, formula=profile)
    for file in probes():
        sealed = sealer.seal(file)
        assert sealed.how == "computed"
        assert Client(WasmEngine(module)).load_model(sealed.data) == 0
    assert sealer.loads == 0


@pytest.mark.parametrize(
    ("equal", "message"),
    [
        ("(i32.const 1)", "compares nothing of a sum"),
        (
            "(i32.eq (i32.wrap_i64 (local.get $h)) (i32.load (i32.add (local.get $p) (i32.const 100))))",
            "compares the bits 0x00000000ffffffff of a sum",
        ),
    ],
)
def test_builds_without_whole_sums_have_no_formula(equal: str, message: str) -> None:
    """ID-2: nothing is searched where no whole sum shows."""
    with pytest.raises(NoFormula, match=message):
        formula_of(Sealer(summing_build(equal=equal)))


def test_a_build_that_wants_whole_models_is_given_them() -> None:
    """ID-2: where a bare header is refused before the checksum, the files are models with bytes behind them."""
    wants_tensors = "(if (i32.eqz (i32.load offset=88 (local.get $p))) (then (return (i32.const 7))))"
    fitted = formula_of(Sealer(summing_build(before=wants_tensors)), random_files=5)
    assert fitted.profile(Profile()) == Profile()
    assert fitted.tried[0] == "whole models with any bytes behind them"
