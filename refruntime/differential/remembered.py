"""Remember what the oracle answered, between runs: a second comparison of a case only runs the build.

The oracle's answers depend on the case, the profile and this package, and on nothing of the build (GEN-4 for its
guesses). So they are kept under the hash of exactly that: the text of every module, the versions of Python and NumPy,
the profile, the steps and the bytes of the models. Whoever changes a line of the package starts anew. They lie in the
cache folder of the person, `$XDG_CACHE_HOME/refruntime`; nothing is kept where the variable `REFRUNTIME_NO_CACHE` is
set, or where that folder cannot be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sqlite3
import weakref
import zlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from refruntime.cases.observation import Ended, NoAnswer, Observation, StatusAnswer, Trapped, ValueAnswer
from refruntime.cases.steps import Case, Step
from refruntime.contract.profile import Profile
from refruntime.resources import sources_hash

NO_CACHE: Final = "REFRUNTIME_NO_CACHE"
MOST_CASES: Final = 20_000
"""Cases that are kept of one state of the package."""

_TABLE: Final = "CREATE TABLE IF NOT EXISTS answers (name BLOB PRIMARY KEY, answers BLOB) WITHOUT ROWID"


class Remembered:
    """Answers of seq32 in a folder. Where nothing can be kept, nothing is known; that is no failure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hashes: dict[int, tuple[bytes, bytes]] = {}  # id -> bytes of a model, which stay alive, and their hash

    def __reduce__(self) -> tuple[type[Remembered], tuple[Path]]:
        """Open the file anew in another process."""
        return Remembered, (self.folder,)

    def answers(self, profile: Profile, case: Case, count: int) -> list[Observation] | None:
        """Return the answers to the first `count` steps of a case under a profile; None where they are not known."""
        packed = self._known.get(self._name(profile, case))
        if packed is None:
            return None
        rows = json.loads(zlib.decompress(packed))
        return [_observation(step, row) for step, row in zip(case.steps[:count], rows, strict=False)]

    def keep(self, profile: Profile, case: Case, answers: Sequence[Observation]) -> None:
        """Keep the answers to all steps of a case; those that a limit of this machine stopped are not kept."""
        if len(answers) < len(case.steps) or any(isinstance(answer, Ended) for answer in answers):
            return
        name, packed = (
            self._name(profile, case),
            zlib.compress(json.dumps([_row(answer) for answer in answers]).encode(), 1),
        )
        if self._file is None or len(self._known) >= MOST_CASES:
            return
        self._known[name] = packed
        try:
            self._file.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (name, packed))
        except sqlite3.Error:  # another process holds the file, or there is no room: it is computed again next time
            return

    @cached_property
    def _file(self) -> sqlite3.Connection | None:
        path = self.folder / f"{_package()}.sqlite"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in self.folder.glob("*.sqlite"):
                if old != path:
                    old.unlink(missing_ok=True)
            # whichever thread lets go of the answers last may close the file
            file = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
            weakref.finalize(self, file.close)
            file.execute("PRAGMA synchronous = OFF")
            file.execute("PRAGMA journal_mode = MEMORY")
            file.execute(_TABLE)
        except (OSError, sqlite3.Error):
            return None
        return file

    @cached_property
    def _known(self) -> dict[bytes, bytes]:
        """Return all that is kept: a few megabytes."""
        try:
            return {} if self._file is None else dict(self._file.execute("SELECT name, answers FROM answers"))
        except sqlite3.Error:
            return {}

    def _name(self, profile: Profile, case: Case) -> bytes:
        parts = [repr(profile), repr(case.steps)]
        whole = hashlib.blake2b("\n".join(parts).encode(), digest_size=24)
        for name, data in sorted(case.models.items()):
            whole.update(name.encode() + b"\0" + self._hash(data))
        return whole.digest()

    def _hash(self, data: bytes) -> bytes:
        known = self._hashes.get(id(data))
        if known is None:
            known = self._hashes[id(data)] = data, hashlib.sha256(data).digest()
        return known[1]


def remembered() -> Remembered | None:
    """Return what is remembered in the cache folder of the person; None where nothing may be kept."""
    if os.environ.get(NO_CACHE):
        return None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Remembered(Path(base) / "refruntime" / "answers")


@lru_cache(maxsize=1)
def _package() -> str:
    """Return a hash of all that answers depend on besides profile and case."""
    versions = f"{platform.python_version()} {np.__version__} {sources_hash()}"
    return hashlib.blake2b(versions.encode(), digest_size=16).hexdigest()


def _row(answer: Observation) -> list[Any]:
    _, *shown = vars(answer).values()  # all but the step
    return [type(answer).__name__, *(item.decode("latin-1") if isinstance(item, bytes) else item for item in shown)]


def _observation(step: Step, row: Sequence[Any]) -> Observation:
    match row:
        case [StatusAnswer.__name__, code, result, diagnostics]:
            return StatusAnswer(step, code, None if result is None else result.encode("latin-1"), diagnostics)
        case [ValueAnswer.__name__, value]:
            return ValueAnswer(step, value)
        case [Trapped.__name__, detail]:
            return Trapped(step, detail)
    return NoAnswer(step)
