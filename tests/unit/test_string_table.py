"""Many strings as places in the file: what walking over them one by one gives."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.string_table import ROOM, StringTable, places_of

STRINGS = st.lists(st.binary(max_size=4) | st.sampled_from([b"x" * 255, b"x" * 256, b"\0", b""]), max_size=30)


def stored(strings: list[bytes]) -> bytes:
    return b"".join(struct.pack("<Q", len(string)) + string for string in strings)


@settings(max_examples=150, deadline=None)
@given(STRINGS, st.binary(max_size=9), st.binary(max_size=12))
def test_strings_lie_where_their_lengths_say(strings: list[bytes], before: bytes, behind: bytes) -> None:
    """GG-3: places and end are those of the strings, short ones or not; a table gives them back."""
    data = before + stored(strings) + behind
    found = places_of(memoryview(data), len(before), len(strings))
    assert found is not None
    places, end = found
    assert end == len(data) - len(behind)
    table = StringTable(data[len(before) : end] + bytes(ROOM), places - len(before))
    for each in (table, StringTable.of(strings)):
        assert list(each) == [each[at] for at in range(len(each))] == each[:] == strings
        assert each.has_nul == any(b"\0" in string for string in strings)


@settings(max_examples=150, deadline=None)
@given(STRINGS.filter(bool), st.integers(1, 300))
def test_strings_that_end_behind_the_file_have_no_places(strings: list[bytes], missing: int) -> None:
    """GG-3: cut anywhere, the strings do not fit, and nothing beyond the end is read."""
    data = stored(strings)
    assert places_of(memoryview(data)[: max(len(data) - missing, 0)], 0, len(strings)) is None


def test_lengths_that_no_file_has_are_refused() -> None:
    """GG-3: a length of 64 bits leads nowhere."""
    for length in (1 << 63, (1 << 64) - 1, (1 << 64) - 8, 256):
        data = memoryview(stored([b"a"]) + struct.pack("<Q", length) + stored([b"b", b"c"]))
        assert places_of(data, 0, 4) is None
        assert places_of(data, 0, 2) is None
