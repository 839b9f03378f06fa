"""Read the rotary embedding of a GGUF model: size, base, scaling (GG-4, section 13 "GGUF")."""

from __future__ import annotations

from math import isclose
from typing import Final

from refruntime.containers.gguf import GgufMetadata
from refruntime.containers.gguf_metadata import printable
from refruntime.model.architectures.base import Architecture
from refruntime.model.gguf.values import factor, invalid, positive, size
from refruntime.model.hyperparameters import RopeParameters
from refruntime.numerics.rotary import RopeScaling

ROUNDED_TO_FLOAT32: Final = 2.0**-23
"""How far a number of the converter may be from ours when both mean the same."""


def read_rope(metadata: GgufMetadata, architecture: Architecture, head_dim: int) -> RopeParameters:
    """Read all of the rotary embedding. InvalidHeader."""
    prefix = architecture.name + "."
    magnitude = "rope.scaling.attn_factor"
    return RopeParameters(
        theta=positive(metadata, prefix + "rope.freq_base", 10000.0),
        scaling=_scaling(metadata, architecture),
        rotated=_rotated(metadata, architecture, head_dim),
        magnitude=factor(metadata, prefix + magnitude, 1.0) if magnitude in architecture.keys else 1.0,
        original_context=(
            read_original_context(metadata, architecture) if architecture.rope_factors == "long and short" else 0
        ),
        applied=not architecture.rope_switched or metadata.boolean(prefix + "rope.scaling.finetuned", True),
    )


def _rotated(metadata: GgufMetadata, architecture: Architecture, head_dim: int) -> int | None:
    """Return how many numbers of a head are rotated, None for all of them."""
    if architecture.positions != "rotary":
        return None
    key = architecture.name + ".rope.dimension_count"
    rotated = size(metadata, key, head_dim)
    if rotated != head_dim and not architecture.rope_partial:
        raise invalid("only a part of each head is rotated", key, head_dim, rotated)
    if rotated > head_dim:
        raise invalid("more is rotated than a head has", key, f"at most {head_dim}", rotated)
    if rotated % 2:
        named = key if rotated != head_dim else architecture.name + ".attention.key_length"
        raise invalid("a head of odd size cannot be rotated in pairs", named, "an even number", rotated)
    return None if rotated == head_dim else rotated


def _scaling(metadata: GgufMetadata, architecture: Architecture) -> RopeScaling | None:
    """Read linear or YaRN scaling as llama.cpp does: linear is the default type; a factor of 0 means 1.

    The magnitude of YaRN follows from its factor; a file may repeat it (OLMo 3), but not say another.
    """
    prefix = architecture.name + "."
    scaling = prefix + "rope.scaling."
    kind = metadata.text(scaling + "type", "linear")
    known = ["none", "linear", "yarn"]
    if architecture.rope_factors == "long and short":
        known.append("longrope")  # the factors are tensors; what remains is linear
    if kind not in known:
        expected = f"{', '.join(known[:-1])} or {known[-1]}"
        raise invalid("rope scaling is not implemented", scaling + "type", expected, printable(kind))
    new, old = scaling + "factor", prefix + "rope.scale_linear"
    key = new if new in metadata else old
    stretch = factor(metadata, key, 1.0, 1.0)
    if kind == "none" or (kind != "yarn" and stretch == 1.0):
        return None
    if kind != "yarn":
        return RopeScaling("linear", stretch)
    if metadata.f32(prefix + "rope.freq_base", 10000.0) == 1.0:
        raise invalid("YaRN divides by the logarithm of the base", prefix + "rope.freq_base", "not 1", 1.0)
    yarn = RopeScaling(
        kind,
        stretch,
        read_original_context(metadata, architecture),
        positive(metadata, scaling + "yarn_beta_fast", 32.0),
        positive(metadata, scaling + "yarn_beta_slow", 1.0),
        _log_multiplier(metadata, architecture),
        architecture.yarn_range == "whole pairs",
    )
    magnitude = metadata.f32(scaling + "yarn_attn_factor", yarn.magnitude)
    if not isclose(magnitude, yarn.magnitude, rel_tol=ROUNDED_TO_FLOAT32):
        raise invalid("YaRN has a magnitude of its own", scaling + "yarn_attn_factor", yarn.magnitude, magnitude)
    return yarn


def _log_multiplier(metadata: GgufMetadata, architecture: Architecture) -> float:
    key = "rope.scaling.yarn_log_multiplier"
    return factor(metadata, f"{architecture.name}.{key}", 0.0) if key in architecture.keys else 0.0


def read_original_context(metadata: GgufMetadata, architecture: Architecture) -> int:
    """Return the context in positions that the model was trained with before it was stretched."""
    trained = architecture.name + ".rope.scaling.original_context_length"
    return size(metadata, trained if trained in metadata else architecture.name + ".context_length")
