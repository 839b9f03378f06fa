"""The ledger of a campaign: results in shards that are named by their content and never changed.

A shard is written as a whole or not at all, so a full disk, an interrupt or a death leaves those before it as they are.
Its name is the hash of its bytes, so a damaged one is seen; its tasks are done again. A task that was done twice has
two equal results and counts once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from refruntime.atomic import write_whole
from refruntime.campaign.forms import fits
from refruntime.campaign.packed import canonical

CONDITIONS: Final = "CAMPAIGN.json"
SHARDS: Final = "shards"
SUFFIX: Final = ".json"
FORMAT: Final = 1
RESULTS_OF_A_SHARD: Final = 16
MOST_BYTES: Final = 256 * 2**20
"""Bytes of a file of a ledger; a shard has some hundred thousand."""


class LedgerError(ValueError):
    """A folder that holds no ledger, or the ledger of another campaign."""


@dataclass
class Ledger:
    """Results by the key of their task; in memory only where `folder` is None.

    `damaged` are shards that do not hold what their names say, `conflicts` keys of tasks with two different results.
    """

    folder: Path | None
    conditions: Mapping[str, Any]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    conflicts: set[str] = field(default_factory=set)
    duplicates: int = 0
    _unwritten: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path | None, conditions: Mapping[str, Any], forms: Sequence[Any] = (dict,)) -> Ledger:
        """Open the ledger of a folder, or begin one there: LedgerError, OSError.

        A shard with a result of none of the `forms` is damaged.
        """
        ledger = cls(folder, conditions)
        if folder is None:
            return ledger
        path = folder / CONDITIONS
        wanted = {"format": FORMAT, **conditions}
        if path.exists():
            _check_conditions(path, wanted)
        else:
            if folder.exists() and any(not name.name.startswith(".") for name in folder.iterdir()):
                raise LedgerError(
                    f"{folder} is not empty and has no {CONDITIONS}: it is no campaign; name another folder"
                )
            (folder / SHARDS).mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(wanted, indent=1, sort_keys=True).encode() + b"\n")
        (folder / SHARDS).mkdir(exist_ok=True)
        ledger._read(folder / SHARDS, forms)
        return ledger

    def add(self, key: str, result: Mapping[str, Any]) -> bool:
        """Count a result; False for a task that has one. It is written with others, or by `flush`: OSError."""
        new = self._count(key, result)
        if new:
            self._unwritten[key] = self.results[key]
        if len(self._unwritten) >= RESULTS_OF_A_SHARD:
            self.flush()
        return new

    def _count(self, key: str, result: Mapping[str, Any]) -> bool:
        known = self.results.get(key)
        if known is None:
            self.results[key] = dict(result)
            return True
        self.duplicates += 1
        if known != result:
            self.conflicts.add(key)
        return False

    def flush(self) -> None:
        """Write what is not written yet as one shard: OSError."""
        if self.folder is None or not self._unwritten:
            self._unwritten.clear()
            return
        data = canonical(self._unwritten)
        name = hashlib.sha256(data).hexdigest() + SUFFIX
        write_whole(self.folder / SHARDS / name, data)
        self._unwritten = {}

    def _read(self, shards: Path, forms: Sequence[Any]) -> None:
        for path in sorted(shards.glob(f"*{SUFFIX}")):
            results = _results_of(path)
            if results is None or not all(any(fits(each, form) for form in forms) for each in results.values()):
                self.damaged.append(path.name)
                continue
            for key, result in results.items():
                self._count(key, result)


def _results_of(path: Path) -> dict[str, Any] | None:
    """Return what a shard holds; None if that is not what its name says, or if nobody would have written it."""
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return None
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.name.removesuffix(SUFFIX):
        return None
    try:
        results = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return results if isinstance(results, dict) else None


def _check_conditions(path: Path, wanted: Mapping[str, Any]) -> None:
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise LedgerError(f"{path} holds no conditions of a campaign; remove the folder or name another one")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"{path} is not JSON: {error}; remove the folder or name another one") from error
    if not isinstance(found, dict):
        raise LedgerError(f"{path} holds no conditions of a campaign; remove the folder or name another one")
    for name in sorted(wanted.keys() | found.keys()):
        if found.get(name) != json.loads(json.dumps(wanted.get(name))):
            old, new = (_short(side.get(name)) for side in (found, wanted))
            raise LedgerError(
                f"{path} is of another campaign: {name} is {old} there and {new} here; name another folder"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "..."
