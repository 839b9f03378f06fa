"""Generated text while it is generated."""

from __future__ import annotations

import pytest

from refruntime.show.stream import TextStream
from refruntime.visible import printable


def streamed(*parts: bytes, safe: bool = False, lossy: bool = False) -> list[bytes]:
    written: list[bytes] = []
    stream = TextStream(written.append, safe, lossy)
    for part in parts:
        stream.add(part)
    stream.close()
    return written


def test_characters_are_written_whole() -> None:
    """GEN-8: a character whose bytes come in several tokens is written when the last one is there."""
    assert streamed(b"a", b"\xe2\x82", b"\xacb") == [b"a", b"\xe2\x82\xacb"]


def test_bytes_that_are_no_text() -> None:
    """GEN-9: they go out as they are, visibly on a terminal, as U+FFFD where the profile says so."""
    assert b"".join(streamed(b"\xc3", b"(", b"\xe2")) == b"\xc3(\xe2"
    assert b"".join(streamed(b"\xc3", b"(", b"\xe2", safe=True)) == b"\\xc3(\\xe2"
    assert b"".join(streamed(b"\xc3", b"(", lossy=True)).decode() == "\N{REPLACEMENT CHARACTER}("


@pytest.mark.parametrize("code", [0x1B, 0x07, 0x0D, 0x9B, 0x202E, 0x2066, 0x200B, 0x7F, 0xFEFF])
def test_nothing_controls_a_terminal(code: int) -> None:
    """GEN-8: escape, bell, C1 and marks of direction are made visible; lines and tabs stay."""
    assert chr(code) not in printable(f"a{chr(code)}b\n\tc")
    assert printable("a\n\tb c\N{SNOWMAN}") == "a\n\tb c\N{SNOWMAN}"
    assert b"".join(streamed(f"a{chr(code)}".encode())) == f"a{chr(code)}".encode()
