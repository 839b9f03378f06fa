"""Section 3 of the contract: allocation, growth, and the slices that calls are given."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import refruntime.memory
from refruntime import ExportedABI, Profile, Trap
from refruntime.containers.slm1_format import DType
from tests.contract.host import Host
from tests.support.synthetic import SMALL, random_weights, slm1_file

LIMIT = 134_217_728
PAGE = 65_536


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory end at 20 pages instead of 65536, so that it can be used up."""
    monkeypatch.setattr(refruntime.memory, "MAX_PAGES", 20)


class TestAllocation:
    """MEM-1, MEM-5: what alloc returns."""

    @pytest.mark.parametrize("length", [0, LIMIT + 1, 2**32 - 1, -1, 2**32, 0.5])
    def test_lengths_that_give_zero(self, length: float) -> None:
        """MEM-1, ABI-3: 0 and more than 134217728 give 0, after the conversion of the host number."""
        abi = ExportedABI()
        before = len(abi.memory)
        assert abi.alloc(length) == 0
        assert len(abi.memory) == before

    def test_largest_length(self) -> None:
        """MEM-1, MEM-5: 134217728 itself is allowed, and every byte of it is writable."""
        abi = ExportedABI()
        pointer = abi.alloc(LIMIT)
        assert pointer
        assert pointer + LIMIT <= len(abi.memory)
        assert len(abi.memory) % PAGE == 0
        abi.write(pointer + LIMIT - 1, b"\x01")
        assert abi.read(pointer + LIMIT - 1, 1) == b"\x01"

    def test_regions_are_aligned_and_apart(self) -> None:
        """MEM-1, MEM-8: regions of any length are aligned to 16, non-zero, inside memory and disjoint."""
        abi = ExportedABI()
        spans = sorted((abi.alloc(length), length) for length in [1, 2, 15, 16, 17, 4095, 65536, 100_000, 3] * 5)
        assert all(pointer and pointer % 16 == 0 for pointer, _ in spans)
        assert all(first + length <= second for (first, length), (second, _) in pairwise(spans))
        assert spans[-1][0] + spans[-1][1] <= len(abi.memory)

    def test_freed_memory_is_used_again(self) -> None:
        """MEM-3, MEM-5: a host that frees what it allocates does not make memory grow for ever."""
        abi = ExportedABI()
        for _ in range(500):
            pointer = abi.alloc(30_000)
            abi.dealloc(pointer, 30_000)
        assert len(abi.memory) <= 18 * PAGE

    def test_memory_never_shrinks(self) -> None:
        """MEM-5: freeing a large region keeps the pages."""
        abi = ExportedABI()
        pointer = abi.alloc(10 * PAGE)
        grown = len(abi.memory)
        abi.dealloc(pointer, 10 * PAGE)
        abi.free_model()
        assert len(abi.memory) == grown

    @pytest.mark.usefixtures("small_world")
    def test_exhaustion_gives_zero(self) -> None:
        """MEM-1, MEM-5: when no page is left alloc gives 0; what was freed can be had again."""
        abi = ExportedABI()
        pointers: list[int] = []
        while (pointer := abi.alloc(PAGE)) and len(pointers) < 20:
            pointers.append(pointer)
        assert len(abi.memory) == 20 * PAGE
        assert len(pointers) == 4  # 20 pages less the 16 below the heap
        abi.dealloc(pointers[1], PAGE)
        assert abi.alloc(PAGE) == pointers[1]
        assert abi.alloc(PAGE) == 0

    def test_this_machine_may_have_less(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """MEM-1: where the machine under the oracle has no memory left, alloc gives 0 and everything stays usable."""

        class Poor(bytearray):
            def __iadd__(self, _: Any) -> Any:  # type: ignore[misc]
                raise MemoryError

        abi = ExportedABI()
        monkeypatch.setattr(abi.linear_memory, "_bytes", Poor(len(abi.memory)))
        assert abi.alloc(LIMIT) == 0
        pointer = abi.alloc(5)
        abi.write(pointer, b"hello")
        assert abi.read(pointer, 5) == b"hello"


class TestGrowth:
    """MEM-5: growth makes older views stale, and the bytes stay."""

    def test_content_survives_and_the_old_view_is_dead(self) -> None:
        """MEM-5: a view taken before growth cannot be read any more; the new one has the same bytes."""
        abi = ExportedABI()
        pointer = abi.alloc(4)
        abi.write(pointer, b"kept")
        stale = abi.memory
        abi.alloc(10 * PAGE)
        assert len(abi.memory) > 10 * PAGE
        assert abi.read(pointer, 4) == bytes(abi.memory[pointer : pointer + 4]) == b"kept"
        with pytest.raises(ValueError, match="released"):
            stale[pointer]

    @pytest.mark.parametrize("build", [lambda view: np.frombuffer(view, np.uint8), lambda view: view[:], bytearray])
    def test_what_was_built_on_the_old_view_is_dead(self, build: Callable[[memoryview], Any]) -> None:
        """MEM-5, MEM-8: an array or a slice of the old view shows 0xDD; only a true copy keeps its bytes."""
        abi = ExportedABI()
        pointer = abi.alloc(4)
        abi.write(pointer, b"kept")
        kept = build(abi.memory)
        abi.alloc(10 * PAGE)
        assert bytes(kept[pointer : pointer + 4]) == (b"kept" if isinstance(kept, bytearray) else b"\xdd" * 4)
        assert set(bytes(kept[:PAGE])) <= {0xDD, 0}
        assert abi.read(pointer, 4) == b"kept"
        abi.write(pointer, b"next")
        assert abi.read(pointer, 4) == b"next"

    def test_growth_while_a_failure_is_kept(self) -> None:
        """MEM-5: the kept failure of the last call does not stand in the way of growth."""
        host = Host()
        assert host.load(b"SLM1" + bytes(200)) == 5
        failure = host.abi.last_failure
        assert host.abi.alloc(20 * PAGE)
        assert host.result == b"unsupported model version"
        assert failure is host.abi.last_failure

    def test_new_pages_are_zero(self) -> None:
        """MEM-5: fresh pages hold zeros, as in WebAssembly."""
        abi = ExportedABI()
        before = len(abi.memory)
        abi.alloc(5 * PAGE)
        assert bytes(abi.memory[before:]) == bytes(len(abi.memory) - before)


class TestSlices:
    """MEM-2, MEM-6, MEM-9: slices given to load_model and generate."""

    @pytest.mark.parametrize("call", ["load_model", "generate"])
    @pytest.mark.parametrize(
        ("pointer", "length", "status"),
        [
            (0, 0, 1),
            (0, 5, 1),
            (0, 2**32 - 1, 1),
            (2**32, 5, 1),
            (16, 0, 2),
            (16, LIMIT + 1, 2),
            (2**32 - 1, LIMIT + 1, 2),
        ],
    )
    def test_null_comes_before_length(self, call: str, pointer: int, length: int, status: int) -> None:
        """MEM-2: pointer 0 gives 1, then length 0 or over 134217728 gives 2; neither looks at memory."""
        abi = ExportedABI()
        returned = abi.load_model(pointer, length) if call == "load_model" else abi.generate(pointer, length, 1)
        assert returned == status

    @pytest.mark.parametrize("strict", [True, False])
    @pytest.mark.parametrize("call", ["load_model", "generate"])
    def test_slice_past_the_end_traps(self, call: str, strict: bool) -> None:
        """MEM-6, CL-statuses: one byte too many traps."""
        abi = ExportedABI(strict=strict)
        end = len(abi.memory)
        with pytest.raises(Trap, match="past the end"):
            abi.load_model(end - 4, 5) if call == "load_model" else abi.generate(end - 4, 5, 1)

    @pytest.mark.parametrize("pointer", [2**32 - 1, 2**31, -1])
    def test_pointers_are_unsigned(self, pointer: int) -> None:
        """MEM-6, ABI-2: a pointer far outside traps, whatever its sign in the host."""
        with pytest.raises(Trap):
            ExportedABI().load_model(pointer, 4)

    def test_slice_up_to_the_end_is_fine(self) -> None:
        """MEM-6, CL-statuses: pointer + length = memory size is inside; the bytes are looked at (4)."""
        abi = ExportedABI(strict=False)
        assert abi.load_model(len(abi.memory) - 4, 4) == 4
        assert abi.generate(len(abi.memory) - 4, 4, 1) == 12
        strict = ExportedABI()
        pointer = strict.alloc(PAGE)  # the first free page is the last one
        assert pointer + PAGE == len(strict.memory)
        assert strict.load_model(pointer, PAGE) == 4

    def test_longest_slice_is_looked_at(self) -> None:
        """MEM-2: 134217728 bytes are not too long; these hold no model (4)."""
        abi = ExportedABI()
        pointer = abi.alloc(LIMIT)
        assert abi.load_model(pointer, LIMIT) == 4

    @pytest.mark.parametrize("product", ["(q*scale)*x", "(q*x)*scale", "sum times scale"])
    @pytest.mark.parametrize("dtype", list(DType))
    def test_model_bytes_are_copied(self, dtype: DType, product: Any) -> None:
        """MEM-9, FW-4: overwriting and freeing the transfer buffer after load_model changes nothing."""
        dimensions: dict[str, Any] = dict(SMALL)
        profile = Profile(quantized_product=product, invalid_output_utf8="lossy")
        file = slm1_file(random_weights(5, **dimensions), dtype=dtype, **dimensions)
        seen = []
        for spoil in (False, True):
            host = Host(profile)
            pointer = host.put(file)
            assert host.abi.load_model(pointer, len(file)) == 0
            if spoil:
                host.abi.write(pointer, b"\xff" * len(file))
                host.abi.dealloc(pointer, len(file))
            assert host.generate(b"once upon", 8) == 0
            seen.append((host.result, host.diagnostics))
        assert seen[0] == seen[1]
