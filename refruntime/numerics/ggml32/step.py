"""Make a program of a plain model for `step_loops`, and run it for one position at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.machine_code import Loop
from refruntime.numerics.ggml32 import step_operations as op
from refruntime.numerics.ggml32.blocks import IntegerBlocks
from refruntime.numerics.ggml32.matrix import BlockRows, PlainRows, StoredMatrix
from refruntime.numerics.rotary import Rotary
from refruntime.numerics.whole_step import PlainLayer, PlainModel

Array = NDArray[np.float32]
Angles = Callable[[int, int, Rotary], tuple[Array, Array]]

MOST_WEIGHTS: Final = 1 << 23
"""Weights are copied for a program. Where there are more, asking for operations one by one is a small part."""
ANGLES_AT_ONCE: Final = 64
BLOCK: Final = 32
"""Numbers of a quantised block of inputs."""

ORDERS: Final = {
    "sum times scales": op.SUM_SCALED,
    "scales times sum": op.SCALES_FIRST,
    "scales times sum, plus minimum": op.PLUS_MINIMUM,
}
ROUNDINGS: Final = {"f16": op.TO_HALF, "bf16": op.TO_BFLOAT}


class _Arena:
    """Arrays of one type behind each other."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._dtype, self._parts, self._places = dtype, list[NDArray[np.generic]](), dict[int, int]()
        self._size = 0

    def put(self, values: NDArray[np.generic]) -> int:
        """Return where values begin; the same array is put once."""
        if id(values) not in self._places:
            self._places[id(values)] = self._size
            self._parts.append(values)
            self._size += values.size
        return self._places[id(values)]

    def joined(self) -> NDArray[np.generic]:
        """Return everything as one array."""
        return np.concatenate([np.zeros(0, self._dtype), *(part.reshape(-1) for part in self._parts)])


class _Program:
    """Collects operations: what is computed lies in places of one room, weights in two arenas."""

    def __init__(self, model: PlainModel) -> None:
        self.integers, self.numbers = _Arena(np.int8), _Arena(np.float32)
        self.lines: list[tuple[int, ...]] = []
        self._model, self.room_size, self.widest_input, self.widest_output = model, 0, 0, 0
        self._prepared: tuple[int, str] | None = None
        self.hidden = hidden = model.output_norm.size
        query, kept = model.heads * model.head_dim, model.kv_heads * model.head_dim
        self._x, self._normal, self._update = (self._place(hidden) for _ in range(3))
        self._qkv, self._mixed = self._place(query + 2 * kept), self._place(query)
        self._gate_and_up, self._gated = self._place(2 * model.ffn_size), self._place(model.ffn_size)
        self._rounded = self._place(max(hidden, query, model.ffn_size))
        self.logits = self._place(model.vocab_size)
        for index, layer in enumerate(model.layers):
            self._layer(index, layer, query, kept)
        self._add(op.NORM, self._normal, self._x, hidden, self.numbers.put(model.output_norm))
        self._project(model.output, self._normal, hidden, self.logits)

    def _layer(self, index: int, layer: PlainLayer, query: int, kept: int) -> None:
        hidden, ffn, qkv = self.hidden, self._model.ffn_size, self._qkv
        self._add(op.NORM, self._normal, self._x, hidden, self.numbers.put(layer.attention_norm))
        self._project(layer.qkv, self._normal, hidden, qkv)
        self._add(op.ROTATE, qkv, qkv, query + kept)
        self._add(op.STORE, index, qkv + query, kept, qkv + query + kept)
        self._add(op.ATTEND, self._mixed, qkv, query, index)
        self._project(layer.attention_output, self._mixed, query, self._update)
        self._add(op.ADD, self._x, self._update, hidden)
        self._add(op.NORM, self._normal, self._x, hidden, self.numbers.put(layer.feed_forward_norm))
        self._project(layer.gate_and_up, self._normal, hidden, self._gate_and_up)
        self._add(op.SILU, self._gated, self._gate_and_up, ffn, self._gate_and_up + ffn)
        self._project(layer.down, self._gated, ffn, self._update)
        self._add(op.ADD, self._x, self._update, hidden)

    def _place(self, size: int) -> int:
        self.room_size += size
        return self.room_size - size

    def _add(self, *operation: int) -> None:
        self.lines.append((*operation, *(0,) * (op.WIDTH - len(operation))))

    def _project(self, matrices: tuple[StoredMatrix, ...], x: int, width: int, y: int) -> None:
        """Multiply what lies at x with matrices; inputs are rounded or quantised once for those that ask alike."""
        prepared = ""
        for part in (part for matrix in matrices for part in matrix.parts):
            if isinstance(part, PlainRows):
                if part.rounding in ROUNDINGS and prepared != part.rounding:
                    self._add(ROUNDINGS[part.rounding], self._rounded, x, width)
                    prepared = part.rounding
                own, outputs = self._rounded if part.rounding in ROUNDINGS else x, part.columns.shape[1]
                self._add(op.PLAIN, y, own, width, self.numbers.put(part.columns), 0, 0, outputs)
            else:
                if prepared != "blocks":
                    self._add(op.QUANTIZE, 0, x, width)
                    prepared = "blocks"
                outputs = self._multiply(part.blocks, width, y)
            y += outputs
            self.widest_output = max(self.widest_output, outputs)
        self.widest_input = max(self.widest_input, width)

    def _multiply(self, blocks: IntegerBlocks, width: int, y: int) -> int:
        outputs, size = len(blocks.integers), blocks.integers.shape[2]
        places = self.integers.put(blocks.integers), self.numbers.put(blocks.scales)
        minima = 0 if blocks.minimum_scales is None else self.numbers.put(blocks.minimum_scales)
        self._add(ORDERS[blocks.form.order], y, 0, width, *places, minima, outputs, size)
        return outputs


class WholeStep:
    """A plain model as a program: `Step`. Holds no state but angles, so that threads may share it."""

    def __init__(self, model: PlainModel, halves: bool, angles: Angles, scale: np.float32) -> None:
        self._angles_of, self._rotary, self._halves = angles, model.rotary, int(halves)
        program = _Program(model)
        self._program = np.array(program.lines, np.int64)  # [operations, WIDTH]
        self._weights = program.integers.joined(), program.numbers.joined()
        self._sizes = program.room_size, program.widest_input, max(program.widest_output, model.head_dim)
        self._hidden, self._logits = program.hidden, slice(program.logits, program.logits + model.vocab_size)
        self._constants = np.float32(model.epsilon), scale
        self._angles = np.empty((2, 0, model.head_dim // 2), np.float32)

    def __call__(self, x: Array, keys: Array, values: Array, position: int) -> Array:
        """Return the logits [1, V] behind a token whose embedding is x [H]; keeps its keys and values."""
        if position >= self._angles.shape[1]:
            count = max(2 * position, ANGLES_AT_ONCE)
            self._angles = np.array(self._angles_of(0, count, self._rotary))  # [2, positions, D/2]
        size, width, outputs = self._sizes
        room = np.empty(size, np.float32)
        room[: self._hidden] = x
        scales, sums = np.empty((2, width // BLOCK + 1), np.float32)
        _loop()(
            self._program, *self._weights, keys, values, *self._angles[:, position], room,
            np.empty(width, np.int16), scales, sums, np.empty(max(outputs, position + 1), np.float64),
            np.empty(position + 1, np.float32), *self._constants, position, self._halves,
        )  # fmt: skip
        return room[None, self._logits]


def suits(model: PlainModel) -> bool:
    """Say whether a program can hold a model: few weights, of types whose inputs are blocks of 32 numbers or plain."""
    layers = (matrix for layer in model.layers for part in layer if isinstance(part, tuple) for matrix in part)
    matrices = [*layers, *model.output]
    if sum(matrix.size for matrix in matrices) > MOST_WEIGHTS:
        return False
    return all(_known(part) for matrix in matrices for part in matrix.parts)


def _known(part: PlainRows | BlockRows) -> bool:
    return isinstance(part, PlainRows) or (part.blocks.form.activation != "q8_k" and part.blocks.form.order in ORDERS)


@lru_cache
def _loop() -> Loop:
    return Loop("refruntime.numerics.ggml32.step_loops", "run")


def compile_step() -> None:
    """Compile the loop, or load its machine code, by a program without operations."""
    singles, cache = np.zeros((8, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32)
    _loop()(
        np.zeros((0, op.WIDTH), np.int64), np.zeros(1, np.int8), singles[0], cache, cache, *singles[:3],
        np.zeros(1, np.int16), *singles[:2], np.zeros(1, np.float64), singles[3], np.float32(0), np.float32(0), 0, 0,
    )  # fmt: skip
