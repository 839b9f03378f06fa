"""Which moment, place and stretch a look takes, on memories that are written by hand, one word a pause."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.attended import in_memory
from refruntime.witness.copied import wrong_copy
from refruntime.witness.expected import Expected
from refruntime.witness.fault import Plan, first_wrong
from refruntime.witness.images import settled
from refruntime.witness.kv_map import CacheMap
from refruntime.witness.locate import at, bits, find_row
from refruntime.witness.looking import judge
from refruntime.witness.patterns import find_pattern
from refruntime.witness.permuted import find_permuted
from refruntime.witness.presence import Presence
from refruntime.witness.recording import PAGE_WORDS, Log, record
from refruntime.witness.sightings import align
from refruntime.witness.windows import windows_by_cache

Float32 = NDArray[np.float32]
FUEL = 10


def numbers(count: int, seed: int) -> Float32:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


class Tape:
    """Memory of so many words that is written word by word, each at a pause of its own."""

    def __init__(self, words: int) -> None:
        self.words, self.events = words, list[tuple[int, int, int]]()
        self.now = 0

    def write(self, at: int, values: Float32) -> int:
        """Write numbers side by side; return the pause of the last of them."""
        for place, value in enumerate(bits(values).reshape(-1).tolist()):
            self.now += 1
            self.events.append((self.now, at + place, value))
        return self.now

    def rest(self, pauses: int) -> None:
        """Let time pass."""
        self.now += pauses

    def presence(self) -> Presence:
        """Return what a look sees of it."""
        pause, word, value = (np.array(column, np.int64) for column in zip(*self.events, strict=True))
        fuel = FUEL * np.arange(self.now + 2)
        return Presence(
            Log(fuel, np.arange(self.words), np.zeros(self.words, np.uint32), pause, word, value.astype(np.uint32))
        )


def test_an_array_does_not_reach_out_of_the_memory() -> None:
    """FW-4: numbers of a row that happen to lie at equal distances say nothing where others would lie in no word."""
    row, tape = numbers(32, 1), Tape(64)
    for place in range(3):
        tape.write(20 + 7 * place, row[place : place + 1])  # the tenth would lie behind the last word
    tape.write(1, row[30:31])
    tape.write(2, row[31:])  # and these are the end of a row that would begin before the first one
    presence = tape.presence()
    assert at(presence, row, 20, 7) is None
    assert at(presence, row, -29, 1) is None
    assert find_row(presence, row) is None
    assert at(presence, row[:3], 20, 7) is not None


def test_the_end_of_a_kernel_is_waited_for() -> None:
    """FW-4: at the pause before the last three numbers are written those of the layer before are still there."""
    tape = Tape(64)
    tape.write(8, numbers(32, 1))
    tape.rest(200)
    last = tape.write(8, numbers(32, 2))
    tape.rest(200)
    tape.write(8, numbers(32, 3))
    presence = tape.presence()
    words = 8 + np.arange(32)
    assert settled(presence, words, last - 3) == last
    assert settled(presence, words, last + 100) == last + 100  # long finished: what is written next is another array


def test_numbers_in_another_order_are_taken_when_all_of_them_are_there() -> None:
    """FW-4: halves woven, in an array whose elements are read back at once, the first ones soonest."""
    right = numbers(64, 1)
    tape = Tape(200)
    tape.write(100, numbers(64, 2))
    tape.write(100, right.reshape(2, 32).T.reshape(-1))
    tape.rest(50)
    tape.write(100, numbers(64, 3))
    image = find_permuted(tape.presence(), right[None], 0)
    assert image is not None
    assert image.words[0, 0] == 100
    assert find_pattern(image.values, right[None]).text == "elements 1 .. 62 with halves woven"


def test_a_copy_that_ends_early_is_what_is_wrong() -> None:
    """FW-1: the row is right where it is decoded; the residual lacks its last number, and its norm is all wrong."""
    row, norm = numbers(32, 1), numbers(32, 2)
    tape = Tape(300)
    tape.write(0, row)
    tape.rest(20)
    tape.write(100, row[:-1])
    tape.rest(20)
    wrong = np.where(np.arange(32) % 2, np.float32(1.01), np.float32(0.98)) * norm
    tape.write(200, wrong)
    tape.rest(100)
    expected = [Expected("row", row[None]), Expected("norm", norm[None], ("row",))]
    presence = tape.presence()
    seen = judge(presence, align(presence, expected), dict)
    assert seen.first is not None
    assert (seen.first.name, seen.first.pattern.text) == ("row", "element 31 zero")
    only_norm = [Expected("other", numbers(32, 9)[None]), Expected("norm", norm[None], ("other",))]
    sightings = align(presence, only_norm)
    found = first_wrong(presence, sightings)
    assert found is not None
    assert wrong_copy(presence, sightings, found[1]) is None


def test_rows_in_their_turn_lie_where_those_of_the_layer_before_did() -> None:
    """FW-6: scores of a layer, an offset too large; nothing else of it is known."""
    tape = Tape(100)
    expected = []
    for layer, offset in ((0, 0.0), (1, 0.25)):
        query, scores = numbers(8, 10 + layer), numbers(12, 20 + layer).reshape(4, 3)
        tape.write(10, query)
        for row in scores:
            tape.write(50, row + np.float32(offset))
            tape.rest(5)
            tape.write(50, np.exp(row))
            tape.rest(5)
        name = f"blk.{layer}.attn"
        expected += [
            Expected(f"{name}_q", query[None], (f"blk.{layer - 1}.attn.scores",) if layer else ()),
            Expected(f"{name}.scores", scores, (f"{name}_q",)),
        ]
    presence = tape.presence()
    seen = judge(presence, align(presence, expected), dict)
    assert seen.first is not None
    assert seen.first.name == "blk.1.attn.scores"
    assert seen.first.pattern.kind == "constant offset"


def test_a_key_that_is_a_little_wrong_is_evidence_where_nothing_follows_from_it() -> None:
    """FW-9: one key has no weight beside none, so that all behind it is right; a plan knows where it is kept."""
    key, mixed = numbers(32, 1), numbers(32, 2)
    expected = [Expected("key", key[None], lasting=True), Expected("mixed", mixed[None], ("key",))]

    def said(kept: Float32) -> str:
        tape = Tape(200)
        tape.write(10, kept)
        tape.rest(20)
        tape.write(100, mixed)
        presence = tape.presence()
        seen = judge(presence, align(presence, expected), dict, Plan({"key": (10,)}))
        return seen.first.pattern.kind if seen.first is not None else seen.verdict

    cut = (bits(key) & np.uint32(0xFFFF0000)).view(np.float32)
    assert said(cut) == "rounded to bf16"
    assert said(key) == "clean"
    assert said(numbers(32, 5)) == "not seen"  # a plan that is wrong about the place is no evidence


class Caches:
    """A call in which every position takes 1,000 units of fuel, and its layers write to their caches one by one."""

    def __init__(self, changed: NDArray[np.int64]) -> None:
        self.changed = changed

    def run(self, interval: int, look: Any) -> None:
        """Stop at every interval until the last position is done."""
        for fuel in range(interval, 1000 * self.changed.shape[-1] + 1, interval):
            look(fuel, (self.changed.reshape(-1) <= fuel).astype(np.uint32))


def test_a_place_that_is_never_written_bounds_no_position() -> None:
    """FW-9: the keys of position 6 are written elsewhere in all layers, and values of layer 0 are a position late."""
    layers, positions = 3, 12
    start = 1000 * np.arange(positions) + np.array([100, 400, 700])[:, None]
    words = np.arange(2 * layers * positions).reshape(2, layers, positions, 1)
    parts = [CacheMap(part, 1, np.ones(part.shape, np.bool_)) for part in words]

    def stretches(changed: NDArray[np.int64]) -> list[tuple[int, int]]:
        windows: Any = windows_by_cache(Caches(changed), 1000 * positions, parts)  # type: ignore[arg-type]
        return [windows.of(position) for position in range(positions)]

    right = np.stack([start, start + 50])
    wrong = right.copy()
    wrong[0, :, 6] = 10**9
    wrong[1, 0] += 1000
    for changed in (right, wrong):
        for position, (begin, end) in enumerate(stretches(changed)):
            assert 1000 * (position - 1) <= begin <= 1000 * position, position
            assert 1000 * position + 700 <= end <= 1000 * (position + 2), position


class Growing:
    """A call whose memory grows while it is watched: first one page of words, then two."""

    def run(self, interval: int, look: Any) -> Any:
        """Stop at every interval."""
        small, large = np.zeros(PAGE_WORDS, np.uint32), np.zeros(2 * PAGE_WORDS, np.uint32)
        for fuel in range(interval, 100, interval):
            words = small if fuel < 50 else large
            words[-1] = fuel
            look(fuel, words)
        self.fuel_of_watched, self.last = 100, large
        return self

    def words(self) -> NDArray[np.uint32]:
        """Return the memory after the call."""
        return self.last


def test_memory_may_grow_while_a_call_is_watched() -> None:
    """MEM-5: pages that are not there yet hold zeros until they are."""
    log = record(Growing(), 0, 1000, 10, np.array([0, 1], np.int64))  # type: ignore[arg-type]
    ends = {int(log.address[word]): value for word, value in zip(log.word, log.value, strict=True)}
    assert ends == {PAGE_WORDS - 1: 0, 2 * PAGE_WORDS - 1: 99}


def test_scores_of_other_heads_are_told_wherever_they_lie() -> None:
    """GG-8: each head has its scores in one place in its turn, where those of the right head never were."""
    of_heads = np.stack([[numbers(3, 40 + 4 * head + other) for other in range(4)] for head in range(4)])  # [A, K, T]
    right = of_heads[np.arange(4), np.arange(4)]  # [A, T]
    name = "blk.0.attn.scores"
    for read, told in (((1, 2, 3, 3), "1 instead of 0, 2 instead of 1, 3 instead of 2"), ((0, 1, 2, 3), None)):
        tape = Tape(64)
        for head, other in enumerate(read):
            tape.write(20, of_heads[head, other])
            tape.rest(2)
        seen = in_memory(tape.presence(), right, {f"other heads {name}": of_heads}, name)
        assert seen == (told and ("other heads", f"are made of the keys of other heads: {told}"))
    tape = Tape(64)
    tape.write(20, of_heads[0, 1])  # the others are nowhere
    assert in_memory(tape.presence(), right, {f"other heads {name}": of_heads}, name) is None
    assert in_memory(tape.presence(), right, {}, name) is None
