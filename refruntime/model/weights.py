"""Turn the tensors of a validated model into the matrices of a numeric profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.model.validated import ValidatedModel, WeightSource
from refruntime.numerics import Numerics, Rotary, Seq32

Array = NDArray[Any]


@dataclass(frozen=True)
class Projection:
    """One or several weight matrices that share their input: [in] -> an [out] for each.

    Either one stored matrix holds them side by side, taken apart at `splits`, or each is stored on its own. Neither
    changes a bit, since every output has a sum of its own.
    """

    matrices: tuple[Any, ...]
    splits: tuple[int, ...] = ()

    def apply(self, numerics: Numerics, x: Array) -> list[Array]:
        """Multiply: [n, in] -> one [n, out] for each weight matrix."""
        products = [numerics.project(matrix, x) for matrix in self.matrices]
        return np.split(products[0], self.splits, axis=1) if self.splits else products


@dataclass(frozen=True)
class Layer:
    """Weights of one transformer layer."""

    attn_norm: Array  # [H]
    qkv: Projection  # [H] -> [A * D], [K * D], [K * D]
    attn_output: Projection  # [A * D] -> [H]
    ffn_norm: Array  # [H]
    gate_up: Projection  # [H] -> [F], [F]
    ffn_down: Projection  # [F] -> [H]


@dataclass(frozen=True)
class Weights:
    """All weights in the form of a numeric profile; `embedding` [V, H] is stored as a matrix."""

    embedding: Any
    layers: tuple[Layer, ...]
    output_norm: Array
    output: Projection
    rotary: Rotary


def bind_weights(model: ValidatedModel, profile: Profile, numerics: Numerics) -> Weights:
    """Decode every tensor once (FW-1, GG-8) and arrange it for `numerics`; FW-4's option comes from `profile`."""
    tensors, hyperparameters = model.tensors, model.hyperparameters

    def vector(name: str) -> Array:
        return numerics.array(tensors[name].rows())

    def projection(*names: str) -> Projection:
        return _projection([tensors[name] for name in names], profile, numerics)

    layers = []
    for index in range(hyperparameters.layer_count):
        block = f"blk.{index}."
        layers.append(
            Layer(
                attn_norm=vector(block + "attn_norm.weight"),
                qkv=projection(*(f"{block}attn_{part}.weight" for part in "qkv")),
                attn_output=projection(block + "attn_output.weight"),
                ffn_norm=vector(block + "ffn_norm.weight"),
                gate_up=projection(block + "ffn_gate.weight", block + "ffn_up.weight"),
                ffn_down=projection(block + "ffn_down.weight"),
            )
        )
    output = projection("output.weight" if "output.weight" in tensors else "token_embd.weight")
    return Weights(
        embedding=_embedding(tensors, output, numerics),
        layers=tuple(layers),
        output_norm=vector("output_norm.weight"),
        output=output,
        rotary=numerics.rotary(
            hyperparameters.rope_theta,
            hyperparameters.head_dim,
            vector("rope_freqs.weight") if "rope_freqs.weight" in tensors else None,
            hyperparameters.rope_scaling,
        ),
    )


def _embedding(tensors: Mapping[str, WeightSource], output: Projection, numerics: Numerics) -> Any:
    """Return the stored embedding; a tied model shares the output projection, unless FW-4 keeps that one quantised."""
    if "output.weight" not in tensors and isinstance(output.matrices[0], np.ndarray):
        return output.matrices[0]
    return numerics.matrix([tensors["token_embd.weight"]])


def _projection(sources: list[WeightSource], profile: Profile, numerics: Numerics) -> Projection:
    if profile.quantized_product != "(q*scale)*x" and isinstance(numerics, Seq32):
        per_block = profile.quantized_product == "sum times scale"
        return Projection(tuple(_scaled(source, numerics, per_block) for source in sources))
    borders = np.cumsum([source.shape[0] for source in sources])[:-1]
    return Projection((numerics.matrix(sources),), tuple(int(border) for border in borders))


def _scaled(source: WeightSource, numerics: Seq32, per_block: bool) -> Any:
    quantized = source.quantized()
    if quantized is None:  # float32 and GGUF tensors know only value x scale (section 13, Sampler options)
        return numerics.matrix([source])
    return numerics.scaled_matrix(quantized.values, quantized.scales, quantized.block_size, per_block)
