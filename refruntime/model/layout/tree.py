"""What a model of an architecture consists of: one tree of tensor names, shapes and places (GG-4).

The tree has two instances. `model_layout` makes the one whose leaves are slots: which tensors a file must or may hold
follows from it (`expected_tensors`). `bound` makes the other one of it, whose leaves are weights in the form of a
numeric profile (`refruntime.model.weights`); that is what the forward pass reads.

Letters of the shapes: V vocab, H hidden, F ffn, D head_dim, A heads, K key/value heads, E experts, L positions that a
short convolution reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

from refruntime.model.architectures.base import ABSENT, REQUIRED, Presence

P = TypeVar("P")  # matrices that share their input
N = TypeVar("N")  # a norm
V = TypeVar("V")  # a vector
T = TypeVar("T")  # a table whose rows are looked up


class ExpectedTensor(NamedTuple):
    """A tensor by its name in GGUF, with its row-major shape."""

    name: str
    shape: tuple[int, ...]
    required: bool = True


# Leaves ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatrixSlot:
    """A matrix [out, in] with its bias [out]; with `count` both are number `index` of stacks of so many."""

    name: str
    shape: tuple[int, int]
    bias: Presence = ABSENT
    bias_of: str = ""  # name of the bias where it is not that of the matrix
    count: int = 0
    index: int = 0

    @property
    def bias_name(self) -> str:
        """Return the name of the bias."""
        return (self.bias_of or self.name) + ".bias"

    def tensors(self) -> Iterator[ExpectedTensor]:
        """Yield the tensors that fill this slot."""
        stack = (self.count,) if self.count else ()
        yield ExpectedTensor(self.name + ".weight", (*stack, *self.shape))
        if self.bias != ABSENT:
            yield ExpectedTensor(self.bias_name, (*stack, self.shape[0]), self.bias == REQUIRED)


@dataclass(frozen=True)
class ProjectionSlot:
    """Matrices that share their input; the rows of a single one may belong to several outputs, parted at `borders`."""

    matrices: tuple[MatrixSlot, ...]
    borders: tuple[int, ...] = ()

    def tensors(self) -> Iterator[ExpectedTensor]:
        """Yield the tensors that fill this slot."""
        for matrix in self.matrices:
            yield from matrix.tensors()


@dataclass(frozen=True)
class NormSlot:
    """The vectors of a norm."""

    name: str
    size: int
    weight: bool = True
    bias: bool = False

    def tensors(self) -> Iterator[ExpectedTensor]:
        """Yield the tensors that fill this slot."""
        if self.weight:
            yield ExpectedTensor(self.name + ".weight", (self.size,))
        if self.bias:
            yield ExpectedTensor(self.name + ".bias", (self.size,))


@dataclass(frozen=True)
class TableSlot:
    """A matrix [rows, in] whose rows are looked up."""

    name: str
    shape: tuple[int, int]

    def tensors(self) -> Iterator[ExpectedTensor]:
        """Yield the tensor that fills this slot."""
        yield ExpectedTensor(self.name + ".weight", self.shape)


@dataclass(frozen=True)
class VectorSlot:
    """A tensor that is read as it is."""

    name: str
    shape: tuple[int, ...]
    required: bool = True

    def tensors(self) -> Iterator[ExpectedTensor]:
        """Yield the tensor that fills this slot."""
        yield ExpectedTensor(self.name, self.shape, self.required)


Slot = ProjectionSlot | NormSlot | TableSlot | VectorSlot


# Nodes ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionLayout(Generic[P, N, V]):
    """Attention: `qkv` [H] -> [A * D], [K * D], [K * D]; `output` [A * D] -> [H]; `sinks` [A] are scores of nothing."""

    qkv: P
    query_norm: N | None
    key_norm: N | None
    sinks: V | None
    output: P


@dataclass(frozen=True)
class Convolution(Generic[P, V]):
    """A gated short convolution: `gates` [H] -> [H], [H], [H]; `kernel` [H, L]; `output` [H] -> [H]."""

    gates: P
    kernel: V
    output: P


@dataclass(frozen=True)
class StateSpace(Generic[P, V]):
    """A state-space mixer (Mamba 2): S state heads of inner size I, G groups of N numbers, C = I + 2 G N channels.

    `input` [H] -> z [I], channels [C], steps [S]; `kernel` [C, L]; `norm` [G, I / G]; `output` [I] -> [H].
    """

    input: P
    kernel: V
    kernel_bias: V | None
    step_bias: V
    decay: V
    skip: V
    norm: V
    output: P


@dataclass(frozen=True)
class DeltaNet(Generic[P, V]):
    """A gated delta net: S value heads of inner size I, G key heads of N numbers, C = I + 2 G N channels.

    `channels` [H] -> [C]; `gate` [H] -> [I]; `alpha`, `beta` [H] -> [S]; `kernel` [C, L]; `norm` [N];
    `output` [I] -> [H].
    """

    channels: P
    gate: P
    alpha: P
    beta: P
    kernel: V
    step_bias: V
    decay: V
    norm: V
    output: P


@dataclass(frozen=True)
class FeedForward(Generic[P]):
    """A feed-forward block, or one expert: `up` [H] -> gate [F], up [F], without a gate up alone; `down` [F] -> [H]."""

    up: P
    down: P


@dataclass(frozen=True)
class Experts(Generic[P, V]):
    """A router [H] -> [E], a bias [E] of its choice, and the experts that it chooses from, with scales [E].

    Every position takes the shared one, by the sigmoid of its `shared_gate` [H] -> [1] where there is one.
    """

    router: P
    choice_bias: V | None
    experts: tuple[FeedForward[P], ...]
    output_scales: V | None
    shared: FeedForward[P] | None
    shared_gate: P | None


@dataclass(frozen=True)
class ExpertsBeside(Generic[P, N, V]):
    """A dense block and experts on the same rows: each with norms of its own; the router reads rows times a scale."""

    dense: FeedForward[P]
    dense_norm: N
    experts_norm: N
    router_scale: V
    experts: Experts[P, V]
    mixed_norm: N


@dataclass(frozen=True)
class LayerInput(Generic[P, N]):
    """What enters a layer for each token: `gate` [H] -> [E], `output` [E] -> [H]."""

    gate: P
    output: P
    norm: N


@dataclass(frozen=True)
class LayerInputs(Generic[P, N, T]):
    """The inputs of all layers: `table` [V, layers * E]; `projection` [H] -> [layers * E]; `norm` [E]."""

    table: T
    projection: P
    norm: N


@dataclass(frozen=True)
class Layer(Generic[P, N, V]):
    """One layer; a norm that the architecture lacks is None."""

    attn_norm: N | None
    mixer: AttentionLayout[P, N, V] | Convolution[P, V] | StateSpace[P, V] | DeltaNet[P, V]
    post_attention_norm: N | None
    ffn_norm: N | None
    feed_forward: FeedForward[P] | Experts[P, V] | ExpertsBeside[P, N, V]
    post_ffw_norm: N | None
    input: LayerInput[P, N] | None
    scale: V | None


@dataclass(frozen=True)
class ModelTree(Generic[P, N, V, T]):
    """A whole model: `embedding` [V, H], `positions` [P, H]; `output` [H] -> [V], by the embedding where it is tied.

    `rope_factors` divide the rotary angles; of a long and a short set one fits the capacity.
    """

    embedding: T
    positions: T | None
    output_norm: N
    output: P
    rope_factors: tuple[V, ...]
    layer_inputs: LayerInputs[P, N, T] | None
    layers: tuple[Layer[P, N, V], ...]


ModelLayout = ModelTree[ProjectionSlot, NormSlot, VectorSlot, TableSlot]


def slots(node: Any) -> Iterator[Slot]:
    """Yield the slots of a layout in their order."""
    if isinstance(node, Slot):
        yield node
    elif isinstance(node, tuple):
        for each in node:
            yield from slots(each)
    elif is_dataclass(node):
        for field in fields(node):
            yield from slots(getattr(node, field.name))


def bound(node: Any, bind: Callable[[Slot], Any]) -> Any:
    """Return the tree in which `bind` has replaced every slot."""
    if isinstance(node, Slot):
        return bind(node)
    if isinstance(node, tuple):
        return tuple(bound(each, bind) for each in node)
    if node is None or isinstance(node, type):
        return node
    return replace(node, **{field.name: bound(getattr(node, field.name), bind) for field in fields(node)})


def expected_tensors(layout: Any) -> list[ExpectedTensor]:
    """Return every tensor that a layout uses, each once."""
    return list({tensor.name: tensor for slot in slots(layout) for tensor in slot.tensors()}.values())
