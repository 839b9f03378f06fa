"""Make the layout of an encoder: tables, a norm behind them, layers; no output (GG-15)."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, replace
from typing import Generic

from refruntime.model.architectures.base import Architecture
from refruntime.model.hyperparameters import Hyperparameters, needed
from refruntime.model.layout.architecture import layer_layouts
from refruntime.model.layout.tree import (
    Layer,
    N,
    NormSlot,
    P,
    ProjectionSlot,
    T,
    TableSlot,
    V,
    VectorSlot,
)


@dataclass(frozen=True)
class EncoderTree(Generic[P, N, V, T]):
    """A whole encoder: `embedding` [V, H], `types` [kinds of text, H], `positions` [P, H], `norm` of their sum."""

    embedding: T
    types: T | None
    positions: T | None
    norm: N
    layers: tuple[Layer[P, N, V], ...]


EncoderLayout = EncoderTree[ProjectionSlot, NormSlot, VectorSlot, TableSlot]


def encoder_layout(architecture: Architecture, dimensions: Hyperparameters, present: Container[str]) -> EncoderLayout:
    """Return the layout of an encoder; `present` decides between forms of which a file holds one."""
    hidden, kinds = dimensions.hidden_size, needed(dimensions.encoder).text_kinds
    positions = TableSlot("position_embd", (dimensions.learned_positions, hidden))
    return EncoderTree(
        embedding=TableSlot("token_embd", (dimensions.vocab_size, hidden)),
        types=TableSlot("token_types", (kinds, hidden)) if "token_types.weight" in present else None,
        positions=positions if architecture.positions == "learned" else None,
        norm=NormSlot("token_embd_norm", hidden, bias=True),
        layers=layer_layouts(architecture, dimensions, present),
    )


def encoder_layout_within(
    architecture: Architecture, dimensions: Hyperparameters, present: Collection[str]
) -> EncoderLayout:
    """Return as much of a layout as shows every tensor that a file lacks or should not have, whatever it claims."""
    layers = min(dimensions.layer_count, len(present) + 1)
    return encoder_layout(architecture, replace(dimensions, layer_count=layers), present)
