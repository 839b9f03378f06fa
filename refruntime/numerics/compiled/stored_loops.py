"""The loops that multiply from the blocks of a file: what a block means is worked out in registers or in the cache.

Two for each block type. `dots` is for `fast`: one position, sums in any order. `columns` is for seq32: the values that
decoding gives, multiplied and added in the order and with the roundings of the contract (FW-4), so that its bits are
those of decoding first. Types that are not read 32 values at a time (`runs`) are decoded block by block into the cache
by the kernels that decode whole tensors. Room to work in comes from the caller, which has it without numba's runtime.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from refruntime.numerics.compiled.stored import LANES, ROW_STRIDE, RUN_WIDTH, STRIDE, WIDTH
from refruntime.quants.compiled.decoding import decoding, reading
from refruntime.quants.compiled.lane_memory import (
    TILE,
    flat,
    folded,
    halves_at,
    load,
    load_bytes,
    number_at,
    prefetch,
    put_number,
    store,
    store_bytes,
    transpose,
    transpose_bytes,
)
from refruntime.quants.compiled.lanes import add, multiply, multiply_add, splat, total
from refruntime.quants.compiled.loops import inlined, meaning, specialised
from refruntime.quants.compiled.runs import READERS
from refruntime.quants.compiled.turned import TURNED, as_it_is, not_scaled
from refruntime.quants.compiled.widened import WIDENED
from refruntime.quants.ggml import GGML_TYPES, WIDENED_TOGETHER, in_blocks

BY_NAME: Final = {kind.name: in_blocks(kind, WIDENED_TOGETHER) or kind for kind in GGML_TYPES.values()}
ZERO: Final = np.float32(0)
LINE: Final = 64  # bytes that memory gives at once


def _dots_of_runs(result, blocks, x, begin, end, tables, bytes_room, room):  # type: ignore[no-untyped-def]
    """Set result[r] to the product of row r with x [in] for r = begin .. end - 1: blocks [out, blocks, bytes]."""
    raw, row_bytes = flat(blocks), blocks.shape[1] * SIZE  # type: ignore[name-defined]  # noqa: F821
    for row in range(begin, end):
        at, column, sums = row * row_bytes, 0, splat(ZERO)
        for _ in range(blocks.shape[1]):
            own = scales(raw, at, tables[0])  # type: ignore[name-defined]  # noqa: F821
            if RUNS == 1:  # type: ignore[name-defined]  # noqa: F821
                sums = multiply_add(sums, values_of_run(raw, at, 0, own), load(x, column))  # type: ignore[name-defined]  # noqa: F821
                column += LANES
            else:  # four by four: shifts that depend on the number of a run are then known to the compiler
                for index in range(0, RUNS, 4):  # type: ignore[name-defined]  # noqa: F821
                    first = values_of_run(raw, at, index, own)  # type: ignore[name-defined]  # noqa: F821
                    second = values_of_run(raw, at, index + 1, own)  # type: ignore[name-defined]  # noqa: F821
                    third = values_of_run(raw, at, index + 2, own)  # type: ignore[name-defined]  # noqa: F821
                    fourth = values_of_run(raw, at, index + 3, own)  # type: ignore[name-defined]  # noqa: F821
                    sums = multiply_add(sums, first, load(x, column))
                    sums = multiply_add(sums, second, load(x, column + LANES))
                    sums = multiply_add(sums, third, load(x, column + 2 * LANES))
                    sums = multiply_add(sums, fourth, load(x, column + 3 * LANES))
                    column += 4 * LANES
            at += SIZE  # type: ignore[name-defined]  # noqa: F821
        result[row] = total(sums)


def _dots_of_blocks(result, blocks, x, begin, end, tables, bytes_room, room):  # type: ignore[no-untyped-def]
    """Do what `_dots_of_runs` does for a type that is decoded block by block."""
    decoded = room[:BLOCK]  # type: ignore[name-defined]  # noqa: F821
    values = folded(decoded, BLOCK)  # type: ignore[name-defined]  # noqa: F821
    for row in range(begin, end):
        column, sums = 0, splat(ZERO)
        for block in range(blocks.shape[1]):
            decode(blocks[row, block : block + 1], values, *tables)  # type: ignore[name-defined]  # noqa: F821
            for at in range(0, decoded.size, LANES):
                sums = multiply_add(sums, load(decoded, at), load(x, column))
                column += LANES
        result[row] = total(sums)


@inlined
def _add_columns(sums, columns, x, column, inputs):  # type: ignore[no-untyped-def]
    """Add to the sums [n, 32] of 32 rows the products of 32 columns [32, 32] with those of x from `column` on."""
    at = column
    for position in range(0, sums.size, LANES):
        lanes = load(sums, position)
        for own in range(LANES):
            lanes = add(lanes, multiply(load(columns, own * LANES), splat(number_at(x, at + own))))
        store(sums, position, lanes)
        at += inputs


@inlined
def _write(result, sums, first, count, outputs):  # type: ignore[no-untyped-def]
    """Write the sums [n, 32] of `count` rows to their places in the flat result [n, out]."""
    for position in range(sums.size // LANES):
        for row in range(count):
            result[position * outputs + first + row] = sums[position * LANES + row]


def _take_apart(raw, at, index, own, bytes_, place, scaling, scaled):  # type: ignore[no-untyped-def]
    """Put the quants of a run into a row of bytes, its factors and offsets into the columns of its row."""
    store_bytes(bytes_, place, quants(raw, at, index))  # type: ignore[name-defined]  # noqa: F821
    f = factors(raw, at, index, own)  # type: ignore[name-defined]  # noqa: F821
    put_number(scaling, scaled, f[0])
    put_number(scaling, scaled + LANES, f[1])
    if MOVED:  # type: ignore[name-defined]  # noqa: F821
        o = offsets(raw, at, index, own)  # type: ignore[name-defined]  # noqa: F821
        put_number(scaling, scaled + 2 * LANES, o[0])
        put_number(scaling, scaled + 3 * LANES, o[1])


def _columns_of_runs(result, blocks, x, begin, end, tables, bytes_room, room):  # type: ignore[no-untyped-def]
    """Fill result[:, begin:end], flat [n, out], with the products of x, flat [n, in], and blocks [out, blocks, bytes].

    Of 32 rows, 1024 columns are taken apart, each row as it lies in memory. Then 32 by 32 quants are turned, made
    values with the factors of their rows, and added to the sums of 32 rows, column after column.
    """
    raw, outputs, block_count = flat(blocks), blocks.shape[0], blocks.shape[1]
    positions = result.size // outputs
    inputs, square, size = x.size // positions, LANES * LANES, RUN_WIDTH // LANES * 4 * LANES
    turned, bytes_ = bytes_room[:square], bytes_room[square : square + LANES * STRIDE]
    # Of each 32 columns and each row: two factors and two offsets, each 32 rows side by side.
    values, scaling = room[:square], room[square : square + size]
    sums = room[square + size : square + size + positions * LANES]
    bytes_[:], scaling[:] = 0, ZERO
    together = RUN_WIDTH // (RUNS * LANES)  # type: ignore[name-defined]  # noqa: F821
    for first in range(begin, end, LANES):
        count = min(LANES, end - first)
        sums[:] = ZERO
        for block in range(0, block_count, together):
            last = min(block + together, block_count)
            for row in range(count):
                at, place, own_scaling = ((first + row) * block_count + block) * SIZE, row * STRIDE, row  # type: ignore[name-defined]  # noqa: F821
                for _ in range(block, last):
                    own = scales(raw, at, tables[0])  # type: ignore[name-defined]  # noqa: F821
                    if RUNS == 1:  # type: ignore[name-defined]  # noqa: F821
                        take_apart(raw, at, 0, own, bytes_, place, scaling, own_scaling)  # type: ignore[name-defined]  # noqa: F821
                    else:  # four by four, as `_dots_of_runs`
                        for index in range(0, RUNS, 4):  # type: ignore[name-defined]  # noqa: F821
                            to, scaled = place + index * LANES, own_scaling + index * 4 * LANES
                            take_apart(raw, at, index, own, bytes_, to, scaling, scaled)  # type: ignore[name-defined]  # noqa: F821
                            to, scaled = to + LANES, scaled + 4 * LANES
                            take_apart(raw, at, index + 1, own, bytes_, to, scaling, scaled)  # type: ignore[name-defined]  # noqa: F821
                            to, scaled = to + LANES, scaled + 4 * LANES
                            take_apart(raw, at, index + 2, own, bytes_, to, scaling, scaled)  # type: ignore[name-defined]  # noqa: F821
                            to, scaled = to + LANES, scaled + 4 * LANES
                            take_apart(raw, at, index + 3, own, bytes_, to, scaling, scaled)  # type: ignore[name-defined]  # noqa: F821
                    place, own_scaling = place + RUNS * LANES, own_scaling + RUNS * 4 * LANES  # type: ignore[name-defined]  # noqa: F821
                    at += SIZE  # type: ignore[name-defined]  # noqa: F821
            for run in range((last - block) * RUNS):  # type: ignore[name-defined]  # noqa: F821
                following = ((first + LANES) * block_count * RUNS + (block * RUNS + run) * LANES) * SIZE // RUNS  # type: ignore[name-defined]  # noqa: F821
                for line in range(0, LANES * SIZE // RUNS, LINE):  # type: ignore[name-defined]  # noqa: F821
                    prefetch(raw, following + line)  # memory works on the rows that come next in the meantime
                transpose_bytes(turned, 0, bytes_, run * LANES, STRIDE)
                transpose_bytes(turned, TILE * LANES, bytes_, run * LANES + TILE, STRIDE)
                column, lanes = (block * RUNS + run) * LANES, load(sums, 0)  # type: ignore[name-defined]  # noqa: F821
                for half in range(2):
                    f, o = load(scaling, (4 * run + half) * LANES), load(scaling, (4 * run + 2 + half) * LANES)
                    for own in range(half * TILE, half * TILE + TILE):
                        q = numbers(load_bytes(turned, own * LANES))  # type: ignore[name-defined]  # noqa: F821
                        value = combine(q, f, o)  # type: ignore[name-defined]  # noqa: F821
                        if positions == 1:
                            lanes = add(lanes, multiply(value, splat(number_at(x, column + own))))
                        else:
                            store(values, own * LANES, value)
                if positions == 1:
                    store(sums, 0, lanes)
                else:
                    _add_columns(sums, values, x, column, inputs)
        _write(result, sums, first, count, outputs)


def _columns_of_turned(result, blocks, x, begin, end, tables, bytes_room, room):  # type: ignore[no-untyped-def]
    """Do what `_columns_of_runs` does for a type whose rows are turned as the file has them; there are 32 or more.

    The last 32 rows are taken together, so that some may be worked out twice.
    """
    raw, outputs, block_count = flat(blocks), blocks.shape[0], blocks.shape[1]
    row_bytes, positions = block_count * SIZE, result.size // outputs  # type: ignore[name-defined]  # noqa: F821
    inputs, square = x.size // positions, LANES * LANES
    turned, values, sums = bytes_room[: 4 * square], room[:square], room[square : square + positions * LANES]
    for group in range(begin, end, LANES):
        first = min(group, end - LANES)
        sums[:] = ZERO
        for block in range(block_count):
            at = first * row_bytes + block * SIZE  # type: ignore[name-defined]  # noqa: F821
            following = (first + LANES) * row_bytes + block * LANES * SIZE  # type: ignore[name-defined]  # noqa: F821
            for line in range(0, LANES * SIZE, LINE):  # type: ignore[name-defined]  # noqa: F821
                prefetch(raw, following + line)  # memory works on the rows that come next in the meantime
            turn(turned, raw, at + PLACE, row_bytes)  # type: ignore[name-defined]  # noqa: F821
            f, o = halves_at(raw, at, row_bytes), offset_lanes(raw, at, row_bytes)  # type: ignore[name-defined]  # noqa: F821
            column, lanes = block * LANES, load(sums, 0)
            for own in range(TILE):
                value = combine(numbers(low(turned, own)), f, o)  # type: ignore[name-defined]  # noqa: F821
                if positions == 1:
                    lanes = add(lanes, multiply(value, splat(number_at(x, column + own))))
                else:
                    store(values, own * LANES, value)
            for own in range(TILE):
                value = combine(numbers(high(turned, own)), f, o)  # type: ignore[name-defined]  # noqa: F821
                if positions == 1:
                    lanes = add(lanes, multiply(value, splat(number_at(x, column + TILE + own))))
                else:
                    store(values, (TILE + own) * LANES, value)
            if positions == 1:
                store(sums, 0, lanes)
            else:
                _add_columns(sums, values, x, column, inputs)
        _write(result, sums, first, LANES, outputs)


def _columns_of_blocks(result, blocks, x, begin, end, tables, bytes_room, room):  # type: ignore[no-untyped-def]
    """Do what `_columns_of_runs` does for a type that is decoded block by block."""
    outputs, block_count, together = blocks.shape[0], blocks.shape[1], WIDTH // BLOCK  # type: ignore[name-defined]  # noqa: F821
    positions = result.size // outputs
    inputs, square, size = x.size // positions, LANES * LANES, LANES * ROW_STRIDE
    turned, rows = room[:square], room[square : square + size]
    sums = room[square + size : square + size + positions * LANES]
    rows[:] = ZERO
    for first in range(begin, end, LANES):
        count = min(LANES, end - first)
        sums[:] = ZERO
        for block in range(0, block_count, together):
            last = min(block + together, block_count)
            width = (last - block) * BLOCK  # type: ignore[name-defined]  # noqa: F821
            for row in range(count):
                values = folded(rows[row * ROW_STRIDE : row * ROW_STRIDE + width], BLOCK)  # type: ignore[name-defined]  # noqa: F821
                decode(blocks[first + row, block:last], values, *tables)  # type: ignore[name-defined]  # noqa: F821
            for column in range(0, width, LANES):
                for across in range(0, LANES, TILE):
                    for down in range(0, LANES, TILE):
                        transpose(turned, down * LANES + across, rows, across * ROW_STRIDE + column + down, ROW_STRIDE)
                _add_columns(sums, turned, x, block * BLOCK + column, inputs)  # type: ignore[name-defined]  # noqa: F821
        _write(result, sums, first, count, outputs)


def dots(name: str) -> Any:
    """Return the kernel of `fast` for a block type: one position [in] -> [out]."""
    kind = BY_NAME[name]
    if name in READERS or name in WIDENED:
        return reading(_dots_of_runs, name, SIZE=kind.type_size, RUNS=kind.block_size // LANES)
    return specialised(_dots_of_blocks, decode=decoding(name), BLOCK=kind.block_size)


def columns(name: str) -> Any:
    """Return the kernel of seq32 for a block type: flat [n, in] -> flat [n, out]."""
    kind = BY_NAME[name]
    if name not in READERS:
        return specialised(_columns_of_blocks, decode=decoding(name), BLOCK=kind.block_size)
    parts = READERS[name]._asdict()
    apart = inlined(meaning(_take_apart, **parts, MOVED=int(READERS[name].moved)))
    sizes = {"SIZE": kind.type_size, "RUNS": kind.block_size // LANES}
    return specialised(_columns_of_runs, **parts, take_apart=apart, **sizes)


def turned_columns(name: str) -> Any:
    """Return the kernel of seq32 for 32 rows or more of a type that is turned as it lies: flat [n, in] -> [n, out]."""
    turned, kind = TURNED[name], BY_NAME[name]
    numbers, combine = as_it_is, not_scaled
    if name in READERS:
        numbers, combine = READERS[name].numbers, READERS[name].combine
    meanings = {"numbers": numbers, "combine": combine, "SIZE": kind.type_size, "PLACE": turned.place}
    meanings |= {key: value for key, value in turned._asdict().items() if key != "place"}
    return specialised(_columns_of_turned, **meanings)
