"""One feature of an architecture switched off or made wrong inside the package: what every comparison must notice.

A control alters a validated model: its description, its hyper-parameters or its tensors. `zoo` and `random` name the
models that have the feature, among the numbers of other software and among the random models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refruntime.contract.profile import Profile
from refruntime.model.validated import ValidatedModel, WeightSource

Change = Callable[[ValidatedModel], ValidatedModel]


@dataclass(frozen=True)
class PackageControl:
    """`change` makes one thing wrong in a model read under `profile`."""

    zoo: str | None
    random: str | None
    wrong: str
    change: Change
    profile: Profile = field(default_factory=Profile)

    def __str__(self) -> str:
        return f"{self.zoo or self.random}: {self.wrong}"


class Altered:
    """A tensor with other values."""

    def __init__(self, source: WeightSource, values: np.ndarray) -> None:
        self.name, self.type_name = source.name, source.type_name
        self.values, self.shape, self.storage = values, values.shape, None

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.values[start:stop] if self.values.ndim > 1 else self.values

    def quantized(self) -> None:
        return None


def described(**choices: Any) -> Change:
    """Choose other blocks."""
    return lambda model: replace(model, architecture=replace(model.architecture, **choices))


def sized(**values: Any) -> Change:
    """Set other hyper-parameters."""
    return lambda model: replace(model, hyperparameters=replace(model.hyperparameters, **values))


def moved(name: str, by: int) -> Change:
    """Change one hyper-parameter by some steps."""
    return lambda model: sized(**{name: getattr(model.hyperparameters, name) + by})(model)


def times(name: str, factor: float) -> Change:
    """Multiply one hyper-parameter."""
    return lambda model: sized(**{name: getattr(model.hyperparameters, name) * factor})(model)


def without(*endings: str) -> Change:
    """Leave away every tensor whose name ends like this."""

    def change(model: ValidatedModel) -> ValidatedModel:
        kept = {name: tensor for name, tensor in model.tensors.items() if not name.endswith(endings)}
        assert len(kept) < len(model.tensors)
        return replace(model, tensors=kept)

    return change


def altered(ending: str, values: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Change the values of every tensor whose name ends like this."""

    def change(model: ValidatedModel) -> ValidatedModel:
        changed = {name: Altered(t, values(t.rows())) for name, t in model.tensors.items() if name.endswith(ending)}
        assert changed
        return replace(model, tensors={**model.tensors, **changed})

    return change


def swapped_halves(values: np.ndarray) -> np.ndarray:
    return np.roll(values, len(values) // 2, axis=0)


def flipped(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[:, ::-1])


ADJACENT, HALVES = "rotary pairs side by side", "rotary pairs in halves"
IN_HALVES = ("qwen2", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi2", "phi3", "olmo2", "olmoe", "stablelm",
             "starcoder2", "gptneox", "nemotron", "lfm2")  # fmt: skip
SIDE_BY_SIDE = ("llama", "smollm3", "granite", "olmo", "command-r")
WITH_GELU = ("gemma", "gemma2", "gemma3", "gpt2", "gptneox", "phi2", "starcoder2")
PARTLY_ROTATED = ("stablelm", "phi2", "gptneox", "nemotron")

FEATURES: tuple[tuple[str, str, Change], ...] = (
    ("qwen2", "no bias", without("attn_q.bias", "attn_k.bias", "attn_v.bias")),
    ("qwen3", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
    ("qwen3moe", "shares of experts not renormalised", described(experts_renormalised=False)),
    ("qwen3moe", "one expert more", moved("expert_used_count", 1)),
    ("qwen3moe", "one expert less", moved("expert_used_count", -1)),
    ("olmoe", "shares of experts renormalised", described(experts_renormalised=True)),
    ("olmoe", "one expert more", moved("expert_used_count", 1)),
    ("olmoe", "norm of queries and keys left out", described(norm_of_queries_and_keys="none")),
    ("gemma", "embedding not scaled", described(embedding_times_root=False)),
    ("gemma2", "no norms behind the blocks", described(norm_behind=False)),
    ("gemma2", "no soft cap of scores", sized(attention_softcap=0.0)),
    ("gemma2", "no soft cap of logits", sized(logit_softcap=0.0)),
    ("gemma2", "window one longer", moved("sliding_window", 1)),
    ("gemma2", "window one shorter", moved("sliding_window", -1)),
    ("gemma2", "window on every layer", sized(window_period=0)),
    ("gemma2", "no window", sized(sliding_window=0)),
    ("gemma3", "window one longer", moved("sliding_window", 1)),
    ("gemma3", "window one shorter", moved("sliding_window", -1)),
    ("gemma3", "full layers one layer early", moved("window_period", -1)),
    ("gemma3", "one rotary base for all layers", sized(window_rope_theta=None)),
    ("gemma3", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
    ("phi3", "gate and up exchanged", altered("ffn_up.weight", swapped_halves)),
    ("smollm3", "every layer rotates", described(rope_skipped_every=0)),
    ("smollm3", "every second layer rotates", described(rope_skipped_every=2)),
    ("granite", "attention scale one percent off", times("attention_scale", 1.01)),
    ("granite", "usual attention scale", sized(attention_scale=0.0)),
    ("granite", "no factor of the embedding", sized(embedding_scale=1.0)),
    ("granite", "no factor of the residuals", sized(residual_scale=1.0)),
    ("granite", "no factor of the logits", sized(logit_scale=1.0)),
    ("granite", "logits multiplied instead of divided", described(logit_scale="multiply")),
    ("olmo2", "no norms behind the blocks", described(norm_behind=False)),
    ("olmo2", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
    ("stablelm", "no bias", without("attn_q.bias", "attn_k.bias", "attn_v.bias")),
    ("stablelm", "norms without bias", without("norm.bias")),
    ("stablelm", "parallel layers", sized(parallel=True)),
    ("gpt2", "no positions", described(positions="rotary")),
    ("gpt2", "no bias behind attention", without("attn_output.bias")),
    ("gpt2", "no biases in the feed-forward blocks", without("ffn_up.bias", "ffn_down.bias")),
    ("command-r", "layers not parallel", sized(parallel=False)),
    ("command-r", "no factor of the logits", sized(logit_scale=1.0)),
    ("command-r", "RMSNorm", described(norm="rms")),
    ("nemotron", "ReLU not squared, but SiLU", described(activation="silu")),
    ("phi2", "layers not parallel", sized(parallel=False)),
    ("phi2", "no bias at the output", without("output.bias")),
    ("starcoder2", "no bias", without("attn_q.bias", "attn_k.bias", "attn_v.bias")),
    ("gptneox", "layers not parallel", sized(parallel=False)),
    ("gptneox", "one norm for both blocks", described(parallel_norm="shared")),
    ("lfm2", "kernel the wrong way round", altered("shortconv.conv.weight", flipped)),
    ("lfm2", "gates exchanged", altered("shortconv.in_proj.weight", swapped_halves)),
    ("lfm2", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
)


def _controls() -> Iterator[PackageControl]:
    for name in IN_HALVES:
        yield PackageControl(name, name, ADJACENT, described(rope_pairs="adjacent"))
    for name in SIDE_BY_SIDE:
        yield PackageControl(name, name, HALVES, described(rope_pairs="halves"))
    for name in PARTLY_ROTATED:
        yield PackageControl(name, name, "whole heads rotated", sized(rotated_dim=None))
    for name in WITH_GELU:
        yield PackageControl(name, name, "SiLU instead of GELU", described(activation="silu"))
    for name, wrong, change in FEATURES:
        yield PackageControl(name, name, wrong, change)
    yield PackageControl("olmo", "olmo", "RMSNorm", _unit_rms_norm)
    yield PackageControl(None, "olmo-clipped", "queries, keys and values not clamped", sized(qkv_clamp=0.0))
    yield PackageControl(None, "phi3-long", "short rotary factors", sized(original_context=1 << 20))
    yield PackageControl(None, "phi3-short", "long rotary factors", sized(original_context=1))
    yield PackageControl(None, "phi3-long", "no factor of cosines and sines", sized(rope_magnitude=1.0))
    yield PackageControl(None, "gemma3-linear", "windowed layers stretched too", described(window_rope_scaled=True))
    applied = Profile(gguf_phi3_window="applied")
    for by in (1, -1):
        wrong = f"window {'longer' if by > 0 else 'shorter'} by one"
        yield PackageControl("phi3-window", "phi3-window", wrong, moved("sliding_window", by), applied)


def _unit_rms_norm(model: ValidatedModel) -> ValidatedModel:
    """Use RMSNorm with weights of 1 where olmo has LayerNorm without vectors."""
    size, layers = model.hyperparameters.hidden_size, range(model.hyperparameters.layer_count)
    source, ones = next(iter(model.tensors.values())), np.ones(size, np.float32)
    names = [*(f"blk.{layer}.{norm}.weight" for layer in layers for norm in ("attn_norm", "ffn_norm"))]
    norms = {name: Altered(source, ones) for name in (*names, "output_norm.weight")}
    return described(norm="rms")(replace(model, tensors={**model.tensors, **norms}))


CONTROLS = tuple(_controls())
