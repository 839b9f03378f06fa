"""Turn the tensors of a validated model into the matrices of a numeric profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader
from refruntime.memory_limit import within_memory
from refruntime.model.expected_tensors import is_qkv_fused
from refruntime.model.kv_cache import first_cache_bytes
from refruntime.model.validated import Hyperparameters, ValidatedModel, WeightSource
from refruntime.numerics import Numerics, Rotary, Seq32

Array = NDArray[Any]


@dataclass(frozen=True)
class Projection:
    """One or several weight matrices that share their input: [in] -> an [out] for each.

    Either one stored matrix holds them side by side, taken apart at `splits`, or each is stored on its own. Neither
    changes a bit, since every output has a sum of its own. A bias is added to the finished sum.
    """

    matrices: tuple[Any, ...]
    splits: tuple[int, ...] = ()
    biases: tuple[Array | None, ...] = ()

    def apply(self, numerics: Numerics, x: Array) -> list[Array]:
        """Multiply: [n, in] -> one [n, out] for each weight matrix."""
        products = [numerics.project(matrix, x) for matrix in self.matrices]
        products = np.split(products[0], self.splits, axis=1) if self.splits else products
        for index, bias in enumerate(self.biases):
            if bias is not None:
                products[index] = products[index] + bias
        return products


class Norm(NamedTuple):
    """The vectors of a norm, None where it has none."""

    weight: Array | None
    bias: Array | None


@dataclass(frozen=True)
class AttentionWeights:
    """Weights of attention."""

    qkv: Projection  # [H] -> [A * D], [K * D], [K * D]
    query_norm: Norm | None
    key_norm: Norm | None
    output: Projection  # [A * D] -> [H]


@dataclass(frozen=True)
class ConvolutionWeights:
    """Weights of a gated short convolution over L positions."""

    gates: Projection  # [H] -> [H], [H], [H]
    kernel: Array  # [H, L]
    output: Projection  # [H] -> [H]


@dataclass(frozen=True)
class FeedForwardWeights:
    """Weights of a feed-forward block, or of one expert; without a gate `up` has one output."""

    up: Projection  # [H] -> [F], [F]: gate, up
    down: Projection  # [F] -> [H]


@dataclass(frozen=True)
class ExpertsWeights:
    """A router and the experts that it chooses from."""

    router: Projection  # [H] -> [E]
    experts: tuple[FeedForwardWeights, ...]


@dataclass(frozen=True)
class Layer:
    """Weights of one transformer layer; a norm that the architecture lacks is None."""

    attn_norm: Norm | None
    mixer: AttentionWeights | ConvolutionWeights
    post_attention_norm: Norm | None
    ffn_norm: Norm | None
    feed_forward: FeedForwardWeights | ExpertsWeights
    post_ffw_norm: Norm | None


@dataclass(frozen=True)
class Weights:
    """All weights in the form of a numeric profile; `embedding` [V, H] and `positions` [P, H] are stored as matrices.

    `window_rotary` is the rotary embedding of windowed layers.
    """

    embedding: Any
    positions: Any
    layers: tuple[Layer, ...]
    output_norm: Norm
    output: Projection
    rotary: Rotary
    window_rotary: Rotary


def bind_weights(model: ValidatedModel, profile: Profile, numerics: Numerics) -> Weights:
    """Decode every tensor once (FW-1, GG-8) and arrange it for `numerics`; FW-4's option comes from `profile`.

    Tensors that name the same bytes share storage. InvalidHeader, before anything is decoded, if it takes too much.
    """
    with within_memory(memory_needed(model, profile, numerics), "the model", InvalidHeader):
        return _Binder(model, profile, numerics).weights()


def memory_needed(model: ValidatedModel, profile: Profile, numerics: Numerics) -> int:
    """Return how many bytes the weights take in the form of `numerics`, with a fresh cache of keys and values.

    Where FW-4 keeps scales apart, it is what they take at most.
    """
    number = np.dtype(numerics.dtype).itemsize
    scaled = scales_apart(profile, numerics)
    distinct = {name if tensor.storage is None else tensor.storage: tensor for name, tensor in model.tensors.items()}
    needed = first_cache_bytes(model.hyperparameters, numerics.dtype)
    for tensor in distinct.values():
        needed += prod(tensor.shape) * number if len(tensor.shape) == 1 else numerics.matrix_bytes(tensor)
        if scaled and len(tensor.shape) > 1:
            needed += numerics.matrix_bytes(tensor) // 2  # no block is shorter than two values
    if scaled and "output.weight" not in model.tensors:
        needed += numerics.matrix_bytes(model.tensors["token_embd.weight"])
    return needed


def scales_apart(profile: Profile, numerics: Numerics) -> bool:
    """Say whether quantised matrices are multiplied before their scales are applied (options of FW-4)."""
    return profile.quantized_product != "(q*scale)*x" and isinstance(numerics, Seq32)


class _Matrix:
    """One matrix of a stack [E, out, in]."""

    def __init__(self, stack: WeightSource, index: int) -> None:
        self._stack, self._index = stack, index
        self.shape = stack.shape[1:]

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        matrix: NDArray[np.float32] = self._stack.rows(self._index, self._index + 1)[0]
        return matrix[start:stop]


class _Binder:
    def __init__(self, model: ValidatedModel, profile: Profile, numerics: Numerics) -> None:
        self.architecture, self.dimensions = model.architecture, model.hyperparameters
        self.tensors: Mapping[str, WeightSource] = model.tensors
        self.profile, self.numerics = profile, numerics
        self.uses = Counter(tensor.storage for tensor in self.tensors.values() if tensor.storage is not None)
        self.stored: dict[tuple[str, Hashable], Any] = {}

    def weights(self) -> Weights:
        output = self.projection("output" if "output.weight" in self.tensors else "token_embd")
        if "output.bias" in self.tensors:
            output = replace(output, biases=(self.vector("output.bias"),))
        norm = self.norm(self.architecture.output_norm)
        rotary = self.rotary(self.dimensions.rope_theta, scaled=True)
        window_theta = self.dimensions.window_rope_theta
        return Weights(
            embedding=self.embedding(output),
            positions=self.matrix("position_embd.weight") if self.architecture.positions == "learned" else None,
            layers=tuple(self.layer(index) for index in range(self.dimensions.layer_count)),
            output_norm=Norm(None, None) if norm is None else norm,
            output=output,
            rotary=rotary,
            window_rotary=(
                rotary if window_theta is None else self.rotary(window_theta, self.architecture.window_rope_scaled)
            ),
        )

    def layer(self, index: int) -> Layer:
        block, architecture, dimensions = f"blk.{index}.", self.architecture, self.dimensions
        before, behind = architecture.norm_before, architecture.norm_behind
        own_norm = before and not (dimensions.parallel and architecture.parallel_norm == "shared")
        return Layer(
            attn_norm=self.norm(block + "attn_norm") if before else None,
            mixer=self.attention(block) if dimensions.attends(index) else self.convolution(block),
            post_attention_norm=self.norm(block + "post_attention_norm") if behind else None,
            ffn_norm=self.norm(block + "ffn_norm") if own_norm else None,
            feed_forward=self.feed_forward(block),
            post_ffw_norm=self.norm(block + "post_ffw_norm") if behind else None,
        )

    def attention(self, block: str) -> AttentionWeights:
        dimensions = self.dimensions
        queries, keys = dimensions.head_count * dimensions.head_dim, dimensions.kv_head_count * dimensions.head_dim
        if is_qkv_fused(self.architecture, block, self.tensors):
            qkv = self.split(block + "attn_qkv", queries, queries + keys)
        else:
            qkv = self.projection(*(f"{block}attn_{part}" for part in "qkv"))
        normed = self.architecture.norm_of_queries_and_keys != "none"
        return AttentionWeights(
            qkv=qkv,
            query_norm=self.norm(block + "attn_q_norm") if normed else None,
            key_norm=self.norm(block + "attn_k_norm") if normed else None,
            output=self.projection(block + "attn_output"),
        )

    def convolution(self, block: str) -> ConvolutionWeights:
        hidden = self.dimensions.hidden_size
        return ConvolutionWeights(
            gates=self.split(block + "shortconv.in_proj", hidden, 2 * hidden),
            kernel=self.vector(block + "shortconv.conv.weight"),
            output=self.projection(block + "shortconv.out_proj"),
        )

    def feed_forward(self, block: str) -> FeedForwardWeights | ExpertsWeights:
        kind = self.architecture.feed_forward
        if kind == "experts":
            return ExpertsWeights(
                self.projection(block + "ffn_gate_inp"),
                tuple(self.expert(block, index) for index in range(self.dimensions.expert_count)),
            )
        if kind == "gate and up fused":
            up = self.split(block + "ffn_up", self.dimensions.ffn_size)
        elif kind == "gated":
            up = self.projection(block + "ffn_gate", block + "ffn_up")
        else:
            up = self.projection(block + "ffn_up")
        return FeedForwardWeights(up, self.projection(block + "ffn_down"))

    def expert(self, block: str, index: int) -> FeedForwardWeights:
        gate, up, down = (_Matrix(self.tensors[f"{block}ffn_{part}_exps.weight"], index) for part in _EXPERT_PARTS)
        matrix = self.numerics.matrix
        return FeedForwardWeights(Projection((matrix([gate, up]),), (gate.shape[0],)), Projection((matrix([down]),)))

    def rotary(self, theta: float, scaled: bool) -> Rotary:
        dimensions: Hyperparameters = self.dimensions
        long = dimensions.max_context > dimensions.original_context
        names = ("rope_freqs.weight", f"rope_factors_{'long' if long else 'short'}.weight")
        factors = next((self.vector(name) for name in names if name in self.tensors), None)
        scaling = dimensions.rope_scaling if scaled else None
        rotary = self.numerics.rotary(theta, dimensions.rotated_dim or dimensions.head_dim, factors, scaling)
        if dimensions.rope_magnitude == 1.0:
            return rotary
        magnitude = self.numerics.dtype(dimensions.rope_magnitude)
        return replace(rotary, magnitude=magnitude if rotary.magnitude is None else rotary.magnitude * magnitude)

    def embedding(self, output: Projection) -> Any:
        """Return the stored embedding; a tied model shares the output, unless FW-4 keeps that one quantised."""
        if "output.weight" not in self.tensors and isinstance(output.matrices[0], np.ndarray):
            return output.matrices[0]
        return self.matrix("token_embd.weight")

    def once(self, form: str, source: WeightSource, store: Callable[[WeightSource], Any]) -> Any:
        """Store a tensor in one form, once for all that name its bytes."""
        if source.storage is None:
            return store(source)
        key = form, source.storage
        if key not in self.stored:
            self.stored[key] = store(source)
        return self.stored[key]

    def one_matrix(self, source: WeightSource) -> Any:
        return self.once("matrix", source, lambda tensor: self.numerics.matrix([tensor]))

    def matrix(self, name: str) -> Any:
        return self.one_matrix(self.tensors[name])

    def vector(self, name: str) -> Array:
        array: Array = self.once("vector", self.tensors[name], lambda tensor: self.numerics.array(tensor.rows()))
        return array

    def vector_if_present(self, name: str) -> Array | None:
        return self.vector(name) if name in self.tensors else None

    def norm(self, name: str) -> Norm | None:
        return Norm(self.vector_if_present(name + ".weight"), self.vector_if_present(name + ".bias"))

    def projection(self, *names: str) -> Projection:
        """Bind matrices that share their input, with their biases."""
        sources = [self.tensors[name + ".weight"] for name in names]
        biases = tuple(self.vector_if_present(name + ".bias") for name in names)
        if scales_apart(self.profile, self.numerics):
            return Projection(tuple(self.once("scaled", source, self.scaled) for source in sources), (), biases)
        if any(self.uses[source.storage] > 1 for source in sources):
            return Projection(tuple(map(self.one_matrix, sources)), (), biases)
        borders = np.cumsum([source.shape[0] for source in sources])[:-1]
        return Projection((self.numerics.matrix(sources),), tuple(int(border) for border in borders), biases)

    def scaled(self, source: WeightSource) -> Any:
        quantized = source.quantized()
        if quantized is None or not isinstance(self.numerics, Seq32):
            return self.one_matrix(source)  # float32 and GGUF know only value x scale (section 13, Sampler options)
        per_block = self.profile.quantized_product == "sum times scale"
        return self.numerics.scaled_matrix(quantized.values, quantized.scales, quantized.block_size, per_block)

    def split(self, name: str, *borders: int) -> Projection:
        """Bind one stored matrix whose rows belong to several outputs."""
        bias = self.vector_if_present(name + ".bias")
        biases: Sequence[Array | None] = () if bias is None else np.split(bias, borders)
        return Projection((self.matrix(name + ".weight"),), borders, tuple(biases))


_EXPERT_PARTS = ("gate", "up", "down")
