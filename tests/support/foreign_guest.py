"""A stored guest whose SLM1 checksum begins elsewhere: one constant of the module is another."""

from __future__ import annotations

from pathlib import Path

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.wasm import WasmEngine

START = 0xCBF29CE484222325
OTHER_START = 0xCBF29CE484222365
"""A number of as many bytes in a module."""
SHAPE = Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=8)


def constant(number: int) -> bytes:
    """Return `i64.const` of a number as it lies in a module: opcode 0x42, then signed LEB128."""
    rest, encoded = number - (number >> 63 << 64), bytearray(b"\x42")
    while not -64 <= rest < 64:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest & 0x7F)
    return bytes(encoded)


def foreign_guest(path: Path) -> bytes:
    """Return the module with another start of its checksum; the start of name hashes (SL-4) is the same number."""
    module, old, new = path.read_bytes(), constant(START), constant(OTHER_START)
    assert len(old) == len(new)
    sealed = random_model(7, SHAPE, profile=Profile.from_choices({"SL-5.start": OTHER_START}))
    place = module.find(old)
    while place >= 0:
        changed = module[:place] + new + module[place + len(old) :]
        if Client(WasmEngine(changed)).load_model(sealed) == 0:
            return changed
        place = module.find(old, place + 1)
    raise AssertionError("no constant of the guest is the start of its checksum")
