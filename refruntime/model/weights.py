"""Turn the tensors of a validated model into the matrices of a numeric profile."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from threading import RLock
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.errors import GenerationFailed, InvalidHeader
from refruntime.memory_limit import memory_limit, within_memory
from refruntime.model.kv_cache import first_cache_bytes
from refruntime.model.later import Later
from refruntime.model.layout.architecture import model_layout
from refruntime.model.layout.encoder import EncoderTree, encoder_layout
from refruntime.model.layout.tree import MatrixSlot, ModelTree, NormSlot, ProjectionSlot, Slot, TableSlot, bound
from refruntime.model.stacks import MatrixOfStack, StoredMatrixOfStack
from refruntime.model.validated import ValidatedModel, WeightSource
from refruntime.numerics import Inventory, Numerics, Rotary, StoredSource, has_blocks

Array = NDArray[Any]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Projection:
    """One or several weight matrices that share their input: [in] -> an [out] for each.

    Either one stored matrix holds them side by side, taken apart at `splits`, or each is stored on its own. Neither
    changes a bit, since every output has a sum of its own. A bias is added to the finished sum. `bind` stores the
    matrices, when they are first used.
    """

    bind: Callable[[], tuple[Any, ...]]
    splits: tuple[int, ...] = ()
    biases: tuple[Array | None, ...] = ()

    @cached_property
    def matrices(self) -> tuple[Any, ...]:
        """Return the matrices in the form of a numeric profile."""
        return self.bind()

    def apply(self, numerics: Numerics, x: Array) -> list[Array]:
        """Multiply: [n, in] -> one [n, out] for each weight matrix."""
        products = [numerics.project(matrix, x) for matrix in self.matrices]
        if self.splits:
            borders = itertools.pairwise((0, *self.splits, products[0].shape[1]))
            products = [products[0][:, begin:end] for begin, end in borders]
        for index, bias in enumerate(self.biases):
            if bias is not None:
                products[index] = products[index] + bias
        return products


class Norm(NamedTuple):
    """The vectors of a norm, None where it has none."""

    weight: Array | None
    bias: Array | None


BoundModel = ModelTree[Projection, Norm, Array, Any]
"""The layout of a model with weights for leaves; a table is a matrix as the numeric profile stores it."""


@dataclass(frozen=True)
class Weights:
    """All weights in the form of a numeric profile; `window_rotary` is the rotary embedding of windowed layers."""

    model: BoundModel
    rotary: Rotary
    window_rotary: Rotary


Store = Callable[[Sequence[WeightSource]], Any]
"""Store matrices [out, in] that share their input, as `Numerics.matrix` does."""


@dataclass(frozen=True)
class EncoderWeights:
    """All weights of an encoder in the form of a numeric profile."""

    model: EncoderTree[Projection, Norm, Array, Any]
    rotary: Rotary | None


Bound = TypeVar("Bound", Weights, EncoderWeights)


def bind_weights(
    model: ValidatedModel, profile: Profile, numerics: Numerics, store: Store | None = None, *, later: bool = False
) -> Callable[[], Weights]:
    """Decode every tensor once (FW-1, GG-8) and arrange it for `numerics`; FW-4's option comes from `profile`.

    Tensors that name the same bytes share storage. InvalidHeader, before anything is decoded, if it takes too much.
    `store` may know matrices that were stored alike for another numeric profile. Returned is what gives the weights:
    with `later` it decodes each matrix when it is first used, from bytes that have to stay; GenerationFailed if the
    machine has no memory left then.
    """
    return _bound(_Binder.weights, model, profile, numerics, store, later)


def bind_encoder(
    model: ValidatedModel, profile: Profile, numerics: Numerics, *, later: bool = False
) -> Callable[[], EncoderWeights]:
    """Decode every tensor of an encoder once, as `bind_weights`."""
    return _bound(_Binder.encoder, model, profile, numerics, None, later)


def _bound(
    make: Callable[[_Binder], Bound],
    model: ValidatedModel,
    profile: Profile,
    numerics: Numerics,
    store: Store | None,
    later: bool,
) -> Callable[[], Bound]:
    needed = memory_needed(model, profile, numerics)
    with within_memory(needed, "the model", InvalidHeader):
        binder = _Binder(model, profile, numerics, store or numerics.matrix, needed, later)
        return binder.when_used(lambda: make(binder))


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


def inventory(model: ValidatedModel) -> Inventory:
    """Count the weights of a model's matrices that lie in blocks of the file, and say whether all fit as float32."""
    matrices = [tensor for tensor in model.tensors.values() if len(tensor.shape) > 1]
    in_blocks = [tensor for tensor in matrices if has_blocks(tensor)]
    fits = 4 * sum(prod(tensor.shape) for tensor in matrices) <= memory_limit()
    return Inventory(sum(prod(tensor.shape) for tensor in in_blocks), fits)


def scales_apart(profile: Profile, numerics: Numerics) -> bool:
    """Say whether quantised matrices are multiplied before their scales are applied (options of FW-4)."""
    return profile.quantized_product != "(q*scale)*x" and numerics.of_the_contract


class _Binder:
    def __init__(
        self, model: ValidatedModel, profile: Profile, numerics: Numerics, store: Store, needed: int, later: bool
    ) -> None:
        self.architecture, self.dimensions = model.architecture, model.hyperparameters
        self.tensors: Mapping[str, WeightSource] = model.tensors
        self.profile, self.numerics, self.store = profile, numerics, store
        self.needed, self.later, self.lock = needed, later, RLock()
        self.uses = Counter(tensor.storage for tensor in self.tensors.values() if tensor.storage is not None)
        self.stored: dict[tuple[str, Hashable], Any] = {}

    def weights(self) -> Weights:
        dimensions = self.dimensions
        model: BoundModel = bound(model_layout(self.architecture, dimensions, self.tensors), self.leaf)
        factors = self.rotary_factors(model)
        rotated, windows, scaled = dimensions.rotated, dimensions.windows, self.architecture.window_rope_scaled
        rotary = self.rotary(dimensions.rope.theta, rotated, factors, scaled=True)
        if windows is None or windows.rope_theta is None:
            return Weights(model, rotary, rotary)
        if windows.head_dim:
            rotated, factors = windows.head_dim, None
        return Weights(model, rotary, self.rotary(windows.rope_theta, rotated, factors, scaled))

    def encoder(self) -> EncoderWeights:
        dimensions = self.dimensions
        rotary = None
        if self.architecture.positions == "rotary":
            rotary = self.rotary(dimensions.rope.theta, dimensions.rotated, None, scaled=True)
        return EncoderWeights(bound(encoder_layout(self.architecture, dimensions, self.tensors), self.leaf), rotary)

    def leaf(self, slot: Slot) -> Any:
        """Bind one slot; an optional tensor that is not there gives None."""
        if isinstance(slot, ProjectionSlot):
            return self.projection(slot)
        if isinstance(slot, NormSlot):
            return Norm(self.vector_if_present(slot.name + ".weight"), self.vector_if_present(slot.name + ".bias"))
        if isinstance(slot, TableSlot):
            return self.one_matrix(self.tensors[slot.name + ".weight"])
        return self.vector_if_present(slot.name)

    def rotary_factors(self, model: BoundModel) -> Array | None:
        """Return what divides the rotary angles: of a long and a short set the one that the capacity asks for."""
        if len(model.rope_factors) == 2:
            long = self.dimensions.max_context > self.dimensions.rope.original_context
            return model.rope_factors[0 if long else 1]
        return next(iter(model.rope_factors), None)

    def rotary(self, theta: float, rotated: int, factors: Array | None, scaled: bool) -> Rotary:
        rope = self.dimensions.rope
        rotary = self.numerics.rotary(theta, rotated, factors, rope.scaling if scaled else None)
        if rope.magnitude == 1.0:
            return rotary
        magnitude = self.numerics.dtype(rope.magnitude)
        return replace(rotary, magnitude=magnitude if rotary.magnitude is None else rotary.magnitude * magnitude)

    def once(self, form: str, source: WeightSource, store: Callable[[WeightSource], Any]) -> Any:
        """Store a tensor in one form, once for all that name it or its bytes."""
        key = form, source.name if source.storage is None else source.storage
        with self.lock:
            if key not in self.stored:
                self.stored[key] = store(source)
            return self.stored[key]

    def one_matrix(self, source: WeightSource) -> Any:
        return self.once("matrix", source, lambda tensor: self.store([tensor]))

    def vector_if_present(self, name: str) -> Array | None:
        if name not in self.tensors:
            return None
        array: Array = self.once("vector", self.tensors[name], lambda tensor: self.numerics.array(tensor.rows()))
        return array

    def projection(self, slot: ProjectionSlot) -> Projection:
        """Bind matrices that share their input, with their biases: side by side where nothing else needs them."""
        sources = [self.source(matrix) for matrix in slot.matrices]
        biases = tuple(self.bias(matrix) for matrix in slot.matrices)
        if slot.borders:
            (bias,) = biases
            parts: Sequence[Array | None] = () if bias is None else np.split(bias, slot.borders)
            return Projection(self.matrices(self.one_matrix, sources), slot.borders, tuple(parts))
        if scales_apart(self.profile, self.numerics):
            return Projection(self.matrices(partial(self.once, "scaled", store=self.scaled), sources), (), biases)
        if len(sources) == 1 or any(self.uses[source.storage] > 1 for source in sources):
            return Projection(self.matrices(self.one_matrix, sources), (), biases)
        borders = np.cumsum([source.shape[0] for source in sources])[:-1]
        return Projection(self.matrices(self.store, [sources]), tuple(int(border) for border in borders), biases)

    def matrices(self, store: Callable[[Any], Any], each: Sequence[Any]) -> Callable[[], tuple[Any, ...]]:
        """Return what stores these matrices."""
        return self.when_used(lambda: tuple(map(store, each)))

    def when_used(self, make: Callable[[], Made]) -> Later[Made]:
        """Return what makes a value, now or when it is first called."""
        made = Later(make, self.needed, GenerationFailed if self.later else InvalidHeader)
        if not self.later:
            made()
        return made

    def bias(self, slot: MatrixSlot) -> Array | None:
        biases = self.vector_if_present(slot.bias_name)
        return biases[slot.index] if biases is not None and slot.count else biases

    def source(self, slot: MatrixSlot) -> WeightSource:
        tensor = self.tensors[slot.name + ".weight"]
        if not slot.count:
            return tensor
        return (StoredMatrixOfStack if isinstance(tensor, StoredSource) else MatrixOfStack)(tensor, slot.index)

    def scaled(self, source: WeightSource) -> Any:
        quantized = source.quantized()
        if quantized is None:
            return self.one_matrix(source)  # float32 and GGUF know only value x scale (section 13, Sampler options)
        per_block = self.profile.quantized_product == "sum times scale"
        return self.numerics.scaled_matrix(quantized.values, quantized.scales, quantized.block_size, per_block)
