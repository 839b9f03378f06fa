"""Hypotheses on how weights are stored and bound (FW-1, FW-2, GG-8, SL-2, SL-3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.hypotheses.faults.topic import Topic, as_model
from refruntime.hypotheses.hypothesis import Changes
from refruntime.model.gguf.model import GgufWeight
from refruntime.model.slm1.model import Slm1Weight
from refruntime.model.validated import ValidatedModel, WeightSource
from refruntime.quants.slm1 import unpack_q4_0

FAULTS: Final = Topic("quantization", forwards=True)

Float32 = NDArray[np.float32]
Vary = Callable[[WeightSource], WeightSource]

GGUF_BLOCK: Final = 32
GGUF_Q8_0: Final = np.dtype([("scale", "<f2"), ("values", "u1", (GGUF_BLOCK,))])


def _each(vary: Vary) -> Changes:
    """Vary every tensor of a model."""

    def change(model: ValidatedModel) -> ValidatedModel:
        return replace(model, tensors={name: vary(tensor) for name, tensor in model.tensors.items()})

    return Changes(model=change)


def _read_as(kind: type[Slm1Weight], tensor: WeightSource) -> WeightSource:
    return kind(**vars(tensor)) if isinstance(tensor, Slm1Weight) else tensor


def _slm1(kind: type[Slm1Weight]) -> Changes:
    """Read every SLM1 tensor as another class does."""
    return _each(partial(_read_as, kind))


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


for _name, _family, _text, _first, _second in (
    ("w1-w3-swapped", "ffn", "W1 and W3 change places", "ffn_gate.weight", "ffn_up.weight"),
    ("q-k-swapped", "attention", "Wq and Wk change places", "attn_q.weight", "attn_k.weight"),
    ("k-v-swapped", "attention", "Wk and Wv change places", "attn_k.weight", "attn_v.weight"),
    ("norms-swapped", "norm", "the two norms of a layer change places", "attn_norm.weight", "ffn_norm.weight"),
):
    FAULTS.add(_name, _text, "FW-2", Changes(model=_swapped(_first, _second)), _family)


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


@FAULTS.fault("square-transposed", "square matrices are read by columns", "SL-3", as_model, "attention")
def _transposed(model: ValidatedModel) -> ValidatedModel:
    hidden = model.hyperparameters.hidden_size
    tensors: Mapping[str, WeightSource] = {
        name: _Transposed(tensor) if tensor.shape == (hidden, hidden) else tensor
        for name, tensor in model.tensors.items()
    }
    return replace(model, tensors=tensors)


@FAULTS.fault("output-ignored", "output.weight is ignored and the embeddings are used", "SL-3", as_model)
def _output_ignored(model: ValidatedModel) -> ValidatedModel:
    return replace(model, tensors={name: t for name, t in model.tensors.items() if name != "output.weight"})


# Quantised values ----------------------------------------------------------------------------------------------------


@FAULTS.fault("q4-nibbles", "the high nibble of q4_0 holds the first value", "SL-2", _slm1)
class _HighNibbleFirst(Slm1Weight):
    def integers(self, payload: memoryview) -> Any:
        values = super().integers(payload)
        return values if self.type_name != "q4_0" else values.reshape(-1, 2)[:, ::-1].reshape(-1)


@FAULTS.fault("q4-unsigned", "nibbles 8..15 of q4_0 are positive", "SL-2", _slm1)
class _UnsignedNibbles(Slm1Weight):
    def integers(self, payload: memoryview) -> Any:
        values = super().integers(payload)
        return values if self.type_name != "q4_0" else values & np.int8(15)


@FAULTS.fault("q4-minus-eight", "nibbles of q4_0 stand for nibble - 8", "SL-2", _slm1)
class _NibblesLessEight(Slm1Weight):
    """Nibbles stand for -8..7 as in ggml."""

    def integers(self, payload: memoryview) -> Any:
        if self.type_name != "q4_0":
            return super().integers(payload)
        return (unpack_q4_0(np.frombuffer(payload, np.uint8)) & np.int8(15)) - np.int8(8)


@FAULTS.fault("q4-halves", "all low nibbles of a q4_0 block come before its high ones", "SL-2", _slm1)
class _NibblesInHalves(Slm1Weight):
    """The low nibbles of a block come first, then its high ones, as in ggml."""

    def integers(self, payload: memoryview) -> Any:
        values = super().integers(payload)
        if self.type_name != "q4_0":
            return values
        return values.reshape(-1, self.block_size // 2, 2).transpose(0, 2, 1).reshape(-1)


class _UnsignedBytes(Slm1Weight):
    def integers(self, payload: memoryview) -> Any:
        values = super().integers(payload)
        return values if self.type_name != "q8_0" else values.view(np.uint8)


class _UnsignedGgufBytes(GgufWeight):
    def rows(self, start: int = 0, stop: int | None = None) -> Float32:
        blocks = np.frombuffer(self.payload, GGUF_Q8_0)
        values = blocks["values"].astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]
        matrix = values.reshape(self.shape)
        return matrix[start:stop] if len(self.shape) == 2 else matrix


@FAULTS.fault("q8-unsigned", "bytes 128..255 of q8_0 are positive", "SL-2", _each)
def _unsigned_bytes(tensor: WeightSource) -> WeightSource:
    if isinstance(tensor, GgufWeight) and tensor.type_name == "q8_0":
        return _UnsignedGgufBytes(tensor.name, tensor.shape, tensor.type, tensor.payload)
    return _read_as(_UnsignedBytes, tensor)


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


for _name, _text, _dtype, _move in (
    ("q4-previous-scale", "a q4_0 block uses the scale of the block before it", "q4_0", _of_previous),
    ("q4-next-scale", "a q4_0 block uses the scale of the block behind it", "q4_0", _of_next),
    ("q4-row-scale", "all q4_0 blocks of a row use its first scale", "q4_0", _of_first_in_row),
    ("q8-previous-scale", "a q8_0 row uses the scale of the row before it", "q8_0", _of_previous),
    ("q8-next-scale", "a q8_0 row uses the scale of the row behind it", "q8_0", _of_next),
):
    FAULTS.add(_name, _text, "SL-2", _each(_scales(_dtype, _move)))
