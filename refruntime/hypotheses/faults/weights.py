"""Hypotheses on how weights are stored and bound (FW-1, FW-2, GG-8, SL-2, SL-3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.hypotheses.hypothesis import Changes, Hypothesis
from refruntime.model.gguf import GgufWeight
from refruntime.model.slm1 import Slm1Weight
from refruntime.model.validated import ValidatedModel, WeightSource
from refruntime.quants.slm1 import unpack_q4_0

Float32 = NDArray[np.float32]
Vary = Callable[[WeightSource], WeightSource]

GGUF_BLOCK: Final = 32
GGUF_Q8_0: Final = np.dtype([("scale", "<f2"), ("values", "u1", (GGUF_BLOCK,))])


def _each(vary: Vary) -> Callable[[ValidatedModel], ValidatedModel]:
    """Return a change of every tensor of a model."""

    def change(model: ValidatedModel) -> ValidatedModel:
        return replace(model, tensors={name: vary(tensor) for name, tensor in model.tensors.items()})

    return change


def _slm1(kind: type[Slm1Weight]) -> Vary:
    """Return a change that reads every SLM1 tensor as another class does."""

    def change(tensor: WeightSource) -> WeightSource:
        if not isinstance(tensor, Slm1Weight):
            return tensor
        return kind(**vars(tensor))

    return change


# Quantised values ----------------------------------------------------------------------------------------------------


class _HighNibbleFirst(Slm1Weight):
    def _values(self, payload: memoryview) -> Any:
        values = super()._values(payload)
        return values if self.type_name != "q4_0" else values.reshape(-1, 2)[:, ::-1].reshape(-1)


class _UnsignedNibbles(Slm1Weight):
    def _values(self, payload: memoryview) -> Any:
        values = super()._values(payload)
        return values if self.type_name != "q4_0" else values & np.int8(15)


class _NibblesLessEight(Slm1Weight):
    """Nibbles stand for -8..7 as in ggml."""

    def _values(self, payload: memoryview) -> Any:
        if self.type_name != "q4_0":
            return super()._values(payload)
        return (unpack_q4_0(np.frombuffer(payload, np.uint8)) & np.int8(15)) - np.int8(8)


class _NibblesInHalves(Slm1Weight):
    """The low nibbles of a block come first, then its high ones, as in ggml."""

    def _values(self, payload: memoryview) -> Any:
        values = super()._values(payload)
        if self.type_name != "q4_0":
            return values
        return values.reshape(-1, self.block_size // 2, 2).transpose(0, 2, 1).reshape(-1)


class _UnsignedBytes(Slm1Weight):
    def _values(self, payload: memoryview) -> Any:
        values = super()._values(payload)
        return values if self.type_name != "q8_0" else values.view(np.uint8)


class _UnsignedGgufBytes(GgufWeight):
    def rows(self, start: int = 0, stop: int | None = None) -> Float32:
        blocks = np.frombuffer(self.payload, GGUF_Q8_0)
        values = blocks["values"].astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]
        matrix = values.reshape(self.shape)
        return matrix[start:stop] if len(self.shape) == 2 else matrix


def _unsigned_bytes(tensor: WeightSource) -> WeightSource:
    if isinstance(tensor, GgufWeight) and tensor.type_name == "q8_0":
        return _UnsignedGgufBytes(tensor.name, tensor.shape, tensor.type, tensor.payload)
    return _slm1(_UnsignedBytes)(tensor)


def _scales(dtype: str, move: Callable[[Float32], Float32]) -> Vary:
    """Return a change of the scales [rows, blocks] of one SLM1 dtype."""

    def change(tensor: WeightSource) -> WeightSource:
        if not isinstance(tensor, Slm1Weight) or tensor.type_name != dtype:
            return tensor
        return replace(tensor, scales=move(tensor.scales))

    return change


def _of_previous(scales: Float32) -> Float32:
    """Give every block the scale before its own, in file order; the first keeps its own."""
    flat = scales.reshape(-1)
    return np.concatenate([flat[:1], flat[:-1]]).reshape(scales.shape)


def _of_next(scales: Float32) -> Float32:
    flat = scales.reshape(-1)
    return np.concatenate([flat[1:], flat[-1:]]).reshape(scales.shape)


def _of_first_in_row(scales: Float32) -> Float32:
    return np.repeat(scales[:, :1], scales.shape[1], axis=1)


# Tensors -------------------------------------------------------------------------------------------------------------


def _swapped(first: str, second: str) -> Callable[[ValidatedModel], ValidatedModel]:
    """Return a change that exchanges two tensors of every layer."""
    names = {first: second, second: first}

    def source(name: str) -> str:
        block, dot, part = name.rpartition(".attn_" if first.startswith("attn_") else ".ffn_")
        tail = dot[1:] + part
        return f"{block}.{names[tail]}" if tail in names else name

    def change(model: ValidatedModel) -> ValidatedModel:
        return replace(model, tensors={name: model.tensors[source(name)] for name in model.tensors})

    return change


def _output_ignored(model: ValidatedModel) -> ValidatedModel:
    return replace(model, tensors={name: t for name, t in model.tensors.items() if name != "output.weight"})


class _Transposed:
    """A square matrix read by columns."""

    def __init__(self, source: WeightSource) -> None:
        self._source = source
        self.name, self.shape, self.type_name = source.name, source.shape, source.type_name
        self.storage = None

    def rows(self, start: int = 0, stop: int | None = None) -> Float32:
        return np.ascontiguousarray(self._source.rows().T[start:stop])

    def quantized(self) -> None:
        return None


def _transposed(model: ValidatedModel) -> ValidatedModel:
    hidden = model.hyperparameters.hidden_size
    tensors: Mapping[str, WeightSource] = {
        name: _Transposed(tensor) if tensor.shape == (hidden, hidden) else tensor
        for name, tensor in model.tensors.items()
    }
    return replace(model, tensors=tensors)


_MODELS: Final[tuple[tuple[str, str, str, str, Callable[[ValidatedModel], ValidatedModel]], ...]] = (
    ("w1-w3-swapped", "ffn", "W1 and W3 change places", "FW-2", _swapped("ffn_gate.weight", "ffn_up.weight")),
    ("q-k-swapped", "attention", "Wq and Wk change places", "FW-2", _swapped("attn_q.weight", "attn_k.weight")),
    ("k-v-swapped", "attention", "Wk and Wv change places", "FW-2", _swapped("attn_k.weight", "attn_v.weight")),
    (
        "norms-swapped",
        "norm",
        "the two norms of a layer change places",
        "FW-2",
        _swapped("attn_norm.weight", "ffn_norm.weight"),
    ),
    ("square-transposed", "attention", "square matrices are read by columns", "SL-3", _transposed),
    ("output-ignored", "quantization", "output.weight is ignored and the embeddings are used", "SL-3", _output_ignored),
    (
        "q4-nibbles",
        "quantization",
        "the high nibble of q4_0 holds the first value",
        "SL-2",
        _each(_slm1(_HighNibbleFirst)),
    ),
    ("q4-unsigned", "quantization", "nibbles 8..15 of q4_0 are positive", "SL-2", _each(_slm1(_UnsignedNibbles))),
    ("q4-minus-eight", "quantization", "nibbles of q4_0 stand for nibble - 8", "SL-2", _each(_slm1(_NibblesLessEight))),
    (
        "q4-halves",
        "quantization",
        "all low nibbles of a q4_0 block come before its high ones",
        "SL-2",
        _each(_slm1(_NibblesInHalves)),
    ),
    ("q8-unsigned", "quantization", "bytes 128..255 of q8_0 are positive", "SL-2", _each(_unsigned_bytes)),
    (
        "q4-previous-scale",
        "quantization",
        "a q4_0 block uses the scale of the block before it",
        "SL-2",
        _each(_scales("q4_0", _of_previous)),
    ),
    (
        "q4-next-scale",
        "quantization",
        "a q4_0 block uses the scale of the block behind it",
        "SL-2",
        _each(_scales("q4_0", _of_next)),
    ),
    (
        "q4-row-scale",
        "quantization",
        "all q4_0 blocks of a row use its first scale",
        "SL-2",
        _each(_scales("q4_0", _of_first_in_row)),
    ),
    (
        "q8-previous-scale",
        "quantization",
        "a q8_0 row uses the scale of the row before it",
        "SL-2",
        _each(_scales("q8_0", _of_previous)),
    ),
    (
        "q8-next-scale",
        "quantization",
        "a q8_0 row uses the scale of the row behind it",
        "SL-2",
        _each(_scales("q8_0", _of_next)),
    ),
)


def weight_hypotheses() -> Iterator[Hypothesis]:
    """Yield the hypotheses of this module."""
    for name, family, text, rule, change in _MODELS:
        yield Hypothesis(name, family, text, rule, Changes(model=change), forwards=True)
