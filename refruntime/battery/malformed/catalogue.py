"""All malformed files, and the index that other projects read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from refruntime.battery.malformed.gguf import gguf_files
from refruntime.battery.malformed.recipe import Malformed
from refruntime.battery.malformed.slm1 import slm1_files
from refruntime.contract.profile import Profile


def malformed_files(profile: Profile | None = None) -> Iterator[Malformed]:
    """Yield every file: names, bytes and content are the same everywhere and always."""
    yield from gguf_files()
    yield from slm1_files(profile or Profile())


def index_entry(file: Malformed) -> dict[str, Any]:
    """Return what the index says of a file."""
    return {
        "file": file.name,
        "bytes": len(file.data),
        "sha256": hashlib.sha256(file.data).hexdigest(),
        "status": file.status.name,
        "code": int(file.status),
        "rule": file.rule,
        "check": file.check,
    }


def checks_reached(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many files reach each check of each container, in order of the files."""
    counts = Counter(
        (entry["file"].partition("/")[0], entry["check"], entry["rule"], entry["status"]) for entry in entries
    )
    return [
        {"container": container, "check": check, "rule": rule, "status": status, "files": count}
        for (container, check, rule, status), count in counts.items()
    ]
