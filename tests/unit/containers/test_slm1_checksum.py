"""The SLM1 checksum against a loop that follows the text one operation at a time."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime.containers import checksum as module
from refruntime.containers import checksum_plain
from refruntime.containers.checksum import (
    Checkpoints,
    Summing,
    compiled_checksum,
    resolved_operations,
    slm1_checksum,
)
from refruntime.containers.slm1 import read_slm1
from refruntime.contract import Profile, ProfileError
from refruntime.errors import InvalidHeader
from tests.support.slm1_by_hand import build, naive_checksum

ORDERS = ["mix, rotate, multiply", "mix, multiply, rotate", "rotate, mix, multiply"]
PLAIN, COMPILED = Summing(math.inf), Summing(-1)
WAYS = {"plain": PLAIN, "compiled": COMPILED}


def summed(way: str | Summing, data: bytes | bytearray, profile: Profile) -> int:
    """Sum in one of the two ways, whatever was summed before."""
    if way == "compiled" and compiled_checksum() is None:
        pytest.skip("numba is not installed")
    summing = WAYS[way] if isinstance(way, str) else way
    return summing.checksum(np.frombuffer(data, np.uint8), resolved_operations(profile), profile.checksum_start)


def test_no_bytes_and_one_byte_by_hand() -> None:
    """SL-5: nothing gives the start; one byte can be followed by hand."""
    assert slm1_checksum(b"", Profile()) == 0xCBF29CE484222325
    # One byte 0x25 at index 0: 0xcbf29ce484222325 ^ 0x25 = 0xcbf29ce484222300; the top five bits are 11001 = 25,
    # so rotated by 5: 0x7e539c9084446000 + 25 = 0x7e539c9084446019; times 0x100000001b3 mod 2^64.
    assert slm1_checksum(b"\x25", Profile()) == 0x7E539C9084446019 * 0x100000001B3 % 2**64


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rotation", [0, 1, 5, 8, 9, 31, 32, 63])
@pytest.mark.parametrize("start", [0, 1, 0xCBF29CE484222325, 2**64 - 1])
def test_every_option(order: str, rotation: int, start: int, way: str) -> None:
    """SL-5: each start, rotation and order equals the text, in both loops, on lengths around the skipped field."""
    profile = Profile(checksum_order=order, checksum_rotation=rotation, checksum_start=start)
    data = random.Random(7).randbytes(300)
    for length in (0, 1, 2, 99, 100, 101, 107, 108, 109, 300):
        expected = naive_checksum(data[:length], start, rotation, order)
        assert summed(way, data[:length], profile) == expected, length


@pytest.mark.parametrize("order", ORDERS)
def test_chunks(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SL-5: the result does not depend on where the passes end, also inside the skipped field."""
    data = random.Random(8).randbytes(1000)
    profile = Profile(checksum_order=order)
    expected = naive_checksum(data, order=order)
    for size in (1, 3, 7, 100, 101, 103, 107, 108, 999, 1000):
        for place, name in ((checksum_plain, "CHUNK"), (Checkpoints, "STEP")):
            with monkeypatch.context() as patch:
                patch.setattr(place, name, size)
                assert summed(Summing(math.inf), data, profile) == expected, size


@pytest.mark.parametrize("way", WAYS)
def test_long_input(way: str) -> None:
    """SL-5: indices beyond 2^16 are mixed in full."""
    data = random.Random(9).randbytes(200_001)
    assert summed(way, data, Profile()) == naive_checksum(data)
    assert slm1_checksum(memoryview(data), Profile()) == naive_checksum(data)


@pytest.mark.parametrize("order", ORDERS)
def test_summed_from_the_change_on(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SL-5: a file that differs from one before in its tail costs the tail alone; no other file or formula gains."""
    sizes = []
    counted_bytes = checksum_plain.counted_bytes

    def counted(octets: NDArray[np.uint8], start: int, stop: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        sizes.append(stop - start)
        return counted_bytes(octets, start, stop)

    monkeypatch.setattr(checksum_plain, "counted_bytes", counted)
    data, way = random.Random(11).randbytes(20_000), Summing(math.inf)
    profile = Profile(checksum_order=order)
    changed = {place: bytearray(data) for place in (19_999, 10_300, 101, 50)}
    for place, copy in changed.items():
        copy[place] ^= 1
    again = [(data, 20_000), (data, 0), (data + b"x", 545), (data[:5_000], 904), (data[5:], 19_995)]
    again += [(changed[19_999], 544), (changed[10_300], 9760), (changed[101], 0), (changed[50], 20_000)]
    for file, cost in again:
        sizes.clear()
        assert summed(way, file, profile) == naive_checksum(bytes(file), order=order)
        assert sum(sizes) == cost
    for other in (replace(profile, checksum_start=7), replace(profile, checksum_rotation=6)):
        sizes.clear()
        summed(way, data, other)
        assert sum(sizes) == 20_000


def test_checkpoints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """SL-5: however many files are summed, few beginnings are kept, and the sums stay right."""
    monkeypatch.setattr(Checkpoints, "MOST", 3)
    way = Summing(math.inf)
    for seed in range(4):
        data = random.Random(seed).randbytes(5_000)
        for _ in range(2):
            assert summed(way, data, Profile()) == naive_checksum(data)
    assert len(way._checkpoints._states) == 3


@pytest.mark.parametrize("found", [lambda *_: 5, None])
def test_the_compiled_loop_takes_over(found: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """SL-5: when loading pays; where numba is missing the plain loop goes on."""
    data = random.Random(12).randbytes(600)
    monkeypatch.setattr(module, "compiled_checksum", lambda: found)
    way = Summing(1000)
    sums = [summed(way, data, Profile()) for _ in range(3)]
    right = naive_checksum(data)
    assert sums == ([right, 5, 5] if found else [right] * 3)


def test_checksum_field_does_not_count() -> None:
    """SL-5: bytes 100..107 are taken as zero, their neighbours are not."""
    data = random.Random(10).randbytes(200)
    cleared = data[:100] + bytes(8) + data[108:]
    assert slm1_checksum(data, Profile()) == slm1_checksum(cleared, Profile())
    for place in (99, 108):
        changed = bytearray(data)
        changed[place] ^= 1
        assert slm1_checksum(bytes(changed), Profile()) != slm1_checksum(data, Profile())


@pytest.mark.parametrize("order", ORDERS)
def test_reader_follows_the_profile(order: str) -> None:
    """SL-5: a file of a build with another formula is read with its profile and refused with the default one."""
    file = build()
    value = naive_checksum(bytes(file), start=99, rotation=17, order=order)
    file[100:108] = value.to_bytes(8, "little")
    profile = Profile(checksum_start=99, checksum_rotation=17, checksum_order=order)
    assert read_slm1(bytes(file), profile).header.checksum == value
    with pytest.raises(InvalidHeader):
        read_slm1(bytes(file), Profile())


def start_for_zero(file: bytes) -> int:
    """Run the steps of SL-5 backwards from 0: each of them can be undone."""
    state = 0
    inverse = pow(0x100000001B3, -1, 2**64)
    for index in range(len(file) - 1, -1, -1):
        state = state * inverse % 2**64
        state = (state >> 5) + (state % 32) * 2**59
        state ^= index ^ (0 if 100 <= index <= 107 else file[index])
    return state


def test_zero_is_refused_even_if_it_is_computed() -> None:
    """SL-5: the checksum must not be zero, also where the formula gives zero."""
    file = bytes(build(checksum=0))
    profile = Profile(checksum_start=start_for_zero(file))
    assert slm1_checksum(file, profile) == 0
    with pytest.raises(InvalidHeader) as caught:
        read_slm1(file, profile)
    assert caught.value.found == 0


M = 2**64 - 1
P = 0x100000001B3


def rotl(value: int, count: int) -> int:
    return (value << count % 64 | value >> (64 - count % 64)) & M


OTHER_STEPS = {
    "add byte, add index, rotate, multiply": lambda h, b, i: rotl((h + b + i) & M, 5) * P & M,
    "add byte + index, rotate, multiply": lambda h, b, i: rotl((h + b + i) & M, 5) * P & M,
    "xor byte + index, rotate, multiply": lambda h, b, i: rotl(h ^ (b + i), 5) * P & M,
    "xor byte, rotate, multiply, xor index, rotate, multiply": lambda h, b, i: (
        rotl((rotl(h ^ b, 5) * P & M) ^ i, 5) * P & M
    ),
    "mix, multiply, rotate 9": lambda h, b, i: rotl((h ^ b ^ i) * P & M, 9),
    "multiply, mix, rotate": lambda h, b, i: rotl((h * P & M) ^ b ^ i, 5),
    "mix, rotate by index % 64, multiply": lambda h, b, i: rotl(h ^ b ^ i, i) * P & M,
    "mix, rotate right by index % 31 + 1, multiply": lambda h, b, i: rotl(h ^ b ^ i, 63 - i % 31) * P & M,
    "mix, rotate by byte % 32, multiply": lambda h, b, i: rotl(h ^ b ^ i, b % 32) * P & M,
    "xor byte, rotate, multiply, add index": lambda h, b, i: (rotl(h ^ b, 5) * P + i) & M,
    "mix, rotate, multiply 0x9e3779b97f4a7c15": lambda h, b, i: rotl(h ^ b ^ i, 5) * 0x9E3779B97F4A7C15 & M,
    "rotate, mix, multiply 0x1000193": lambda h, b, i: (rotl(h, 5) ^ b ^ i) * 0x1000193 & M,
    "xor index + 1, xor byte, rotate, multiply": lambda h, b, i: rotl(h ^ (i + 1) ^ b, 5) * P & M,
    "xor byte ^ (index + 1), rotate, multiply": lambda h, b, i: rotl(h ^ (i + 1) ^ b, 5) * P & M,
    "xor index & 255, add byte, rotate, multiply": lambda h, b, i: rotl((h ^ i & 255) + b & M, 5) * P & M,
    "xor byte + (index & 255), rotate, multiply": lambda h, b, i: rotl(h ^ b + (i & 255), 5) * P & M,
    "xor byte, xor index * 0x100000001b3, rotate, multiply": lambda h, b, i: rotl(h ^ b ^ i * P & M, 5) * P & M,
    "xor byte, add index * 0x9e3779b97f4a7c15, rotate, multiply": lambda h, b, i: (
        rotl((h ^ b) + i * 0x9E3779B97F4A7C15 & M, 5) * P & M
    ),
    "xor index << 8 | byte, rotate, multiply": lambda h, b, i: rotl(h ^ (256 * i + b), 5) * P & M,
    "add byte << 8 * (index % 8), rotate, multiply": lambda h, b, i: rotl(h + b * 256 ** (i % 8) & M, 5) * P & M,
    "xor byte * (index + 1), rotate, multiply": lambda h, b, i: rotl(h ^ b * (i + 1), 5) * P & M,
    "xor byte, xor index, rotate 63": lambda h, b, i: rotl(h ^ b ^ i, 63),
}
"""Steps of the published family, written as sums of Python's integers."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("order", OTHER_STEPS)
def test_other_steps_of_the_family(order: str, way: str) -> None:
    """SL-5: every operation of an order does what its words say, also across chunks and inside the skipped field."""
    step = OTHER_STEPS[order]
    data = random.Random(11).randbytes(17_000)
    for length in (0, 1, 100, 104, 108, 600, 17_000):
        state = 0x123456789ABCDEF
        for index, byte in enumerate(data[:length]):
            state = step(state, 0 if 100 <= index < 108 else byte, index)
        profile = Profile(checksum_order=order, checksum_start=0x123456789ABCDEF)
        assert summed(way, data[:length], profile) == state, length


def test_equal_orders_are_equal_profiles() -> None:
    """SL-5: the words of an order have one form, so that profiles of equal meaning have one fingerprint."""
    assert Profile(checksum_order="xor byte ^ index, rotate, multiply 0x100000001b3") == Profile()


@pytest.mark.parametrize(
    "order",
    [
        *("", "mix,rotate", "rotate 64", "rotate -1", "multiply 0x2", "multiply 3", "xor bytes", "rotate by index % 0"),
        *("rotate by index % 65", "rotate by byte % 8 + 64", "add", "mix, " * 16 + "mix"),
    ],
)
def test_orders_that_mean_nothing(order: str) -> None:
    """SL-5: an order with an unknown operation is refused by its words."""
    with pytest.raises(ProfileError, match=r"SL-5.order: .*(is no operation|at most)"):
        Profile(checksum_order=order)
