"""Write generated text while it is generated: whole characters, safe for a terminal."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from refruntime.visible import printable


class TextStream:
    """Take bytes as they come and write them when they are whole characters.

    With `safe` control characters become visible, but for line feeds and tabs, and so do marks that turn the direction
    of a line; bytes that are no UTF-8 are then `\\x..`. Without it the bytes go out as they are; `lossy` puts U+FFFD in
    place of what is no UTF-8 (GEN-9).
    """

    def __init__(self, write: Callable[[bytes], object], safe: bool, lossy: bool = False) -> None:
        self._write, self._safe = write, safe
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace" if lossy else "surrogateescape")
        self.written = 0

    def add(self, raw: bytes) -> None:
        """Write what is whole by now."""
        self._put(self._decoder.decode(raw))

    def close(self) -> None:
        """Write what never became whole."""
        self._put(self._decoder.decode(b"", final=True))

    def _put(self, text: str) -> None:
        if text:
            self.written += len(text)
            self._write((printable(text) if self._safe else text).encode("utf-8", "surrogateescape"))
