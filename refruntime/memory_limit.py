"""Refuse what would take more memory than this machine may give, before it is allocated.

A file may ask for far more than it holds: payloads of SLM1 overlap, and four bits become a float32. The contract bounds
single buffers (section 13, Statuses); how much all of them may take is a setting of this tool.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from refruntime.errors import ContractError

VARIABLE: Final = "REFRUNTIME_MEMORY_LIMIT"
"""Environment variable with the limit in bytes; K, M, G and T behind the number mean powers of 1024."""

_SHARE: Final = 2  # the default is one half of the memory of the machine
_UNKNOWN_MACHINE: Final = 4 * 2**30
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class BadSetting(ValueError):
    """A setting of the environment cannot be read; the message names it and says what is expected."""


def memory_limit() -> int:
    """Return how many bytes a model may take: the setting, else half of the memory that this process may use.

    BadSetting for a setting that is not a number of bytes.
    """
    text = os.environ.get(VARIABLE, "").strip().upper()
    if not text:
        return machine_memory() // _SHARE
    number, unit = (text[:-1], text[-1]) if text[-1] in _UNITS else (text, "")
    if not (number.isascii() and number.isdecimal()) or int(number) == 0:
        raise BadSetting(f"{VARIABLE}: expected a number of bytes above 0, such as 8000000000 or 8G, found {text!r}")
    return int(number) * _UNITS[unit]


def machine_memory() -> int:
    """Return the bytes of memory of this machine, or less where this process is held to less."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # a system that does not tell
        found = _UNKNOWN_MACHINE
    own = [found, *_container_limits()]
    try:
        import resource
    except ModuleNotFoundError:  # not on this system
        return min(own)
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min(own) if address_space == resource.RLIM_INFINITY else min(*own, address_space)


def _container_limits() -> Iterator[int]:
    """Yield what Linux control groups hold this process to, where they say it."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                yield int(file.read())
        except (OSError, ValueError):  # no such group, or no limit in it
            continue


@contextmanager
def within_memory(needed: int, what: str, failure: type[ContractError]) -> Iterator[None]:
    """Allocate `needed` bytes inside, or raise `failure`, which names them: beyond the limit, or beyond the machine.

    It says `limit`, because not the contract answers so but this machine.
    """
    allowed = memory_limit()
    if needed > allowed:
        raise _refused(needed, what, failure, f"at most {allowed} bytes ({VARIABLE} sets the limit)")
    with within_machine(needed, what, failure):
        yield


@contextmanager
def within_machine(needed: int, what: str, failure: type[ContractError]) -> Iterator[None]:
    """Allocate inside what `within_memory` allowed before, or raise `failure` where the machine has no more."""
    try:
        yield
    except MemoryError:
        raise _refused(needed, what, failure, "no more than this machine has left") from None


def _refused(needed: int, what: str, failure: type[ContractError], expected: str) -> ContractError:
    return failure(
        f"{what} would need more memory than there is for it",
        field="memory",
        expected=expected,
        found=f"{needed} bytes",
        limit=True,
    )
