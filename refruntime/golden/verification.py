"""What `verify` found in a corpus, and how much it looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from refruntime.contract.rules import load_rules
from refruntime.golden.reading import GoldenError, shown


@dataclass(frozen=True)
class VerifyFinding:
    """Something wrong: the file (with the place inside it), what was expected, and what was found."""

    file: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}: expected {self.expected}, found {self.found}"


@dataclass
class Verification:
    """What was found, and how much was looked at."""

    findings: list[VerifyFinding] = field(default_factory=list)
    cases: int = 0
    steps: int = 0
    samples: int = 0
    hashes: int = 0
    files: int = 0
    total_bytes: int = 0
    rules_pinned: int = 0
    rules_unpinned: int = 0
    root: str = ""
    contract: frozenset[str] = field(default_factory=lambda: frozenset(load_rules()), repr=False)

    def add(self, file: str, expected: str, found: str) -> None:
        """Note a finding."""
        self.findings.append(VerifyFinding(file, expected, found))

    def note(self, error: GoldenError | OSError) -> None:
        """Note what could not be read."""
        if isinstance(error, GoldenError):
            self.add(f"{error.file}: {error.path}" if error.path else error.file, error.expected, error.found)
        else:
            self.add(str(error.filename), "a file that can be read", error.strerror or str(error))

    def same(self, file: str, what: str, expected: object, found: object) -> None:
        """Compare a recomputed value with the stored one."""
        self.hashes += 1
        if expected != found:
            self.add(file, f"{what} {shown(expected)}", shown(found))
