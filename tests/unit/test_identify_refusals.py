"""Builds that cannot be asked: each has a message of its own (ID-2)."""

from __future__ import annotations

from functools import partial

import pytest

from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine, Limits, Number
from refruntime.engines.reference import ReferenceEngine
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.exports import ExportedABI
from refruntime.identify.ask import identify, unsteady
from refruntime.identify.checksum import find_checksum
from refruntime.identify.document import json_document
from refruntime.numerics import CompiledSeq32
from refruntime.show.card import card_text
from tests.unit.checksum_builds import COMPARISONS, TRUNCATED, summing_build


class Fickle:
    """An oracle whose diagnostics are others each time."""

    made = 0

    def __init__(self) -> None:
        Fickle.made += 1
        self.number = Fickle.made
        self.engine = ReferenceEngine(ExportedABI())
        self.name = "reference"

    @property
    def memory_size(self) -> int:
        return self.engine.memory_size

    def call(self, export: str, *arguments: Number) -> int | None:
        return self.engine.call(export, *arguments)

    def read(self, pointer: int, length: int) -> bytes:
        return self.engine.read(pointer, length).replace(b'"top_k":1', f'"top_k":{self.number}'.encode())

    def write(self, pointer: int, data: bytes) -> None:
        self.engine.write(pointer, data)


def test_a_build_that_answers_differently_each_time_is_told() -> None:
    """ID-3: what does not repeat is no evidence."""
    fresh: partial[Engine] = partial(Fickle)
    assert "differently each time" in unsteady(fresh, Profile())
    assert not unsteady(lambda: ReferenceEngine(ExportedABI()), Profile())


@pytest.mark.parametrize("name", ["low half as i32", "48 bits"])
def test_a_truncated_sum_is_told(name: str) -> None:
    """ID-2: a build that compares a part of the sum is asked, and the part is named."""
    module = summing_build(equal=TRUNCATED[name])
    compiled = WasmModule(module)
    found = find_checksum(module, partial(WasmEngine, compiled), Limits(), Profile())
    assert found.facts["compared"] == "truncated"
    assert "only the bits" in found.text


def test_a_sum_of_the_contract_is_known_without_asking() -> None:
    """SL-5: a build with the published formula needs no watching."""
    module = summing_build(equal=COMPARISONS["i64.eq"])
    found = find_checksum(module, partial(WasmEngine, WasmModule(module)), Limits(), Profile())
    assert found.kind == "contract"


@pytest.mark.parametrize(
    ("module", "kind"),
    [(summing_build(before="(unreachable)"), "trapped"), (summing_build(equal="(i32.const 0)"), "never compared")],
    ids=["traps", "never compares"],
)
def test_a_build_that_loads_nothing_is_told_with_what_was_tried(module: bytes, kind: str) -> None:
    """ID-2: a trap on the first file, or no comparison at all, ends in a message of its own."""
    found = identify(module, partial(WasmEngine, WasmModule(module)), CompiledSeq32())
    assert found.problem
    assert found.exit_code == 1
    assert found.checksum is None or (found.checksum.facts["trouble"] == kind and found.tried)
    assert "not identified" in card_text(found)
    assert json_document(found)["problem"] == found.problem
