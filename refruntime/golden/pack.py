"""One archive of a corpus, the same bytes on every machine.

It is a plain `ustar` file (POSIX.1-1988), not compressed: compressors give other bytes with another version. Names are
sorted by code point; time, owner and mode are fixed. The headers are written here, because those of a library may
change with it.
"""

from __future__ import annotations

from typing import Final

from refruntime.golden.corpus import Corpus
from refruntime.golden.index import INDEX, parse_index

BLOCK: Final = 512
NAME_BYTES: Final = 100
PREFIX_BYTES: Final = 155


def archive_name(corpus: Corpus) -> str:
    """Return the name of the archive without its suffix; it is also the folder inside."""
    index = parse_index(corpus.read(INDEX))
    return f"refruntime-golden-{index['contract']}-{index['root'][:12]}"


def pack(corpus: Corpus) -> bytes:
    """Return the archive of every file of a corpus that was verified."""
    folder = archive_name(corpus)
    parts = []
    for name in sorted(corpus.files()):
        data = corpus.read(name)
        parts += [_header(f"{folder}/{name}", len(data)), data, bytes(-len(data) % BLOCK)]
    return b"".join([*parts, bytes(2 * BLOCK)])


def _header(path: str, size: int) -> bytes:
    """Return the header of a regular file: mode 644, owner 0, time 0."""
    prefix, name = _split(path.encode("utf-8"))
    fields = (
        name.ljust(NAME_BYTES, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,  # the checksum counts as spaces while it is computed
        b"0",
        bytes(100),
        b"ustar\0" + b"00",
        bytes(32 + 32),
        b"0000000\0",
        b"0000000\0",
        prefix.ljust(PREFIX_BYTES, b"\0"),
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Return prefix and name of a path: a name of up to 100 bytes, cut at a slash if it is longer."""
    if len(path) <= NAME_BYTES:
        return b"", path
    at = path.find(b"/", len(path) - NAME_BYTES - 1)
    if at < 0 or at > PREFIX_BYTES:
        raise ValueError(f"the path {path.decode()} is too long for an archive")
    return path[:at], path[at + 1 :]
