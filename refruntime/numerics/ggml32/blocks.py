"""Take weights apart into the integers and scales that ggml's dots multiply separately.

A block type stores scale * integer (+ minimum). Decoding a block whose stored scale is 1 gives the integers, so the
decoders of `quants` serve here too; where a stored factor is a fraction, integers are counted in units of it.
Source of what is multiplied with what: the generic dots of ggml's `ggml-cpu/quants.c`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.fields import half, nibbles_in_turn
from refruntime.quants.ggml import GgmlType
from refruntime.quants.non_linear import FP4_PAIRS, HALF_POWERS_OF_TWO, HALF_SCALES, IQ4_PAIRS

Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Int16 = NDArray[np.int16]
Integers = NDArray[np.int8] | NDArray[np.int16]

HALF_ONE: Final = np.array([0x00, 0x3C], np.uint8)  # 1.0 in half precision
HALF_MINUS_ONE: Final = np.array([0x00, 0xBC], np.uint8)


@dataclass(frozen=True)
class BlockForm:
    """How a block type is multiplied: its `activation`, and `order`, which names a function of `dots`.

    `scale` and `minimum` are the bytes at which the half-precision scale and minimum are stored. `unit` is how many
    integers make 1; sums are divided by it at the end, or (`unit_inside`) before they are scaled.
    """

    activation: str
    order: str
    scale: int = 0
    minimum: int | None = None
    unit: int = 1
    unit_inside: bool = False


FORMS: Final[dict[str, BlockForm]] = {
    "q4_0": BlockForm("q8_0", "sum times scales"),
    "q4_1": BlockForm("q8_1", "scales times sum, plus minimum", 0, 2),
    "q5_0": BlockForm("q8_0", "scales times sum"),
    "q5_1": BlockForm("q8_1", "scales times sum, plus minimum", 0, 2),
    "q8_0": BlockForm("q8_0", "scales times sum"),
    "q2_k": BlockForm("q8_k", "scales times sum, less minima", 80, 82),
    "q3_k": BlockForm("q8_k", "eight lanes", 108),
    "q4_k": BlockForm("q8_k", "eight lanes, less minima", 0, 2),
    "q5_k": BlockForm("q8_k", "eight lanes, less minima", 0, 2),
    "q6_k": BlockForm("q8_k", "eight lanes", 208),
    "iq1_s": BlockForm("q8_k", "scales times sum", unit=8, unit_inside=True),
    "iq1_m": BlockForm("q8_k", "scales times sum", unit=8, unit_inside=True),
    "iq2_xxs": BlockForm("q8_k", "scales times sum", unit=8),
    "iq2_xs": BlockForm("q8_k", "scales times sum", unit=8),
    "iq2_s": BlockForm("q8_k", "scales times sum", unit=8),
    "iq3_xxs": BlockForm("q8_k", "scales times sum", unit=4),
    "iq3_s": BlockForm("q8_k", "scales times sum"),
    "iq4_nl": BlockForm("q8_0", "scales times sum"),
    "iq4_xs": BlockForm("q8_k", "groups with scales"),
    "mxfp4": BlockForm("q8_0", "scales times sum"),
    "nvfp4": BlockForm("q8_0", "scales times sum"),
    "q1_0": BlockForm("q8_0", "parts of a block"),
    "q2_0": BlockForm("q8_0", "parts of a block"),
    "tq1_0": BlockForm("q8_k", "scales times sum", 52),
    "tq2_0": BlockForm("q8_k", "scales times sum", 64),
}
"""Every block type that holds weights."""

FIT_A_BYTE: Final = frozenset(name for name, form in FORMS.items() if form.activation != "q8_k") | {
    "iq4_xs",
    "tq1_0",
    "tq2_0",
}
"""Types whose integers are not multiplied with scales of groups: half the memory, which is what products wait for."""


@dataclass(frozen=True)
class IntegerBlocks:
    """Rows of a block type: `integers` int8 or int16 [out, blocks, size] and `scales` float32 [out, blocks].

    `minimum_scales` [out, blocks] scale `minima` int16 [out, blocks, size / 16], or are the minima where there are
    none; `group_scales` int16 [out, blocks, groups] multiply the scale.
    """

    form: BlockForm
    integers: Integers
    scales: Float32
    minimum_scales: Float32 | None = None
    minima: Int16 | None = None
    group_scales: Int16 | None = None

    def mapped(self, change: Callable[[Any], Any]) -> IntegerBlocks:
        """Return the blocks with every array changed in the same way."""
        optional = (self.minimum_scales, self.minima, self.group_scales)
        changed = (None if part is None else change(part) for part in optional)
        return IntegerBlocks(self.form, change(self.integers), change(self.scales), *changed)


def take_apart(ggml_type: GgmlType, rows: Bytes) -> IntegerBlocks:
    """Take stored rows apart: uint8 [out, bytes of a row] -> integers and scales."""
    form = FORMS[ggml_type.name]
    blocks = rows.reshape(-1, ggml_type.type_size)  # [out * blocks, type_size]
    special = _SPECIAL.get(ggml_type.name)
    parts = special(blocks) if special is not None else _usual(ggml_type, form, blocks)
    integers: Integers = parts[0].astype(np.int8) if ggml_type.name in FIT_A_BYTE else parts[0]
    return IntegerBlocks(form, integers, *parts[1:]).mapped(lambda part: part.reshape(len(rows), -1, *part.shape[1:]))


Parts = tuple[Int16, Float32, Float32 | None, Int16 | None, Int16 | None]


def _usual(ggml_type: GgmlType, form: BlockForm, blocks: Bytes) -> Parts:
    integers = form.unit * _decoded(ggml_type, blocks, form, HALF_ONE, 0)
    scales = half(blocks, form.scale)[:, 0]
    if form.minimum is None:
        return integers.astype(np.int16), scales, None, None, None
    minimum_scales = half(blocks, form.minimum)[:, 0]
    if form.activation == "q8_1":
        return integers.astype(np.int16), scales, minimum_scales, None, None
    minima = _decoded(ggml_type, blocks, form, 0, HALF_MINUS_ONE)[:, ::16]
    return integers.astype(np.int16), scales, minimum_scales, minima.astype(np.int16), None


def _decoded(ggml_type: GgmlType, blocks: Bytes, form: BlockForm, scale: Bytes | int, minimum: Bytes | int) -> Float32:
    """Decode blocks with another scale and minimum."""
    if ggml_type.decode is None:
        raise ValueError(f"ggml type {ggml_type.name} is {ggml_type.refusal}")
    changed = blocks.copy()
    changed[:, form.scale : form.scale + 2] = scale
    if form.minimum is not None:
        changed[:, form.minimum : form.minimum + 2] = minimum
    values = np.empty((len(blocks), ggml_type.block_size), np.float32)
    ggml_type.decode(changed, values)
    return values


def _iq1_m(blocks: Bytes) -> Parts:
    """The bits of the scale lie on top of four words."""
    from refruntime.quants.grids import decode_iq1_m

    words = blocks[:, 48:].view("<u2")  # [blocks, 4]
    bits = np.bitwise_or.reduce(words >> np.uint16(12) << np.array([0, 4, 8, 12], np.uint16), axis=1, dtype=np.uint16)
    changed = blocks.copy()
    ones = np.array([0x0000, 0x0000, 0xC000, 0x3000], np.uint16)  # the nibbles of 0x3c00, the lowest first
    changed[:, 48:] = (words & np.uint16(0x0FFF) | ones).view(np.uint8).reshape(len(blocks), 8)
    values = np.empty((len(blocks), 256), np.float32)
    decode_iq1_m(changed, values)
    return (8 * values).astype(np.int16), bits.view(np.float16).astype(np.float32), None, None, None


def _iq4_xs(blocks: Bytes) -> Parts:
    """Groups of 32 have 6-bit scales of their own, which multiply the product of the scales."""
    high = blocks[:, 2:4].view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16) & np.uint16(3)  # [blocks, 8]
    scales = (nibbles_in_turn(blocks[:, 4:8]) | high << np.uint16(4)).astype(np.int16) - np.int16(32)
    integers = _halves(IQ4_PAIRS, blocks[:, 8:], 16).reshape(len(blocks), 256)
    return integers, half(blocks, 0)[:, 0], None, None, scales


def _mxfp4(blocks: Bytes) -> Parts:
    integers = _halves(FP4_PAIRS, blocks[:, 1:], 16).reshape(len(blocks), 32)
    return integers, HALF_POWERS_OF_TWO[blocks[:, 0]], None, None, None


def _nvfp4(blocks: Bytes) -> Parts:
    """Four groups of 16 count as blocks."""
    integers = _halves(FP4_PAIRS, blocks[:, 4:], 8).reshape(-1, 16)
    return integers, HALF_SCALES[blocks[:, :4]].reshape(-1), None, None, None


def _halves(pairs: NDArray[np.int8], packed: Bytes, width: int) -> Int16:
    """Look runs of bytes up: the low nibbles of each run of `width` bytes, then its high ones."""
    found: Int16 = pairs[packed.reshape(len(packed), -1, width)].astype(np.int16)  # [blocks, runs, width, 2]
    return found.swapaxes(2, 3)


_SPECIAL: Final[dict[str, Callable[[Bytes], Parts]]] = {
    "iq1_m": _iq1_m,
    "iq4_xs": _iq4_xs,
    "mxfp4": _mxfp4,
    "nvfp4": _nvfp4,
}
