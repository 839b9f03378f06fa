"""Weights that stay where the file has them: which matrices can, and when that is worth it.

What `resident` says: `float32`, every weight is decoded once when a model is bound; `stored`, blocks of quantised
weights stay as they are in the file and are multiplied from there; `auto`, decided for each model when it is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.sources import RowSource, StoredSource, row_ranges
from refruntime.quants.ggml import GgmlType, in_blocks

Float32 = NDArray[np.float32]

RESIDENT: Final = ("auto", "float32", "stored")
STORED_PAYS: Final = 1 << 24
"""Quantised weights of a model from which leaving them stored pays: the loops that read blocks take time to load."""


class Inventory(NamedTuple):
    """The weights of a model's matrices that are stored in blocks, and whether all of them fit as float32."""

    in_blocks: int
    fits: bool = True

    @property
    def many(self) -> bool:
        """Say whether there are so many blocks that loading the loops which read them pays."""
        return self.in_blocks >= STORED_PAYS


def checked_residence(resident: str) -> str:
    """Return the name of a residence; ValueError for an unknown one."""
    if resident not in RESIDENT:
        raise ValueError(f"unknown residence {resident!r}; expected one of {', '.join(RESIDENT)}")
    return resident


def residence(inventory: Inventory, compiled: bool) -> str:
    """Decide `auto`: stored where compiled loops read many blocks, or where float32 would take too much memory."""
    return "stored" if (compiled and inventory.many) or not inventory.fits else "float32"


class BlocksInPlace(NamedTuple):
    """One matrix: its type and its blocks, uint8 [out, blocks of a row, bytes of a block]."""

    type: GgmlType
    blocks: NDArray[np.uint8]

    @property
    def outputs(self) -> int:
        """Return the number of rows."""
        return int(self.blocks.shape[0])

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return int(self.blocks.shape[0] * self.blocks.shape[1]) * self.type.block_size


@dataclass(frozen=True)
class Part:
    """One of several matrices side by side: `blocks` where they are stored, else `plain` in a profile's own form."""

    begin: int
    source: RowSource
    blocks: BlocksInPlace | None
    plain: Any

    @property
    def end(self) -> int:
        """Return the output behind the last one."""
        return self.begin + self.source.shape[0]


@dataclass(frozen=True)
class InPlaceMatrix:
    """Matrices [out, in] that share their input, where the file has them."""

    parts: tuple[Part, ...]

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Return [sum of outs, in]."""
        return self.parts[-1].end, self.parts[0].source.shape[1]

    @cached_property
    def nbytes(self) -> int:
        """Return the bytes that a product reads."""
        return sum(part.plain.nbytes if part.blocks is None else part.blocks.blocks.nbytes for part in self.parts)

    def rows(self, ids: Sequence[int]) -> Float32:
        """Return decoded rows of the only matrix, such as embeddings: ids [n] -> [n, in]."""
        (part,) = self.parts
        return np.concatenate([part.source.rows(row, row + 1) for row in ids])

    def decoded(self) -> Iterator[tuple[int, Any, bool]]:
        """Yield (first output, matrix, plain): decoded rows [m, in] a bounded part at a time, or a plain part whole."""
        for part in self.parts:
            if part.blocks is None:
                yield part.begin, part.plain, True
                continue
            for start, stop in row_ranges(part.source.shape):
                yield part.begin + start, part.source.rows(start, stop), False


def has_blocks(source: RowSource) -> bool:
    """Say whether loops can read a matrix, or a stack of them, where it is stored."""
    return isinstance(source, StoredSource) and in_blocks(source.stored().type, source.shape[-1]) is not None


def blocks_of(source: RowSource) -> BlocksInPlace | None:
    """Return the blocks of a matrix, None where it has none: other plain numbers, or a container that cannot say."""
    if not isinstance(source, StoredSource) or len(source.shape) != 2:
        return None
    stored = source.stored()
    kind = in_blocks(stored.type, source.shape[1])
    if kind is None:
        return None
    return BlocksInPlace(kind, stored.rows.reshape(stored.rows.shape[0], -1, kind.type_size))


def in_place(sources: Sequence[RowSource], plain: Callable[[Sequence[RowSource]], Any]) -> InPlaceMatrix:
    """Take matrices where they are stored; `plain` stores one that has no blocks in the form of a numeric profile."""
    parts, begin = [], 0
    for source in sources:
        blocks = blocks_of(source)
        parts.append(Part(begin, source, blocks, None if blocks is not None else plain([source])))
        begin += source.shape[0]
    return InPlaceMatrix(tuple(parts))
