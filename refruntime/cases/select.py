"""Which cases a pattern means: one rule for battery, goldens, recordings and excuses (golden/FORMAT.md, section 7)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase


def is_named(name: str, pattern: str) -> bool:
    """Say whether a pattern is a name, or a shell pattern of all of it; `*` and `?` fit a slash too."""
    return pattern == name or fnmatchcase(name, pattern)


def fits(name: str, rules: Collection[str], pattern: str) -> bool:
    """Say whether a pattern means a case that cites `rules`.

    A pattern is what `is_named` takes, what a name begins with up to a slash (a family, or `golden/sampling`), or a
    rule.
    """
    return is_named(name, pattern) or name.startswith(f"{pattern}/") or pattern in rules


def fits_any(name: str, rules: Collection[str], patterns: Iterable[str]) -> bool:
    """Say whether any pattern means a case; without patterns every case is meant."""
    wanted = tuple(patterns)
    return not wanted or any(fits(name, rules, pattern) for pattern in wanted)
