"""A build says its own sum: whole, in halves, truncated; and each kind of build that cannot be asked says so."""

from __future__ import annotations

from random import Random

import pytest

from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.base import EngineError, Limits
from refruntime.engines.wasm import WasmEngine
from refruntime.identify.comparison import CannotSeal
from refruntime.identify.seal import Sealer, probes
from tests.support.checksum_builds import (
    BYTE_BY_BYTE,
    COMPARISONS,
    FNV_PRIME,
    FNV_START,
    PUBLISHED,
    STORED,
    TRUNCATED,
    summing_build,
)

MASK = 2**64 - 1
COUNTER = "(global $loads (mut i64) (i64.const 0))"
ODD_BITS = f"""(i64.eq (i64.const 0) (i64.and (i64.const 0x5555555555555555) (i64.add
    (i64.and (i64.const 0x5555555555555555) (local.get $h))
    (i64.and (i64.const 0x5555555555555555) {STORED}))))"""
"""A comparison of every other bit, in which no number meets another."""


def published_sum(file: bytes, start: int = FNV_START) -> int:
    """SL-5, once more and plainly."""
    h = start
    for i, b in enumerate(file):
        h ^= (0 if 100 <= i < 108 else b) ^ i
        h = (h << 5 | h >> 59) & MASK
        h = h * FNV_PRIME & MASK
    return h


def stored(file: bytes) -> int:
    return int.from_bytes(file[100:108], "little")


def with_stored(file: bytes, number: int) -> bytes:
    return file[:100] + number.to_bytes(8, "little") + file[108:]


def status(module: bytes, file: bytes) -> int:
    return Client(WasmEngine(module)).load_model(file)


def any_file(seed: int) -> bytes:
    """A file that these builds sum: magic, version, then anything."""
    random = Random(seed)
    return b"SLM1\x01\0\0\0" + random.randbytes(random.randint(100, 600))


@pytest.mark.parametrize("equal", COMPARISONS)
def test_the_sum_is_read_off_the_comparison(equal: str) -> None:
    """ID-2: whatever instruction compares the sums, and in whatever order their halves."""
    module = summing_build(start=77, equal=COMPARISONS[equal])
    sealer = Sealer(module)
    assert sealer.comparison.kind == "whole"
    for seed in range(20):
        file = any_file(seed)
        sealed = sealer.seal(file)
        assert (sealed.how, sealed.checksum) == ("asked", published_sum(file, 77))
        assert stored(sealed.data) == published_sum(file, 77)
        assert sealed.data[:100] + sealed.data[108:] == file[:100] + file[108:]
        assert status(module, sealed.data) == 0
        assert status(module, file) == 6


@pytest.mark.parametrize("equal", TRUNCATED)
def test_truncated_sums_are_told_and_sealed(equal: str) -> None:
    """ID-2: a build that compares a part of the sum is reported as that; its files can be sealed all the same."""
    module = summing_build(equal=TRUNCATED[equal])
    sealer = Sealer(module)
    assert sealer.comparison.kind == "truncated"
    mask = {"high half as i32": 0xFFFFFFFF << 32, "high half shifted": 0xFFFFFFFF << 32, "48 bits": 2**48 - 1}
    assert sealer.comparison.mask == mask.get(equal, 0xFFFFFFFF)
    assert any("may hold anything" in text for text in sealer.comparison.evidence)
    for seed in range(20):
        file = any_file(seed)
        sealed = sealer.seal(file)
        assert stored(sealed.data) & sealer.comparison.mask == published_sum(file) & sealer.comparison.mask
        assert status(module, sealed.data) == 0


@pytest.mark.parametrize("equal", BYTE_BY_BYTE)
def test_sums_are_read_byte_by_byte(equal: str) -> None:
    """ID-2: where no wider number meets another, the bytes of the number are watched; a sum takes a few more loads."""
    module = summing_build(start=77, equal=BYTE_BY_BYTE[equal])
    sealer = Sealer(module)
    assert sealer.comparison.kind == "whole"
    for seed in range(60):
        file = any_file(seed)
        sealed = sealer.seal(file)
        assert (sealed.how, sealed.checksum) == ("asked", published_sum(file, 77)), seed
        assert status(module, sealed.data) == 0


NOISE = "".join(
    f"(drop (i32.eq (i32.load8_u offset={100 + place % 8} (local.get $p)) (i32.const 7)))" for place in range(40)
)
"""Other comparisons of the same bytes, as many as a build makes that quotes what it refuses."""


@pytest.mark.parametrize("equal", BYTE_BY_BYTE)
def test_other_comparisons_of_bytes_hide_no_sum(equal: str) -> None:
    """ID-2: what a build compares behind the checksum pushes nothing out; what is right by accident is a sum."""
    module = summing_build(start=77, equal=BYTE_BY_BYTE[equal], after=NOISE)
    sealer = Sealer(module)
    for seed in range(250):
        file = any_file(seed)
        assert sealer.seal(file).checksum == published_sum(file, 77), seed


def test_one_load_for_a_new_file_and_none_for_a_known_one() -> None:
    """ID-2: files are sealed by content, whatever their checksum field holds, also by another sealer that is told."""
    known: dict[str, int] = {}
    sealer = Sealer(summing_build(), known=known)
    file = any_file(1)
    before = sealer.loads
    first = sealer.seal(file)
    assert (first.how, sealer.loads - before) == ("asked", 1)
    again = sealer.seal(with_stored(file, 12345))
    assert (again.how, again.data, sealer.loads - before) == ("kept", first.data, 1)
    other = Sealer(summing_build(), known=known)
    loads = other.loads
    assert (other.seal(file).how, other.loads) == ("kept", loads)
    assert Sealer(summing_build(start=5), known=known).seal(file).how == "asked"  # another build


def test_a_build_that_verifies_nothing() -> None:
    """SL-5, ID-2: a file is loaded whatever it holds, which is said with the number of attempts."""
    sealer = Sealer(summing_build(equal="(i32.const 1)"))
    assert sealer.comparison.kind == "not verified"
    assert "whatever its checksum field holds (3 random numbers tried)" in sealer.comparison.evidence[0]
    file = any_file(1)
    assert sealer.seal(file).data == file
    assert sealer.seal(file).how == "not verified"


def test_a_build_that_compares_and_goes_on() -> None:
    """ID-2: the comparison is met but its outcome does not matter: not verified, and the comparison is shown."""
    sealer = Sealer(summing_build(equal=f"(i32.or (i32.const 1) {COMPARISONS['i64.eq']})"))
    assert sealer.comparison.kind == "not verified"
    assert "although i64.eq at offset" in sealer.comparison.evidence[1]


def test_a_trap_behind_the_comparison_is_a_refusal() -> None:
    """ID-2: a build that traps on a wrong checksum is asked like any other."""
    module = summing_build(after="(unreachable)")
    file = any_file(1)
    assert status(module, Sealer(module).seal(file).data) == 0


TROUBLE = {
    "traps": (
        summing_build(before="(unreachable)"),
        "trapped",
        "load_model does not come back from a well-formed file: load_model trapped",
    ),
    "never ends": (
        summing_build(before="(loop $again (br $again))"),
        "trapped",
        "load_model does not come back from a well-formed file: load_model was stopped",
    ),
    "other magic": (
        summing_build(before="(return (i32.const 4))"),
        "refused",
        "refuses well-formed SLM1 files before it looks at their checksum: status 4 (InvalidModelMagic)",
    ),
    "no comparison": (
        summing_build(equal="(i32.const 0)"),
        "never compared",
        "refused (status 6 (InvalidHeader)), but no watched instruction met the number in its checksum field",
    ),
    "constant": (
        summing_build(equal=f"(i64.eq (i64.const 42) {STORED})"),
        "never compared",
        "meets only constants, such as 0x2a",
    ),
    "odd bits": (summing_build(equal=ODD_BITS), "never compared", "no watched instruction met the number"),
    "own field": (
        summing_build(masked="(i32.const 0)"),
        "sums its own field",
        "bytes 100 to 107 do not count as zero",
    ),
    "unsteady": (
        summing_build(
            more=COUNTER,
            finish="""(global.set $loads (i64.add (global.get $loads) (i64.const 1)))
                      (local.set $h (i64.xor (local.get $h) (global.get $loads)))""",
        ),
        "unsteady",
        "answers differently each time",
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_builds_that_cannot_be_asked(name: str) -> None:
    """ID-2: each has its own message, and says what was tried."""
    module, kind, message = TROUBLE[name]
    with pytest.raises(CannotSeal) as caught:
        Sealer(module, Limits(seconds=0.3))
    assert caught.value.kind == kind
    assert message in str(caught.value)
    assert any("i64.eq" in text for text in caught.value.tried)
    assert len(caught.value.tried) >= 3


def test_a_module_without_64_bit_comparisons_is_told_as_that() -> None:
    """ID-2: the message says that there is nothing that could compare 64 bits."""
    module = summing_build(PUBLISHED.replace("i64.xor", "i64.add"), equal="(i32.const 0)")
    with pytest.raises(CannotSeal, match="no 64-bit comparison at all"):
        Sealer(module)


def test_files_that_do_not_reach_the_checksum() -> None:
    """ID-2: what is refused before, or is no SLM1 file, needs no seal and is not changed."""
    sealer = Sealer(summing_build())
    wrong_version = b"SLM1\x02\0\0\0" + bytes(200)
    sealed = sealer.seal(wrong_version)
    assert (sealed.data, sealed.how) == (wrong_version, "not reached")
    assert "status 5" in sealed.detail
    for file in (b"", b"SLM1", b"GGUF" + bytes(200), b"SLM1" + bytes(103)):
        assert sealer.seal(file).data == file
        assert sealer.seal(file).how == "no SLM1"


def test_a_trap_on_one_file_leaves_the_others_in_peace() -> None:
    """ID-2: after a trap a fresh instance goes on."""
    trap = "(if (i32.eq (i32.load offset=8 (local.get $p)) (i32.const 0)) (then (unreachable)))"
    sealer = Sealer(summing_build(before=trap))
    bad = b"SLM1\x01\0\0\0" + bytes(200)
    assert sealer.seal(bad).how == "not reached"
    assert "trapped" in sealer.seal(bad).detail
    assert sealer.seal(any_file(1)).checksum == published_sum(any_file(1))


def test_fit_leaves_what_is_wrong_on_purpose() -> None:
    """ID-2: a file of ours with a right checksum gets that of the build; a wrong one stays wrong."""
    module = summing_build(start=9)
    sealer = Sealer(module)
    right = probes()[0]
    assert status(module, sealer.fit(right)) == 0
    wrong = with_stored(right, stored(right) ^ 1)
    assert sealer.fit(wrong) == wrong
    other = Profile(checksum_start=3)
    elsewhere = with_stored(right, published_sum(right, 3))
    assert sealer.fit(elsewhere) == elsewhere
    assert stored(sealer.fit(elsewhere, other)) == published_sum(right, 9)
    for file in (b"GGUF" + bytes(300), b"", b"SLM1"):
        assert sealer.fit(file) == file


def test_a_known_formula_asks_nothing() -> None:
    """ID-2: with the formula in a profile the build is not even compiled."""
    sealer = Sealer(b"no module at all", formula=Profile(checksum_start=9))
    file = any_file(1)
    assert sealer.seal(file).checksum == published_sum(file, 9)
    assert sealer.seal(file).how == "computed"
    assert sealer.loads == 0


def test_what_is_no_module_is_refused() -> None:
    """ABI-4: bytes that are no module end in the same errors as everywhere."""
    with pytest.raises(EngineError, match="not a WebAssembly module"):
        Sealer(b"no module at all")
