"""Write a file as a whole or not at all: the only place that replaces what was written before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

PARTIAL: Final = ".partial"
"""What the name of an unfinished file ends with; it begins with a dot and the name that it is to get."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing that becomes `path` when the block ends without an exception: OSError.

    Until then it has a name of its own in the same folder, so that two writers never share one, a full disk or an
    interrupt leaves the old file as it was, and nothing unfinished stays behind. The bytes are on the disk before the
    name is theirs. Through a link the file that it names is replaced, the link stays.
    """
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PARTIAL)
    os.close(handle)
    partial = Path(name)
    try:
        with partial.open("w+b") as file:  # opened by name, so that `file.name` is one
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(_mode_of(target))
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all: OSError. What is no regular file, such as a device or a pipe, is fed."""
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(data)
        return
    with whole_file(path) as file:
        file.write(data)


def _mode_of(target: Path) -> int:
    """Return the mode of the file that is replaced, else that of a new one."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0o022)  # reading it needs setting it
        os.umask(mask)
        return 0o666 & ~mask
