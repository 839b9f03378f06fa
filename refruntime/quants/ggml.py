"""List every ggml tensor type once: number, name, block layout and, where there is one, its decoder to float32.

Source of numbers, names and sizes: ggml's `ggml.h` and its type traits. A type without a decoder is refused by name
(UnsupportedDType, GG-3); adding one means one decoder and its name in this table, and a kernel in `compiled` if it has
blocks. The decoders: `plain` numbers, `legacy` blocks of 32, `k_quants`, `low_bit` (at most two bits a value),
`non_linear` (a table of 16 values), `grids` (several values at once).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.quants import grids, k_quants, legacy, low_bit, non_linear, plain

Decoder = Callable[[NDArray[np.uint8], NDArray[np.float32]], None]
"""Fill float32 [blocks, block_size] from uint8 [blocks, type_size], with the bits of ggml's `to_float` (GG-8)."""

CHUNK_ELEMENTS: Final = 1 << 18
"""Elements decoded at a time: few enough that temporaries stay in the cache and small beside the result, and enough
that threads seldom meet at the interpreter's lock."""
THREAD_ELEMENTS: Final = 1 << 20
"""Elements for each thread from which a second one pays."""
COMPILED_ELEMENTS: Final = 1 << 21
"""Elements of a tensor, or of a part of one, from which the compiled loops are used unasked."""
LOADING_PAYS: Final = 1 << 27
"""Elements of such tensors that NumPy decodes first: it takes as long for them as loading the compiled loops does."""
KERNELS: Final = ("auto", "numpy", "numba")


@dataclass(frozen=True)
class GgmlType:
    """One tensor type: `block_size` elements are stored in `type_size` bytes; both are 0 for removed types."""

    number: int
    name: str
    block_size: int
    type_size: int
    decode: Decoder | None = None

    @property
    def refusal(self) -> str:
        """Say why a type without a decoder is refused."""
        if self.block_size == 0:
            return "removed from ggml"
        return "an intermediate form that ggml computes with, not one that it stores weights in"


WIDENED_TOGETHER: Final = 32
"""Numbers of these types that loops read as one block."""


def in_blocks(ggml_type: GgmlType, columns: int) -> GgmlType | None:
    """Return a type as loops read rows of so many columns, in blocks; None for plain numbers that they do not read."""
    if ggml_type.block_size > 1:
        return ggml_type
    if ggml_type.name not in plain.IN_PAIRS_OF_BYTES or columns % WIDENED_TOGETHER:
        return None
    return replace(ggml_type, block_size=WIDENED_TOGETHER, type_size=2 * WIDENED_TOGETHER)


class StoredRows(NamedTuple):
    """A matrix as a file stores it: its type and the bytes of its rows, uint8 [out, bytes of a row]."""

    type: GgmlType
    rows: NDArray[np.uint8]


GGML_TYPES: Final[Mapping[int, GgmlType]] = {
    each.number: each
    for each in (
        GgmlType(0, "f32", 1, 4, plain.decode_f32),
        GgmlType(1, "f16", 1, 2, plain.decode_f16),
        GgmlType(2, "q4_0", 32, 18, legacy.decode_q4_0),
        GgmlType(3, "q4_1", 32, 20, legacy.decode_q4_1),
        GgmlType(4, "q4_2", 0, 0),
        GgmlType(5, "q4_3", 0, 0),
        GgmlType(6, "q5_0", 32, 22, legacy.decode_q5_0),
        GgmlType(7, "q5_1", 32, 24, legacy.decode_q5_1),
        GgmlType(8, "q8_0", 32, 34, legacy.decode_q8_0),
        GgmlType(9, "q8_1", 32, 36),
        GgmlType(10, "q2_k", 256, 84, k_quants.decode_q2_k),
        GgmlType(11, "q3_k", 256, 110, k_quants.decode_q3_k),
        GgmlType(12, "q4_k", 256, 144, k_quants.decode_q4_k),
        GgmlType(13, "q5_k", 256, 176, k_quants.decode_q5_k),
        GgmlType(14, "q6_k", 256, 210, k_quants.decode_q6_k),
        GgmlType(15, "q8_k", 256, 292),
        GgmlType(16, "iq2_xxs", 256, 66, grids.decode_iq2_xxs),
        GgmlType(17, "iq2_xs", 256, 74, grids.decode_iq2_xs),
        GgmlType(18, "iq3_xxs", 256, 98, grids.decode_iq3_xxs),
        GgmlType(19, "iq1_s", 256, 50, grids.decode_iq1_s),
        GgmlType(20, "iq4_nl", 32, 18, non_linear.decode_iq4_nl),
        GgmlType(21, "iq3_s", 256, 110, grids.decode_iq3_s),
        GgmlType(22, "iq2_s", 256, 82, grids.decode_iq2_s),
        GgmlType(23, "iq4_xs", 256, 136, non_linear.decode_iq4_xs),
        GgmlType(24, "i8", 1, 1, plain.decode_i8),
        GgmlType(25, "i16", 1, 2, plain.decode_i16),
        GgmlType(26, "i32", 1, 4, plain.decode_i32),
        GgmlType(27, "i64", 1, 8, plain.decode_i64),
        GgmlType(28, "f64", 1, 8, plain.decode_f64),
        GgmlType(29, "iq1_m", 256, 56, grids.decode_iq1_m),
        GgmlType(30, "bf16", 1, 2, plain.decode_bf16),
        GgmlType(31, "q4_0_4_4", 0, 0),
        GgmlType(32, "q4_0_4_8", 0, 0),
        GgmlType(33, "q4_0_8_8", 0, 0),
        GgmlType(34, "tq1_0", 256, 54, low_bit.decode_tq1_0),
        GgmlType(35, "tq2_0", 256, 66, low_bit.decode_tq2_0),
        GgmlType(36, "iq4_nl_4_4", 0, 0),
        GgmlType(37, "iq4_nl_4_8", 0, 0),
        GgmlType(38, "iq4_nl_8_8", 0, 0),
        GgmlType(39, "mxfp4", 32, 17, non_linear.decode_mxfp4),
        GgmlType(40, "nvfp4", 64, 36, non_linear.decode_nvfp4),
        GgmlType(41, "q1_0", 128, 18, low_bit.decode_q1_0),
        GgmlType(42, "q2_0", 64, 18, low_bit.decode_q2_0),
    )
}
"""Every type by number."""

FORK_TYPES: Final[Mapping[int, str]] = {
    36: "i2_s of bitnet.cpp: three-valued weights with one scale for a tensor",
    142: "pq2_0 of the PrismML fork: two bits a weight in groups of 128, in a rotated basis",
    143: "ptq1_0 of the PrismML fork: three-valued weights in groups of 128, in a rotated basis",
}
"""Numbers that a fork of llama.cpp gave to types of its own, which ggml does not read."""


def dequantize(
    ggml_type: GgmlType,
    raw: bytes | memoryview | NDArray[np.uint8],
    shape: Sequence[int],
    threads: int | None = None,
    kernels: str = "auto",
) -> NDArray[np.float32]:
    """Decode stored bytes into float32 values of `shape`, row-major (GG-8).

    Peak memory is the result plus one chunk for each of the `threads`, by default as many as there are processors,
    at most 8. `kernels`: "numpy", the definition; "numba", compiled loops, ImportError where it cannot be loaded;
    "auto", compiled loops for large tensors where numba is installed, once there were so many that loading it pays.
    None of these changes a bit. ValueError when the type has no decoder or the size does not fit; files have been
    checked before (UnsupportedDType, InvalidTensorDirectory).
    """
    if kernels not in KERNELS:
        raise ValueError(f"unknown kernels {kernels!r}; expected one of {', '.join(KERNELS)}")
    if ggml_type.decode is None:
        raise ValueError(f"ggml type {ggml_type.name} is {ggml_type.refusal}")
    stored = np.frombuffer(raw, np.uint8)
    count, size = prod(shape), ggml_type.block_size
    if count % size or stored.size != count // size * ggml_type.type_size:
        raise ValueError(f"{stored.size} bytes of {ggml_type.name} do not make {count} elements")
    blocks = stored.reshape(-1, ggml_type.type_size)  # [blocks, type_size]
    values = np.empty((blocks.shape[0], size), np.float32)  # [blocks, block_size]
    decode = _decoder(ggml_type, ggml_type.decode, count, kernels)
    step = CHUNK_ELEMENTS // size

    def decode_part(start: int, stop: int) -> None:
        with np.errstate(all="ignore"):  # infinite and NaN scales are data, as in ggml; the state belongs to a thread
            for at in range(start, stop, step):
                end = min(at + step, stop)
                decode(blocks[at:end], values[at:end])

    workers = min(threads if threads is not None else min(os.cpu_count() or 1, 8), count // THREAD_ELEMENTS)
    if workers > 1:
        borders = [blocks.shape[0] * part // workers for part in range(workers + 1)]
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(decode_part, borders[:-1], borders[1:]):
                pass  # an exception of a worker is raised here
    else:
        decode_part(0, blocks.shape[0])
    return values.reshape(tuple(shape))


@dataclass
class _Spent:
    """How many elements of large tensors this process decoded with NumPy."""

    elements: int = 0

    def pays(self, count: int) -> bool:
        """Say whether the compiled loops pay for `count` more elements; count them if not."""
        if count < COMPILED_ELEMENTS:
            return False
        if self.elements >= LOADING_PAYS:
            return True
        self.elements += count
        return False


_SPENT = _Spent()


def _decoder(ggml_type: GgmlType, decode: Decoder, count: int, kernels: str) -> Decoder:
    """Return `decode`, or its compiled form if that was asked for or pays by now."""
    if kernels == "numpy" or (kernels == "auto" and not _SPENT.pays(count)):
        return decode
    if ggml_type.block_size == 1:
        return decode
    try:
        from refruntime.quants import compiled

        return compiled.decoder(ggml_type.name) or decode
    except ImportError:
        if kernels == "numba":
            raise
        return decode
