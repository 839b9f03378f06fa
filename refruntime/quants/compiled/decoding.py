"""The kernels that decode whole blocks: every one fills values [blocks, block_size] from blocks [blocks, type_size].

Their further arguments are the tables of their type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refruntime.quants.compiled import low_bit, tabled
from refruntime.quants.compiled.lane_memory import flat, store
from refruntime.quants.compiled.lanes import LANES, pair
from refruntime.quants.compiled.loops import inlined, meaning, specialised
from refruntime.quants.compiled.runs import READERS
from refruntime.quants.compiled.widened import WIDENED, no_scales


def _decode(blocks, values, table):  # type: ignore[no-untyped-def]
    """Decode the blocks of a type that is read 32 values at a time."""
    raw, out = flat(blocks), flat(values)
    size, runs = blocks.shape[1], values.shape[1] // LANES
    for block in range(blocks.shape[0]):
        own = scales(raw, block * size, table)  # type: ignore[name-defined]  # noqa: F821
        for index in range(runs):
            lanes = values_of_run(raw, block * size, index, own)  # type: ignore[name-defined]  # noqa: F821
            store(out, (block * runs + index) * LANES, lanes)


def _values_of_run(raw, at, index, own):  # type: ignore[no-untyped-def]
    """Return the values 32 * index and following of a block, whose scales are `own`."""
    f = factors(raw, at, index, own)  # type: ignore[name-defined]  # noqa: F821
    o = offsets(raw, at, index, own)  # type: ignore[name-defined]  # noqa: F821
    q = numbers(quants(raw, at, index))  # type: ignore[name-defined]  # noqa: F821
    return combine(q, pair(f[0], f[1]), pair(o[0], o[1]))  # type: ignore[name-defined]  # noqa: F821


def reading(template: Callable[..., Any], name: str, **sizes: int) -> Any:
    """Make a kernel of a template that calls the parts of a type's reader by their names, or `values_of_run`."""
    if name in WIDENED:
        return specialised(template, scales=no_scales, values_of_run=WIDENED[name], **sizes)
    parts = READERS[name]._asdict()
    return specialised(template, **parts, values_of_run=inlined(meaning(_values_of_run, **parts)), **sizes)


def decoding(name: str) -> Any:
    """Return the kernel of a block type."""
    if name in READERS or name in WIDENED:
        return reading(_decode, name)
    return getattr(low_bit, name, None) or getattr(tabled, name)
