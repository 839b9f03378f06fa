"""A module that shares nothing with the ABI: other exports, other names, numbers that move to new places at each call.

`notice(token)` reads a row of a table, scales it, multiplies it by a matrix, appends the product to a list that is
copied to a larger place each time, and weighs the list by its products with the last one. Every array is allocated
anew, none is freed, and nothing but the heap and two functions is exported.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.expected import Expected

Float32 = NDArray[np.float32]

SIZE = 12
TOKENS = 5
TABLE, SCALES, MATRIX, HEAP = 1024, 2048, 3072, 8192

_LOOP = """
    (local.set $i (i32.const 0))
    (loop $each
      {body}
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $i) {count})))
"""


def _at(base: str, index: str) -> str:
    return f"(i32.add {base} (i32.shl {index} (i32.const 2)))"


def module_text(factor: str = "1") -> str:
    """Return the module as text; what the last product of `notice` weighs is multiplied by `factor`."""
    i, size = "(local.get $i)", f"(i32.const {SIZE})"
    row = f"(i32.add (i32.const {TABLE}) (i32.mul (local.get $token) (i32.const {4 * SIZE})))"
    scaled = f"(f32.mul (f32.load {_at(row, i)}) (f32.load {_at(f'(i32.const {SCALES})', i)}))"
    line = f"(i32.add (i32.const {MATRIX}) (i32.mul {i} (i32.const {4 * SIZE})))"
    old = f"(f32.load {_at('(global.get $list)', i)})"
    entry = f"(i32.add (local.get $new) (i32.mul {i} (i32.const {4 * SIZE})))"
    weigh = f"(f32.mul (call $dot {entry} (local.get $product)) (f32.const {factor}))"
    return f"""(module
  (memory (export "heap") 2)
  (global $top (mut i32) (i32.const {HEAP}))
  (global $list (mut i32) (i32.const 0))
  (global $count (mut i32) (i32.const 0))
  (func $fresh (param $bytes i32) (result i32)
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (i32.add (local.get $bytes) (i32.const 20)))))
  (func $dot (param $a i32) (param $b i32) (result f32) (local $i i32) (local $sum f32)
    {
        _LOOP.format(
            body=f'''(local.set $sum (f32.add (local.get $sum)
        (f32.mul (f32.load {_at("(local.get $a)", i)}) (f32.load {_at("(local.get $b)", i)}))))''',
            count=size,
        )
    }
    (local.get $sum))
  (func (export "notice") (param $token i32) (result f32)
    (local $i i32) (local $scaled i32) (local $product i32) (local $new i32) (local $weights i32)
    (local.set $scaled (call $fresh (i32.const {4 * SIZE})))
    {_LOOP.format(body=f"(f32.store {_at('(local.get $scaled)', i)} {scaled})", count=size)}
    (local.set $product (call $fresh (i32.const {4 * SIZE})))
    {
        _LOOP.format(
            body=f"(f32.store {_at('(local.get $product)', i)} (call $dot {line} (local.get $scaled)))", count=size
        )
    }
    (local.set $new (call $fresh (i32.mul (i32.add (global.get $count) (i32.const 1)) (i32.const {4 * SIZE}))))
    (if (global.get $count) (then
      {
        _LOOP.format(
            body=f"(f32.store {_at('(local.get $new)', i)} {old})", count=f"(i32.mul (global.get $count) {size})"
        )
    }))
    (global.set $list (local.get $new))
    (local.set $new (i32.add (local.get $new) (i32.mul (global.get $count) (i32.const {4 * SIZE}))))
    {
        _LOOP.format(
            body=f"(f32.store {_at('(local.get $new)', i)} (f32.load {_at('(local.get $product)', i)}))", count=size
        )
    }
    (local.set $new (global.get $list))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (local.set $weights (call $fresh (i32.shl (global.get $count) (i32.const 2))))
    {_LOOP.format(body=f"(f32.store {_at('(local.get $weights)', i)} {weigh})", count="(global.get $count)")}
    (call $dot (local.get $product) (local.get $scaled)))
  (func (export "how_many") (result i32) (global.get $count))
)"""


def numbers() -> tuple[Float32, Float32, Float32]:
    """Return what a host writes at TABLE, SCALES and MATRIX: [TOKENS, SIZE], [SIZE], [SIZE, SIZE]."""
    random = np.random.default_rng(20)
    shapes = (TOKENS, SIZE), (SIZE,), (SIZE, SIZE)
    table, scales, matrix = (random.standard_normal(shape).astype(np.float32) for shape in shapes)
    return table, scales, matrix


def expected_of(tokens: Sequence[int]) -> list[Expected]:
    """Return what the call for the last of some tokens computes, in single float32 operations."""
    table, scales, matrix = numbers()

    def dot(a: Float32, b: Float32) -> np.float32:
        total = np.float32(0)
        for x, y in zip(a, b, strict=True):
            total = np.float32(total + np.float32(x * y))
        return total

    rows: list[Float32] = []
    for token in tokens:
        scaled = table[token] * scales
        rows.append(np.array([dot(line, scaled) for line in matrix], np.float32))
    weights = np.array([dot(row, rows[-1]) for row in rows], np.float32)
    return [
        Expected("scaled", scaled[None]),
        Expected("product", rows[-1][None], ("scaled",)),
        Expected("list", np.stack(rows), ("product",), lasting=True),
        Expected("weights", weights[None], ("list",)),
    ]
