"""The one validated model behind which every container disappears."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from refruntime.model.architectures.base import Architecture
from refruntime.model.architectures.llama import LLAMA
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.tokenizers.base import Tokenizer


class QuantizedRows(NamedTuple):
    """A quantised matrix before its scales are applied, for the options of FW-4.

    `values` int8 [out, in]; `scales` float32 [out, in / block_size].
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    block_size: int


class WeightSource(Protocol):
    """One tensor of a container, decoded on demand."""

    @property
    def name(self) -> str:
        """Return the name that the container uses."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the row-major shape: [out, in] for a matrix, [n] for a vector."""

    @property
    def type_name(self) -> str:
        """Return the lower-case name of the stored type, such as `q8_0`."""

    @property
    def storage(self) -> Hashable:
        """Return what two tensors have in common when they name the same bytes in the same way; None: nothing."""

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the dequantised float32 values, in `shape` (FW-1, GG-8), or rows `start` .. `stop` - 1 of a matrix."""

    def quantized(self) -> QuantizedRows | None:
        """Return the values and scales of an SLM1 q8_0 or q4_0 matrix, None for any other tensor (FW-4)."""


@dataclass(frozen=True)
class ValidatedModel:
    """A model that passed every check of its container.

    `tensors` uses one set of names for all containers, those of GGUF; which there are, and their shapes, is what
    `refruntime.model.layout` says. For llama: `token_embd.weight` [V, H], `output_norm.weight` [H],
    `output.weight` [V, H] (absent when the embeddings are used), `rope_freqs.weight` [D / 2] (optional), and for each
    layer `blk.N.` + `attn_norm.weight`, `attn_q.weight`, `attn_k.weight`, `attn_v.weight`, `attn_output.weight`,
    `ffn_norm.weight`, `ffn_gate.weight`, `ffn_up.weight`, `ffn_down.weight`.
    """

    container: str
    hyperparameters: Hyperparameters
    tensors: Mapping[str, WeightSource]
    tokenizer: Tokenizer
    quantization: str
    architecture: Architecture = LLAMA
