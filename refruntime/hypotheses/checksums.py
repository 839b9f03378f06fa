"""Find the checksum formula of a build within the family of SL-5, by asking it to load files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Final

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.client import Client
from refruntime.containers.checksum import CHECKSUM_FIELD, slm1_checksum
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.engines.base import Engine, EngineError

STARTS: Final = (0xCBF29CE484222325, 0, 1, 2**64 - 1, 0x811C9DC5)
"""Starts that are tried: the FNV-1a offset bases of 64 and 32 bits, and simple numbers."""

ORDERS: Final = ("mix, rotate, multiply", "mix, multiply, rotate", "rotate, mix, multiply")
"""Orders that are tried."""

SMALLEST: Final = Shape(hidden=2, layers=1, heads=1, ffn=1, capacity=4, tied=True)


def accepted_checksums(build: Callable[[], Engine], profile: Profile) -> tuple[Profile, ...]:
    """Return the profile with every formula of SL-5 under which the build loads a file, or with "not verified".

    The given profile alone is returned when it fits; nothing when no formula does.
    """
    data = random_model(1, SMALLEST, profile=profile)
    client = Client(build())

    def loads(checksum: int) -> bool:
        try:
            return client.load_model(_with_checksum(data, checksum or 1)) == Status.Ok
        except EngineError:
            return False

    own = slm1_checksum(data, profile)
    verifies = not loads(own ^ 1) and not loads(own ^ 2)
    if loads(own) and verifies == (profile.checksum == "verified"):
        return (profile,)
    if not verifies:
        return (replace(profile, checksum="not verified"),)
    return tuple(formula for formula in formulas(profile) if loads(slm1_checksum(data, formula)))


def formulas(profile: Profile) -> Iterator[Profile]:
    """Yield the profile with every start, rotation and order of SL-5 that is tried."""
    for order, start, rotation in product(ORDERS, STARTS, range(64)):
        changes: dict[str, Any] = {"checksum_order": order, "checksum_start": start, "checksum_rotation": rotation}
        yield replace(profile, checksum="verified", **changes)


def _with_checksum(data: bytes, checksum: int) -> bytes:
    first, last = CHECKSUM_FIELD
    return data[:first] + checksum.to_bytes(8, "little") + data[last:]
