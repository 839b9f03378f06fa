"""A folder of goldens: its files by name, read with bounds and written so that no half file is ever left."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from refruntime.atomic import PARTIAL, write_whole
from refruntime.cases.select import fits_any
from refruntime.golden.case import IDENTIFIER, GoldenCase, parse_case
from refruntime.golden.reading import GoldenError

MAX_FILE_BYTES: Final = 1 << 27
MAX_JSON_BYTES: Final = 1 << 24
CASE_FILES: Final = ("case.json", "expect.json", "ids.npy", "weights.npy")


@dataclass
class Corpus:
    """The goldens below `root`. Artifacts are read once and kept."""

    root: Path
    _artifacts: dict[str, bytes] = field(default_factory=dict)

    def ids(self) -> list[str]:
        """Return the ids of all cases that have a `case.json`, in the order of their code points."""
        found = sorted(path.parent.relative_to(self.root / "cases") for path in self.root.glob("cases/*/*/case.json"))
        return sorted(path.as_posix() for path in found)

    def case(self, identifier: str) -> GoldenCase:
        """Read a `case.json`: GoldenError, OSError."""
        if not IDENTIFIER.fullmatch(identifier):
            raise GoldenError(f"cases/{identifier}", "", "an id FAMILY/NAME of a-z, 0-9, `-` and `.`", repr(identifier))
        return parse_case(identifier, self.read(f"cases/{identifier}/case.json"))

    def artifact(self, name: str) -> bytes:
        """Return the bytes of a model file, by its path below the root: OSError, GoldenError."""
        if name not in self._artifacts:
            self._artifacts[name] = self.read(name)
        return self._artifacts[name]

    def forget(self) -> None:
        """Forget the artifacts that were read, because files below `models/` were written."""
        self._artifacts.clear()

    def path(self, name: str) -> Path:
        """Return where a file lies, by its path below the root."""
        return self.root / name

    def read(self, name: str) -> bytes:
        """Read a file of bounded size: OSError when it cannot be read, GoldenError when it is too long."""
        path, most = self.path(name), MAX_JSON_BYTES if name.endswith(".json") else MAX_FILE_BYTES
        if path.exists() and not path.is_file() and not path.is_dir():  # opening a pipe would wait for its other end
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(most + 1)
        if len(data) > most:
            raise GoldenError(name, "", f"at most {most} bytes", str(size))
        return data

    def read_if_there(self, name: str) -> bytes | None:
        """Read a file, None when it does not exist: OSError, GoldenError."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def files(self) -> Iterator[str]:
        """Yield every file below the root by its path, links included, in order."""
        for folder, names, files in os.walk(self.root):
            names.sort()
            base = Path(folder).relative_to(self.root)
            links = [name for name in names if (Path(folder) / name).is_symlink()]
            yield from ((base / name).as_posix() for name in sorted([*files, *links]))

    def write(self, name: str, data: bytes) -> bool:
        """Write a file as a whole or not at all; say whether it changed."""
        if self.read_if_there(name) == data:
            return False
        write_whole(self.path(name), data)
        return True

    def remove(self, name: str) -> bool:
        """Remove a file if it is there."""
        there = self.path(name).exists()
        self.path(name).unlink(missing_ok=True)
        return there

    def clean(self) -> None:
        """Remove what an interrupted write left."""
        for path in self.root.rglob(f".*{PARTIAL}"):
            path.unlink(missing_ok=True)


def select_ids(rules: Mapping[str, tuple[str, ...]], patterns: tuple[str, ...]) -> list[str]:
    """Return the ids that any pattern means, all without patterns; `rules` are the rules of each id."""
    return sorted(name for name, cited in rules.items() if fits_any(name, cited, patterns))
