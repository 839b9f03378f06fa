"""The allocator against a model of it: random sequences of host and runtime actions."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from refruntime import ExportedABI
from refruntime.memory import ALIGNMENT

lengths = st.one_of(st.integers(1, 64), st.integers(1, 5000), st.sampled_from([65535, 65536, 65537, 200_000]))


class AllocatorMachine(RuleBasedStateMachine):
    """Remember what the host put where; nothing may overlap, move, or change by itself."""

    regions = Bundle("regions")

    def __init__(self) -> None:
        super().__init__()
        self.abi = ExportedABI(strict=self.strict())
        self.contents: dict[int, bytes] = {}
        self.size = len(self.abi.memory)

    def strict(self) -> bool:
        return True

    @rule(target=regions, length=lengths, seed=st.integers(0, 255))
    def allocate(self, length: int, seed: int) -> int:
        pointer = self.abi.alloc(length)
        assert pointer > 0
        assert pointer % ALIGNMENT == 0
        data = bytes((seed + place) % 256 for place in range(min(length, 300))) + bytes([seed]) * max(0, length - 300)
        self.abi.write(pointer, data)
        self.contents[pointer] = data
        return pointer

    @rule(pointer=consumes(regions))
    def free(self, pointer: int) -> None:
        self.abi.dealloc(pointer, len(self.contents.pop(pointer)))

    @rule(pointer=regions, share=st.floats(0, 1))
    def write_inside(self, pointer: int, share: float) -> None:
        old = self.contents[pointer]
        place = int(share * (len(old) - 1))
        self.abi.write(pointer + place, b"!")
        self.contents[pointer] = old[:place] + b"!" + old[place + 1 :]

    @rule()
    def runtime_moves_its_buffers(self) -> None:
        assert self.abi.reset_context() == 0

    @rule(pointer=regions)
    def runtime_fails(self, pointer: int) -> None:
        assert self.abi.load_model(pointer, len(self.contents[pointer])) == 4
        assert self.abi.read(self.abi.last_result_ptr(), self.abi.last_result_len()) == b"invalid model magic"

    @precondition(lambda self: self.contents)
    @invariant()
    def contents_are_kept(self) -> None:
        for pointer, data in self.contents.items():
            assert bytes(self.abi.memory[pointer : pointer + len(data)]) == data

    @invariant()
    def nothing_overlaps(self) -> None:
        spans = [(pointer, len(data)) for pointer, data in self.contents.items()]
        for getter, length in (
            (self.abi.last_result_ptr, self.abi.last_result_len),
            (self.abi.get_diagnostics_ptr, self.abi.get_diagnostics_len),
        ):
            spans.append((getter(), max(1, length())))
        end = 0
        for pointer, length_ in sorted(spans):
            assert pointer >= end
            end = pointer + length_
        assert end <= len(self.abi.memory)

    @invariant()
    def memory_is_whole_pages_and_never_shrinks(self) -> None:
        assert len(self.abi.memory) % 65536 == 0
        assert len(self.abi.memory) >= self.size
        self.size = len(self.abi.memory)

    @invariant()
    def document_is_readable(self) -> None:
        document = self.abi.read(self.abi.get_diagnostics_ptr(), self.abi.get_diagnostics_len())
        assert document.startswith(b'{"model_load_ms":0,')
        assert document.endswith(b"}")


class LenientAllocatorMachine(AllocatorMachine):
    """The same without the ledger."""

    def strict(self) -> bool:
        return False


SETTINGS = settings(max_examples=50, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("machine", [AllocatorMachine, LenientAllocatorMachine])
def test_allocator_agrees_with_its_model(machine: type[AllocatorMachine]) -> None:
    """MEM-1, MEM-3, MEM-5, MEM-7, MEM-8: no overlap, contents kept, result buffers apart, with and without ledger."""
    run_state_machine_as_test(machine, settings=SETTINGS)
