"""What a malformed file is: its bytes, the one thing that is wrong, and what the contract says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refruntime.contract.status import Status


@dataclass(frozen=True)
class Malformed:
    """One file. `check` names the check that it has to reach, `status` and `rule` what the contract says then.

    A build without one of the features `needs` may refuse the file before that check (ID-1).
    The status is written in the recipe from the text of the rule; no loader is asked for it.
    """

    name: str
    check: str
    status: Status
    rule: str
    data: bytes
    needs: tuple[str, ...] = ()


def cuts(prefix: str, data: bytes, sizes: Sequence[int], check: str, status: Status, rule: str) -> Iterator[Malformed]:
    """Yield the file cut to each of the sizes."""
    for size in sizes:
        yield Malformed(f"{prefix}/cut-to-{size}", check, status, rule, data[:size])
