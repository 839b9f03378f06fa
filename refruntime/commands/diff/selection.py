"""Which cases a person means: filters, and those that failed the last time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import click

from refruntime.atomic import write_whole
from refruntime.commands.shared import printable


def check_filters(patterns: Sequence[str], fitting: Mapping[str, bool], cases: Mapping[str, Sequence[str]]) -> None:
    """Refuse a filter that fits no case, with what is near to it; `cases` are the names with the rules they cite."""
    for pattern in patterns:
        if not fitting[pattern]:
            raise click.BadParameter(unknown_filter(pattern, cases), param_hint="--filter")


def unknown_filter(pattern: str, cases: Mapping[str, Sequence[str]]) -> str:
    """Say that a filter fits no case: what is near, and the families that there are."""
    families = dict.fromkeys(name.partition("/")[0] for name in cases)
    rules = dict.fromkeys(rule for cited in cases.values() for rule in cited)
    known = [*families, *rules, *cases]
    near = get_close_matches(pattern, known, 3, 0.6) or get_close_matches(pattern.upper(), rules, 3, 0.7)
    near = near or [name for name in cases if pattern and pattern.lower() in name.lower()][:3]
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{printable(pattern)!r} fits no case. {hint}Families are {', '.join(families) or 'none'}"


# The last run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LastRun:
    """The cases of one kind of comparison of one build that were not fine when they ran last, kept between runs.

    They lie in the cache folder of the person: `$XDG_CACHE_HOME/refruntime`, by default `~/.cache/refruntime`.
    """

    build: Path
    kind: str

    @property
    def path(self) -> Path:
        """Return the file."""
        key = json.dumps([str(self.build.resolve()), self.kind])
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        return Path(base) / "refruntime" / "last-failed" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def failed(self) -> frozenset[str] | None:
        """Return the names; None where no run is known, or its file cannot be read."""
        try:
            names = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return frozenset(map(str, names)) if isinstance(names, list) else None

    def remember(self, ran: Iterable[str], failed: Iterable[str]) -> None:
        """Keep what failed; of a case that did not run what was known stays. A folder that is read-only is no error."""
        names = ((self.failed() or frozenset()) - set(ran)) | set(failed)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(sorted(names)).encode() + b"\n")
        except OSError:
            return

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return those of `names` that failed, all when nothing is known; a usage error when none failed."""
        failed = self.failed()
        if failed is None:
            click.echo("no earlier run of this build is known: every case runs", err=True)
            return list(names)
        chosen = [name for name in names if name in failed]
        if not chosen:
            raise click.UsageError("--last-failed: none of these cases failed the last time.")
        return chosen
