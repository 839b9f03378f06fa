"""Section 3 of the contract: the ledger of host misuse, moving result buffers, and what is left after a trap."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import refruntime.memory
from refruntime import ContractError, ExportedABI, HostMisuse, Trap
from refruntime.memory import LinearMemory
from tests.contract.host import Host
from tests.contract.models import follow, story_model, table_model

PAGE = 65_536


def crowded(abi: ExportedABI, left: int) -> None:
    """Allocate until no page is left to grow by and about `left` bytes are free."""
    for size in (65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16):
        fitting = 0
        while abi.alloc(size):
            fitting += 1
            assert fitting * size <= 20 * PAGE, "the allocator gives more than there is"
    if left:
        host_regions = [region for region in abi.linear_memory.live if region.owner == "host"]
        region = next(region for region in host_regions if region.length >= left)
        abi.dealloc(region.pointer, region.length)


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory end at 20 pages instead of 65536, so that it can be used up."""
    monkeypatch.setattr(refruntime.memory, "MAX_PAGES", 20)


def misuse(action: Callable[[ExportedABI, int], object]) -> tuple[ExportedABI, str]:
    """Perform an action with a live allocation of 8 bytes; return the problem that the ledger reports."""
    abi = ExportedABI()
    pointer = abi.alloc(8)
    with pytest.raises(HostMisuse) as caught:
        action(abi, pointer)
    assert not isinstance(caught.value, ContractError | Trap)
    assert f"{caught.value.pointer:#x}" in str(caught.value)
    return abi, caught.value.problem


def free_twice(abi: ExportedABI, pointer: int) -> None:
    abi.dealloc(pointer, 8)
    abi.dealloc(pointer, 8)


def use_after_free(abi: ExportedABI, pointer: int) -> None:
    abi.dealloc(pointer, 8)
    abi.generate(pointer, 8, 1)


def read_stale_result(abi: ExportedABI, _: int) -> None:
    stale = abi.last_result_ptr()
    abi.free_model()
    abi.read(stale, 1)


def read_stale_diagnostics(abi: ExportedABI, _: int) -> None:
    stale, length = abi.get_diagnostics_ptr(), abi.get_diagnostics_len()
    abi.set_sampling_config(0, 1, 1, 1)
    abi.read(stale, length)


LEDGER: dict[str, tuple[str, Callable[[ExportedABI, int], object]]] = {
    "free twice": ("double free", free_twice),
    "free what was never allocated": ("foreign pointer", lambda abi, p: abi.dealloc(p + 1024, 8)),
    "free 0": ("foreign pointer", lambda abi, p: abi.dealloc(0, 8)),
    "free the middle": ("foreign pointer", lambda abi, p: abi.dealloc(p + 4, 4)),
    "free the result": ("foreign pointer", lambda abi, p: abi.dealloc(abi.last_result_ptr(), 1)),
    "free the diagnostics": (
        "foreign pointer",
        lambda abi, p: abi.dealloc(abi.get_diagnostics_ptr(), abi.get_diagnostics_len()),
    ),
    "free too little": ("wrong length", lambda abi, p: abi.dealloc(p, 7)),
    "free too much": ("wrong length", lambda abi, p: abi.dealloc(p, 9)),
    "free length 0": ("wrong length", lambda abi, p: abi.dealloc(p, 0)),
    "write past the region": ("write outside a live allocation", lambda abi, p: abi.write(p, bytes(9))),
    "write before the region": ("write outside a live allocation", lambda abi, p: abi.write(p - 1, b"x")),
    "write over the end of memory": ("write outside memory", lambda abi, p: abi.write(len(abi.memory) - 1, b"xy")),
    "read past the region": ("read outside a live allocation", lambda abi, p: abi.read(p, 9)),
    "read outside memory": ("read outside memory", lambda abi, p: abi.read(2**32 - 1, 1)),
    "prompt past the region": ("read outside a live allocation", lambda abi, p: abi.generate(p, 9, 1)),
    "model past the region": ("read outside a live allocation", lambda abi, p: abi.load_model(p, 9)),
    "prompt after free": ("read outside a live allocation", use_after_free),
    "write into the result": (
        "write into a buffer of the runtime",
        lambda abi, p: abi.write(abi.get_diagnostics_ptr(), b"{"),
    ),
    "read a stale result": ("read outside a live allocation", read_stale_result),
    "read stale diagnostics": ("read outside a live allocation", read_stale_diagnostics),
}


class TestLedger:
    """MEM-3, MEM-4, MEM-7: strict mode reports undefined host behaviour, lenient mode ignores it."""

    @pytest.mark.parametrize("name", LEDGER)
    def test_misuse_is_reported(self, name: str) -> None:
        """MEM-3, MEM-4, MEM-7: each misuse has a name, is no status and no trap, and does not hurt the runtime."""
        problem, action = LEDGER[name]
        abi, reported = misuse(action)
        assert reported == problem
        assert abi.set_sampling_config(0, 1, 1, 1) == 0
        assert abi.alloc(16)

    @pytest.mark.parametrize("name", [name for name in LEDGER if "memory" not in name])
    def test_lenient_mode_ignores_it(self, name: str) -> None:
        """MEM-4: without the ledger the same calls go through, and the module keeps working."""
        abi = ExportedABI(strict=False)
        pointer = abi.alloc(8)
        LEDGER[name][1](abi, pointer)
        assert abi.set_sampling_config(0, 1, 1, 1) == 0
        other = abi.alloc(8)
        abi.write(other, b"12345678")
        assert abi.read(other, 8) == b"12345678"

    def test_wrong_free_is_ignored_in_lenient_mode(self) -> None:
        """MEM-3, MEM-4: a wrong length frees nothing, so the region is not handed out again."""
        abi = ExportedABI(strict=False)
        pointer = abi.alloc(64)
        abi.write(pointer, b"mine" * 16)
        abi.dealloc(pointer, 63)
        others = [abi.alloc(64) for _ in range(50)]
        assert pointer not in others
        for other in others:
            abi.write(other, bytes(64))
        assert abi.read(pointer, 64) == b"mine" * 16

    def test_empty_accesses_are_always_fine(self) -> None:
        """MEM-4: nothing is read or written, so nothing can be wrong."""
        abi = ExportedABI()
        assert abi.read(0, 0) == b""
        abi.write(16, b"")
        assert abi.read(abi.last_result_ptr(), abi.last_result_len()) == b""

    def test_host_regions_may_be_used_in_parts(self) -> None:
        """MEM-2, MEM-4: a slice may lie anywhere inside one live allocation."""
        host = Host(model=story_model())
        pointer = host.put(b"xx a xx")
        assert host.abi.generate(pointer + 3, 1, 2) == 0
        assert host.result == b"bc"


class TestResultBuffers:
    """MEM-7, MEM-8: result and diagnostics belong to the runtime, and move when they change."""

    def test_result_moves_on_every_change_and_the_old_one_is_poisoned(self) -> None:
        """MEM-7, MEM-8: after a change the pointer is new and the old bytes are 0xDD."""
        host = Host(model=story_model())
        for _ in range(5):
            pointer, length = host.abi.last_result_ptr(), host.abi.last_result_len()
            assert host.generate(b"a", 3) == 0
            assert host.abi.last_result_ptr() != pointer
            assert bytes(host.abi.memory[pointer : pointer + length]) == b"\xdd" * length

    def test_unchanged_result_stays_where_it_is(self) -> None:
        """MEM-7, ST-9: calls that leave the result alone leave its pointer alone; the diagnostics move."""
        host = Host(model=story_model())
        pointer, document = host.abi.last_result_ptr(), host.abi.get_diagnostics_ptr()
        assert host.abi.set_sampling_config(0, 1, 1, 1) == 0
        assert host.abi.init_runtime() == 0
        assert host.abi.last_result_ptr() == pointer
        assert host.abi.get_diagnostics_ptr() != document
        assert host.result == b"model loaded"

    def test_getters_change_nothing(self) -> None:
        """MEM-7, DG-2: asking for pointers and lengths moves nothing, also when the host allocates in between."""
        host = Host(model=story_model())
        assert host.generate(b"a", 2) == 0
        first = (host.abi.last_result_ptr(), host.abi.last_result_len(), host.abi.get_diagnostics_ptr())
        text, document = host.result, host.document
        host.abi.alloc(50 * PAGE)
        assert (host.abi.last_result_ptr(), host.abi.last_result_len(), host.abi.get_diagnostics_ptr()) == first
        assert (host.result, host.document) == (text, document)

    def test_lenient_buffers_stay_while_they_fit(self) -> None:
        """MEM-8: addresses are an allocator's choice: without the ledger a buffer is used again."""
        host = Host(strict=False, model=story_model())
        pointer = host.abi.last_result_ptr()
        assert host.generate(b"a", 2) == 0
        assert host.abi.last_result_ptr() == pointer
        assert host.result == b"bc"

    def test_freed_host_memory_is_poisoned(self) -> None:
        """MEM-8: in strict mode freed bytes are 0xDD."""
        host = Host()
        pointer = host.put(b"secret")
        host.abi.dealloc(pointer, 6)
        assert bytes(host.abi.memory[pointer : pointer + 6]) == b"\xdd" * 6


class TestTrap:
    """MEM-6, ERR-2: what is left after a trap."""

    def test_after_a_trap(self) -> None:
        """MEM-6, ERR-2, CL-statuses: 13 before every other check, getters 0; alloc and dealloc go on."""
        host = Host(model=story_model())
        assert host.generate(b"a", 1) == 0
        with pytest.raises(Trap):
            host.abi.generate(len(host.abi.memory) - 1, 2, 1)
        abi = host.abi
        for _ in range(2):
            statuses = [
                abi.init_runtime(),
                abi.load_model(0, 0),
                abi.load_model(len(abi.memory) - 1, 2),
                abi.set_sampling_config(-1, 0, 0, 0),
                abi.generate(0, 0, 0),
                abi.generate_next_token(),
                abi.reset_context(),
                abi.free_model(),
            ]
            assert statuses == [13] * 8
            getters = (abi.last_result_ptr, abi.last_result_len, abi.get_diagnostics_ptr, abi.get_diagnostics_len)
            assert [getter() for getter in getters] == [0] * 4
            pointer = host.put(b"still works")
            assert abi.read(pointer, 11) == b"still works"
            abi.dealloc(pointer, 11)

    def test_trap_as_the_first_call(self) -> None:
        """MEM-6, ST-1: the trapping call may be the one that creates the runtime."""
        abi = ExportedABI()
        with pytest.raises(Trap):
            abi.generate(2**32 - 2, 1, 1)
        assert abi.init_runtime() == 13
        assert abi.get_diagnostics_len() == 0

    @pytest.mark.usefixtures("small_world")
    def test_no_room_for_the_runtime_traps(self) -> None:
        """MEM-6: the module cannot allocate its own buffer: it traps, and the lock is unavailable."""
        host = Host(model=table_model(follow(ord("a"), ord("b"))))
        crowded(host.abi, 0)
        with pytest.raises(Trap, match="exhausted"):
            host.abi.reset_context()
        assert host.abi.reset_context() == 13
        assert host.abi.last_result_ptr() == 0

    @pytest.mark.usefixtures("small_world")
    def test_no_room_for_the_first_document_traps(self) -> None:
        """MEM-6, ST-1: a getter that creates the runtime can trap too."""
        abi = ExportedABI()
        crowded(abi, 0)
        with pytest.raises(Trap, match="exhausted"):
            abi.get_diagnostics_ptr()
        assert abi.get_diagnostics_ptr() == 0
        assert abi.init_runtime() == 13

    @pytest.mark.usefixtures("small_world")
    def test_freeing_makes_room_again(self) -> None:
        """MEM-5, MEM-7: with some host memory freed the runtime finds room for its buffers."""
        abi = ExportedABI()
        crowded(abi, 8192)
        assert abi.init_runtime() == 0
        assert abi.get_diagnostics_len() > 0


def test_linear_memory_alone() -> None:
    """MEM-1, MEM-4: the ledger lists live regions in address order, with the length that was asked for."""
    memory = LinearMemory()
    pointers = [memory.allocate(length) for length in (5, 16, 17)]
    assert [(region.pointer, region.length) for region in memory.live] == list(zip(pointers, (5, 16, 17), strict=True))
    memory.free(pointers[1], 16)
    assert [region.pointer for region in memory.live] == [pointers[0], pointers[2]]
