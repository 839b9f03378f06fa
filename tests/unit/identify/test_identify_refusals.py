"""Builds that cannot be asked: each has a message of its own (ID-2)."""

from __future__ import annotations

from functools import partial

import pytest

from refruntime.battery.models.slm1 import random_model
from refruntime.containers.checksum import CHECKSUM_FIELD, slm1_checksum
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine, Limits, Number
from refruntime.engines.reference import ReferenceEngine
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.exports import ExportedABI
from refruntime.identify.ask import identify, unsteady, wandering
from refruntime.identify.asking import AskedBuild
from refruntime.identify.bugs import checksum_bugs
from refruntime.identify.checksum import PLAIN, Checksum, find_checksum, with_evidence
from refruntime.identify.document import json_document
from refruntime.numerics import CompiledSeq32
from refruntime.show.card import card_text
from tests.support.builds import changed_build
from tests.support.checksum_builds import COMPARISONS, TRUNCATED, summing_build


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
    (bug,) = checksum_bugs(found)
    assert (bug.rule, bug.of) == ("SL-5", 18)
    assert f"breaks SL-5 in {bug.broken} of 18 experiments: only a part of the checksum is compared" in bug.line
    assert bug.broken == {"low half as i32": 6, "48 bits": 3}[name]
    assert [item.found for item in bug.evidence] == ["Ok"] * 3
    assert bug.evidence[0].case == found.cases[0].name


class ShortSum(Fickle):
    """An oracle whose checksum leaves out the last byte of a file."""

    def call(self, export: str, *arguments: Number) -> int | None:
        if export == "load_model":
            pointer, length = int(arguments[0]), int(arguments[1])
            data = self.engine.read(pointer, length)
            first, last = CHECKSUM_FIELD
            if slm1_checksum(data[:-1], Profile()).to_bytes(8, "little") == data[first:last]:
                right = slm1_checksum(data, Profile()).to_bytes(8, "little")
                self.engine.write(pointer, data[:first] + right + data[last:])
            else:
                return 7
        return self.engine.call(export, *arguments)


def test_a_sum_that_leaves_out_the_end_is_told() -> None:
    """SL-5: every byte is covered; a file is loaded although its last byte was changed behind the sum."""
    right = random_model(7, PLAIN, profile=Profile())
    sealed = bytearray(right)
    first, last = CHECKSUM_FIELD
    sealed[first:last] = slm1_checksum(right[:-1], Profile()).to_bytes(8, "little")
    found = Checksum("asked", "observed", "asked", Profile(), lambda data: bytes(sealed) if data == right else data)
    shown = with_evidence(found, partial(ShortSum), right)
    (bug,) = checksum_bugs(shown)
    assert f"a byte of its weights was changed (at {len(right) - 1} of {len(right)})" in bug.text
    assert (bug.rule, bug.broken) == ("SL-5", 1)


class Drifting(Fickle):
    """An oracle that says more with every generation of an instance, alike on all instances."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 1

    def call(self, export: str, *arguments: Number) -> int | None:
        if export == "generate":
            pointer, length, count = arguments
            self.number += 1
            return super().call(export, pointer, length, count + self.number)
        return super().call(export, *arguments)


class Counting(Fickle):
    """A right oracle whose diagnostics count the generations of an instance."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 1

    def call(self, export: str, *arguments: Number) -> int | None:
        self.number += export == "generate"
        return super().call(export, *arguments)


def test_answers_that_drift_within_an_instance_are_told() -> None:
    """ST-3: the same load and generation three times on one instance, three answers; a stale state is another thing."""
    assert "answers differently each time" in wandering(AskedBuild(partial(Drifting)), Profile())
    assert not wandering(AskedBuild(changed_build()), Profile())
    assert not wandering(AskedBuild(partial(Counting)), Profile())


class Forgetful(Fickle):
    """An oracle that refuses every file but the first that an instance loads, as if its checksum changed."""

    loads = 0

    def call(self, export: str, *arguments: Number) -> int | None:
        found = self.engine.call(export, *arguments)
        self.loads += export == "load_model"
        return 6 if export == "load_model" and self.loads > 1 else found


def test_a_file_that_is_loaded_once_alone_is_told() -> None:
    """SL-5, ST-3: one load of a file succeeds and the next of the same is refused: no formula explains that."""
    assert "load_model gave [0, 6, 6]" in wandering(AskedBuild(partial(Forgetful)), Profile())


def test_a_sum_of_the_contract_is_known_without_asking() -> None:
    """SL-5: a build with the published formula needs no watching."""
    module = summing_build(equal=COMPARISONS["i64.eq"])
    found = find_checksum(module, partial(WasmEngine, WasmModule(module)), Limits(), Profile())
    assert found.kind == "contract"
    assert not checksum_bugs(found)


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
