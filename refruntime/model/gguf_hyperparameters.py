"""Read the hyper-parameters of a GGUF model; refuse by name what would change the arithmetic (GG-4, section 13)."""

from __future__ import annotations

from math import isfinite
from typing import Final

from refruntime.containers.gguf import GgufMetadata, ValueType
from refruntime.containers.gguf_metadata import printable
from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader
from refruntime.model.validated import Hyperparameters
from refruntime.numerics.rotary import RopeScaling

_USED: Final = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scale_linear",
)
_HARMLESS: Final = ("rope.scaling.finetuned", "tensor_data_layout")
"""They tell how a model was made; llama.cpp reads neither."""

_NEUTRAL: Final[dict[str, tuple[ValueType, object]]] = {
    "expert_count": (ValueType.UINT32, 0),
    "expert_used_count": (ValueType.UINT32, 0),
    "attention.sliding_window": (ValueType.UINT32, 0),
    "attention.causal": (ValueType.BOOL, True),
    "attention.scale": (ValueType.FLOAT32, 0.0),
    "attention.clamp_kqv": (ValueType.FLOAT32, 0.0),
    "attention.max_alibi_bias": (ValueType.FLOAT32, 0.0),
    "attn_logit_softcapping": (ValueType.FLOAT32, 0.0),
    "final_logit_softcapping": (ValueType.FLOAT32, 0.0),
    "embedding_scale": (ValueType.FLOAT32, 1.0),
    "residual_scale": (ValueType.FLOAT32, 1.0),
    "logit_scale": (ValueType.FLOAT32, 1.0),
    "rope.scaling.attn_factor": (ValueType.FLOAT32, 1.0),
    "use_parallel_residual": (ValueType.BOOL, False),
}
"""Accepted only with the value that changes nothing."""


def read_hyperparameters(metadata: GgufMetadata, profile: Profile) -> Hyperparameters:
    """Read the hyper-parameters of the `llama` architecture.

    `vocab_size` is the number of tokens (0 when there is no token list, which the tokenizer refuses). InvalidHeader for
    what is missing, inconsistent or not implemented.
    """
    architecture = metadata.text("general.architecture")
    if architecture != "llama":
        raise _invalid("the architecture is not supported", "general.architecture", "llama", printable(architecture))
    prefix = architecture + "."
    _refuse_unknown(metadata, prefix)
    layer_count = _size(metadata, prefix + "block_count")
    hidden_size = _size(metadata, prefix + "embedding_length")
    head_count = _per_layer(metadata, prefix + "attention.head_count", layer_count)
    kv_head_count = _per_layer(metadata, prefix + "attention.head_count_kv", layer_count, head_count)
    if head_count % kv_head_count:
        raise _invalid(
            "query heads do not divide among the key/value heads",
            prefix + "attention.head_count_kv",
            f"a divisor of {head_count}",
            kv_head_count,
        )
    tokens = metadata.fields.get("tokenizer.ggml.tokens")
    vocab_size = 0 if tokens is None else tokens.count
    if prefix + "vocab_size" in metadata and tokens is not None:
        _equal(metadata, prefix + "vocab_size", vocab_size)
    return Hyperparameters(
        architecture=architecture,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        layer_count=layer_count,
        head_count=head_count,
        kv_head_count=kv_head_count,
        head_dim=_head_dim(metadata, prefix, hidden_size, head_count),
        ffn_size=_per_layer(metadata, prefix + "feed_forward_length", layer_count),
        max_context=min(_size(metadata, prefix + "context_length"), profile.gguf_context_limit),
        rope_theta=_positive(metadata, prefix + "rope.freq_base", 10000.0),
        rms_norm_epsilon=_positive(metadata, prefix + "attention.layer_norm_rms_epsilon"),
        rope_scaling=_rope_scaling(metadata, prefix),
    )


def _refuse_unknown(metadata: GgufMetadata, prefix: str) -> None:
    for key in metadata:
        suffix = key.removeprefix(prefix)
        if suffix == key or suffix in _USED or suffix in _HARMLESS:
            continue
        if suffix not in _NEUTRAL:
            raise _invalid(
                "an unknown hyper-parameter might change the arithmetic", printable(key), "no such key", "it is set"
            )
        value_type, neutral = _NEUTRAL[suffix]
        if metadata.fields[key].type is not value_type or metadata[key] != neutral:
            field = metadata.fields[key]
            found = field.type_name if field.type in (ValueType.ARRAY, ValueType.STRING) else field.value
            raise _invalid("a hyper-parameter asks for arithmetic that is not implemented", key, neutral, found)


def _size(metadata: GgufMetadata, key: str) -> int:
    value = metadata.u32(key)
    if value == 0:
        raise _invalid("a dimension is zero", key, "at least 1", value)
    return value


def _per_layer(metadata: GgufMetadata, key: str, layer_count: int, default: int | None = None) -> int:
    """Read a size that llama.cpp also takes as an array of one value for each layer; the values must be equal."""
    if key not in metadata and default is not None:
        return default
    field = metadata.fields.get(key)
    if field is None or field.type is not ValueType.ARRAY:
        return _size(metadata, key)
    values = metadata.numbers(key, ValueType.UINT32, ValueType.INT32)
    if len(values) != layer_count:
        raise _invalid("an array has not one value for each layer", key, f"{layer_count} values", len(values))
    if not (values == values[0]).all():
        raise _invalid("layers of different sizes are not supported", key, "equal values", values.tolist()[:8])
    if values[0] <= 0:
        raise _invalid("a dimension is zero", key, "at least 1", int(values[0]))
    return int(values[0])


def _head_dim(metadata: GgufMetadata, prefix: str, hidden_size: int, head_count: int) -> int:
    """Return the size of a head: all of it is rotated, and keys are as long as values (as llama.cpp for `llama`)."""
    key = prefix + "attention.key_length"
    if key in metadata:
        head_dim = _size(metadata, key)
    elif hidden_size % head_count:
        raise _invalid("heads do not divide the hidden size", prefix + "attention.head_count", "a divisor", head_count)
    else:
        head_dim = hidden_size // head_count
    # without a value length llama.cpp takes hidden size / heads for it, whatever the key length is
    value_length = metadata.u32(prefix + "attention.value_length", hidden_size // head_count)
    if value_length != head_dim:
        raise _invalid("keys and values differ in length", prefix + "attention.value_length", head_dim, value_length)
    rotated = metadata.u32(prefix + "rope.dimension_count", head_dim)
    if rotated != head_dim:
        raise _invalid("only a part of each head is rotated", prefix + "rope.dimension_count", head_dim, rotated)
    if head_dim % 2:
        raise _invalid("a head of odd size cannot be rotated in pairs", key, "an even number", head_dim)
    return head_dim


def _rope_scaling(metadata: GgufMetadata, prefix: str) -> RopeScaling | None:
    """Read linear or YaRN scaling as llama.cpp does: linear is the default type; a factor of 0 means 1."""
    scaling = prefix + "rope.scaling."
    kind = metadata.text(scaling + "type", "linear")
    if kind not in ("none", "linear", "yarn"):
        raise _invalid("rope scaling is not implemented", scaling + "type", "none, linear or yarn", printable(kind))
    new, old = scaling + "factor", prefix + "rope.scale_linear"
    key = new if new in metadata else old
    factor = metadata.f32(key, 1.0) or 1.0
    if not isfinite(factor) or factor < 0:
        raise _invalid("a constant is not usable", key, "finite and not negative", factor)
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return None
    if kind == "linear":
        return RopeScaling(kind, factor)
    if metadata.f32(prefix + "rope.freq_base", 10000.0) == 1.0:
        raise _invalid("YaRN divides by the logarithm of the base", prefix + "rope.freq_base", "not 1", 1.0)
    trained = scaling + "original_context_length"
    return RopeScaling(
        kind,
        factor,
        _size(metadata, trained if trained in metadata else prefix + "context_length"),
        _positive(metadata, scaling + "yarn_beta_fast", 32.0),
        _positive(metadata, scaling + "yarn_beta_slow", 1.0),
    )


def _positive(metadata: GgufMetadata, key: str, default: float | None = None) -> float:
    value = metadata.f32(key, default)
    if not isfinite(value) or value <= 0:
        raise _invalid("a constant is not usable", key, "finite and greater than 0", value)
    return value


def _equal(metadata: GgufMetadata, key: str, expected: int) -> None:
    value = metadata.u32(key)
    if value != expected:
        raise _invalid("hyper-parameters contradict each other", key, expected, value)


def _invalid(detail: str, key: str, expected: object, found: object) -> InvalidHeader:
    return InvalidHeader(detail, rule="GG-4", field=key, expected=expected, found=found)
