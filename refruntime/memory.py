"""Linear memory as a wasm host sees it, an allocator inside it, and a strict ledger of what the host may touch.

Addresses are this allocator's choice and are never part of a comparison (MEM-8).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass

from refruntime.contract.limits import MAX_PAGES, PAGE_BYTES

ALIGNMENT = 16
INITIAL_PAGES = 17
HEAP_BASE = 1_048_576
DEAD_BYTE = 0xDD


class Trap(Exception):
    """The module would trap here; afterwards its lock stays unavailable (MEM-6)."""


class HostMisuse(Exception):
    """The host did something that is undefined behaviour in the original (MEM-3, MEM-4); never a status."""

    def __init__(self, problem: str, pointer: int, length: int, detail: str) -> None:
        self.problem, self.pointer, self.length = problem, pointer, length
        super().__init__(f"{problem}: pointer {pointer:#x}, length {length}; {detail}")


@dataclass(frozen=True)
class Region:
    """A live allocation: `length` bytes as asked for, `owner` is `host` or `runtime`."""

    pointer: int
    length: int
    owner: str

    @property
    def reserved(self) -> int:
        """Return the bytes that the allocator set aside."""
        return max(ALIGNMENT, -(-self.length // ALIGNMENT) * ALIGNMENT)


class LinearMemory:
    """Pages that grow and never shrink (MEM-5), with a next-fit allocator.

    In strict mode every host access is checked against the live allocations and dead bytes are overwritten with 0xDD;
    lenient mode checks nothing and ignores a wrong `free` (MEM-4).
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self._bytes = bytearray(INITIAL_PAGES * PAGE_BYTES)
        self._view = memoryview(self._bytes)
        self._live: dict[int, Region] = {}
        self._starts: list[int] = []  # sorted pointers of the live regions
        self._freed: set[int] = set()
        self._rover = HEAP_BASE

    @property
    def view(self) -> memoryview:
        """Return the current view; growth makes it stale: released, or filled with 0xDD if still in use (MEM-5)."""
        return self._view

    @property
    def size(self) -> int:
        """Return the size in bytes, a multiple of 65536."""
        return len(self._bytes)

    @property
    def live(self) -> tuple[Region, ...]:
        """Return the live allocations in address order."""
        return tuple(self._live[start] for start in self._starts)

    # Allocation --------------------------------------------------------------------------------------------------

    def allocate(self, length: int, owner: str = "host") -> int:
        """Return the pointer of a new region of `length` >= 0 bytes, aligned to 16, or 0 when 4 GiB are used up."""
        region = Region(0, length, owner)
        pointer = self._fit(region.reserved, self._rover) or self._fit(region.reserved, HEAP_BASE)
        if pointer is None:
            end = self._end_of_last()
            if not self._grow_to(end + region.reserved):
                return 0
            pointer = end
        self._live[pointer] = Region(pointer, length, owner)
        insort(self._starts, pointer)
        self._freed.discard(pointer)
        self._rover = pointer + region.reserved
        return pointer

    def free(self, pointer: int, length: int, owner: str = "host") -> None:
        """Give a region back; needs the original pointer and the exact length (MEM-3), else HostMisuse when strict."""
        region = self._live.get(pointer)
        if region is None or region.owner != owner or region.length != length:
            if self.strict:
                raise self._wrong_free(region, pointer, length)
            return
        self._poison(region)
        del self._live[pointer]
        self._starts.remove(pointer)
        self._freed.add(pointer)

    def _fit(self, size: int, origin: int) -> int | None:
        """Return the first free gap of `size` bytes at or behind `origin`."""
        index = bisect_right(self._starts, origin)
        candidate = origin
        if index:
            before = self._live[self._starts[index - 1]]
            candidate = max(candidate, before.pointer + before.reserved)
        for start in self._starts[index:]:
            if start - candidate >= size:
                return candidate
            candidate = start + self._live[start].reserved
        return candidate if candidate + size <= self.size else None

    def _end_of_last(self) -> int:
        if not self._starts:
            return HEAP_BASE
        last = self._live[self._starts[-1]]
        return last.pointer + last.reserved

    def _grow_to(self, size: int) -> bool:
        pages = -(-size // PAGE_BYTES)
        if pages > MAX_PAGES:
            return False
        added = pages * PAGE_BYTES - self.size
        try:
            try:
                self._view.release()  # fails if somebody built an array on it
                self._bytes += bytes(added)  # fails if a slice of it is still in use
            except BufferError:
                stale = self._bytes
                self._bytes = bytearray(stale)
                self._bytes += bytes(added)
                _fill(stale, 0, len(stale))  # whoever still holds the old bytes must notice
        except MemoryError:  # this machine has no more; a growing module gets the same answer
            return False
        finally:
            self._view = memoryview(self._bytes)
        return True

    def _poison(self, region: Region) -> None:
        if self.strict:
            _fill(self._view, region.pointer, region.length)

    def _wrong_free(self, region: Region | None, pointer: int, length: int) -> HostMisuse:
        if region is None and pointer in self._freed:
            return HostMisuse("double free", pointer, length, "this pointer was freed before")
        if region is None:
            return HostMisuse("foreign pointer", pointer, length, "alloc never returned this pointer")
        if region.owner != "host":
            return HostMisuse(
                "foreign pointer", pointer, length, "result and diagnostics belong to the runtime (MEM-7)"
            )
        return HostMisuse("wrong length", pointer, length, f"it was allocated with {region.length} bytes (MEM-3)")

    # Host access -------------------------------------------------------------------------------------------------

    def check(self, pointer: int, length: int, action: str) -> None:
        """Raise HostMisuse in strict mode unless the range lies inside one live allocation (MEM-4)."""
        if not self.strict:
            return
        index = bisect_right(self._starts, pointer)
        region = self._live[self._starts[index - 1]] if index else None
        if region is None or pointer + length > region.pointer + max(region.length, 0):
            raise HostMisuse(
                f"{action} outside a live allocation", pointer, length, "it was never allocated, or is dead by now"
            )
        if action == "write" and region.owner != "host":
            raise HostMisuse("write into a buffer of the runtime", pointer, length, "the host only reads it (MEM-7)")

    def read(self, pointer: int, length: int) -> bytes:
        """Copy bytes out as the host; Trap-free: a range outside memory raises HostMisuse in both modes."""
        self._check_inside(pointer, length, "read")
        if length:
            self.check(pointer, length, "read")
        return bytes(self._view[pointer : pointer + length])

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes in as the host; a range outside memory raises HostMisuse in both modes."""
        length = memoryview(data).nbytes
        self._check_inside(pointer, length, "write")
        if length:
            self.check(pointer, length, "write")
        self._view[pointer : pointer + length] = memoryview(data).cast("B")

    def _check_inside(self, pointer: int, length: int, action: str) -> None:
        if pointer < 0 or length < 0 or pointer + length > self.size:
            raise HostMisuse(f"{action} outside memory", pointer, length, f"memory has {self.size} bytes")


def _fill(target: bytearray | memoryview, start: int, length: int) -> None:
    """Overwrite dead bytes, a page at a time so that no second copy of a large region is made."""
    page = bytes([DEAD_BYTE]) * min(length, PAGE_BYTES)
    for position in range(start, start + length, PAGE_BYTES):
        size = min(PAGE_BYTES, start + length - position)
        target[position : position + size] = page[:size]


class RuntimeBuffer:
    """A buffer that the runtime owns and the host reads, such as the result (MEM-7).

    In strict mode it moves on every change and the old bytes become 0xDD, so that stale reads are seen (MEM-8).
    """

    def __init__(self, memory: LinearMemory) -> None:
        self._memory = memory
        self.pointer = 0
        self.length = 0
        self._reserved = 0

    def store(self, data: bytes) -> None:
        """Replace the content; the pointer is non-zero also for empty content (section 13, State and diagnostics)."""
        size = max(1, len(data))
        if self._memory.strict or size > self._reserved:
            old, old_size = self.pointer, self._reserved
            self.pointer, self._reserved = self._memory.allocate(size, "runtime"), size
            if self.pointer == 0:
                raise Trap("memory is exhausted: no room for a buffer of the runtime")
            if old:
                self._memory.free(old, old_size, "runtime")
        self._memory.view[self.pointer : self.pointer + len(data)] = data
        self.length = len(data)
