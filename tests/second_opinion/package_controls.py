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


def sized(group: str = "", **values: Any) -> Change:
    """Set other hyper-parameters, or others of one group."""

    def change(model: ValidatedModel) -> ValidatedModel:
        sizes = model.hyperparameters
        changed = {group: replace(getattr(sizes, group), **values)} if group else values
        return replace(model, hyperparameters=replace(sizes, **changed))

    return change


def moved(group: str, name: str, by: int) -> Change:
    """Change one hyper-parameter of a group by some steps."""
    return lambda model: sized(group, **{name: getattr(getattr(model.hyperparameters, group), name) + by})(model)


def times(group: str, name: str, factor: float) -> Change:
    """Multiply one hyper-parameter of a group."""
    return lambda model: sized(group, **{name: getattr(getattr(model.hyperparameters, group), name) * factor})(model)


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
             "starcoder2", "gptneox", "nemotron", "lfm2", "lfm2moe", "exaone4", "gpt-oss", "hunyuan-dense",
             "qwen35", "gemma4")  # fmt: skip
SIDE_BY_SIDE = ("llama", "smollm3", "granite", "olmo", "command-r", "cohere2", "ernie4_5", "minicpm", "mistral3")
WITH_GELU = ("gemma", "gemma2", "gemma3", "gemma4", "gpt2", "gptneox", "phi2", "starcoder2")
PARTLY_ROTATED = ("stablelm", "phi2", "gptneox", "nemotron", "qwen35")

FEATURES: tuple[tuple[str, str, Change], ...] = (
    ("qwen2", "no bias", without("attn_q.bias", "attn_k.bias", "attn_v.bias")),
    ("qwen3", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
    ("qwen3moe", "shares of experts not renormalised", described(experts_renormalised=False)),
    ("qwen3moe", "one expert more", moved("experts", "used_count", 1)),
    ("qwen3moe", "one expert less", moved("experts", "used_count", -1)),
    ("olmoe", "shares of experts renormalised", described(experts_renormalised=True)),
    ("olmoe", "one expert more", moved("experts", "used_count", 1)),
    ("olmoe", "norm of queries and keys left out", described(norm_of_queries_and_keys="none")),
    ("gemma", "embedding not scaled", described(embedding_times_root=False)),
    ("gemma2", "no norms behind the blocks", described(norm_behind=False)),
    ("gemma2", "no soft cap of scores", sized("scales", attention_softcap=0.0)),
    ("gemma2", "no soft cap of logits", sized("scales", logit_softcap=0.0)),
    ("gemma2", "window one longer", moved("windows", "size", 1)),
    ("gemma2", "window one shorter", moved("windows", "size", -1)),
    ("gemma2", "window on every layer", sized("windows", period=0)),
    ("gemma2", "no window", sized(windows=None)),
    ("gemma3", "window one longer", moved("windows", "size", 1)),
    ("gemma3", "window one shorter", moved("windows", "size", -1)),
    ("gemma3", "full layers one layer early", moved("windows", "period", -1)),
    ("gemma3", "one rotary base for all layers", sized("windows", rope_theta=None)),
    ("gemma3", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
    ("phi3", "gate and up exchanged", altered("ffn_up.weight", swapped_halves)),
    ("smollm3", "every layer rotates", described(rope_skipped_every=0)),
    ("smollm3", "every second layer rotates", described(rope_skipped_every=2)),
    ("granite", "attention scale one percent off", times("scales", "attention", 1.01)),
    ("granite", "usual attention scale", sized("scales", attention=None)),
    ("granite", "no factor of the embedding", sized("scales", embedding=1.0)),
    ("granite", "no factor of the residuals", sized("scales", residual=1.0)),
    ("granite", "no factor of the logits", sized("scales", logit=1.0)),
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
    ("command-r", "no factor of the logits", sized("scales", logit=1.0)),
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
    ("cohere2", "window one longer", moved("windows", "size", 1)),
    ("cohere2", "window one shorter", moved("windows", "size", -1)),
    ("cohere2", "full layers rotate too", described(rope_of_windows_only=False)),
    ("exaone4", "no norms behind the blocks", described(norm_behind=False)),
    ("exaone4", "factors left out", without("rope_freqs.weight")),
    ("gemma4", "window one longer", moved("windows", "size", 1)),
    ("gemma4", "window one shorter", moved("windows", "size", -1)),
    ("gemma4", "values not normalised", described(values_normalised=False)),
    ("gemma4", "embedding not scaled", described(embedding_times_root=False)),
    ("gemma4", "scores scaled", sized("scales", attention=None)),
    ("gemma4", "no inputs of layers", altered("post_norm.weight", np.zeros_like)),
    ("gemma4", "layers not scaled", without("layer_output_scale.weight")),
    ("gemma4", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
    ("gemma4", "no norms behind the blocks", described(norm_behind=False)),
    ("gemma4", "no soft cap of logits", sized("scales", logit_softcap=0.0)),
    ("gemma4", "no rotary factors", without("rope_freqs.weight")),
    ("gpt-oss", "no sinks", altered("attn_sinks.weight", lambda values: values * 0 - 1e4)),
    ("gpt-oss", "window one longer", moved("windows", "size", 1)),
    ("gpt-oss", "window one shorter", moved("windows", "size", -1)),
    ("gpt-oss", "window on every layer", sized("windows", period=0)),
    ("gpt-oss", "SwiGLU", described(activation="silu")),
    ("gpt-oss", "shares among all experts", sized("experts", gating="softmax")),
    ("gpt-oss", "no bias behind the experts", altered("ffn_down_exps.bias", np.zeros_like)),
    ("gpt-oss", "no bias of the router", altered("ffn_gate_inp.bias", np.zeros_like)),
    ("granitehybrid", "kernel the wrong way round", altered("ssm_conv1d.weight", flipped)),
    ("granitehybrid", "no bias of the convolution", without("ssm_conv1d.bias")),
    ("granitehybrid", "states decay half as fast", altered("ssm_a", lambda values: values / 2)),
    ("granitehybrid", "nothing passes by the state", altered("ssm_d", np.zeros_like)),
    ("granitehybrid", "no bias of the steps", altered("ssm_dt.bias", np.zeros_like)),
    ("granitehybrid", "norm behind the state left out", altered("ssm_norm.weight", np.ones_like)),
    ("granitehybrid", "rotated", sized("rope", applied=True)),
    ("granitehybrid", "no factor of the residuals", sized("scales", residual=1.0)),
    ("granitehybrid", "usual attention scale", sized("scales", attention=None)),
    ("granitehybrid", "no shared expert", altered("ffn_down_shexp.weight", np.zeros_like)),
    ("granitehybrid", "shares of experts not renormalised", described(experts_renormalised=False)),
    ("granitehybrid", "logits multiplied instead of divided", described(logit_scale="multiply")),
    ("hunyuan-dense", "heads normalised before they are rotated", described(heads_normalised_behind_rope=False)),
    ("lfm2moe", "no bias of the choice", altered("exp_probs_b.bias", np.zeros_like)),
    ("lfm2moe", "softmax instead of sigmoid", sized("experts", gating="softmax")),
    ("lfm2moe", "shares of experts not renormalised", described(experts_renormalised=False)),
    ("lfm2moe", "one expert more", moved("experts", "used_count", 1)),
    ("minicpm", "no factor of the embedding", sized("scales", embedding=1.0)),
    ("minicpm", "no factor of the residuals", sized("scales", residual=1.0)),
    ("minicpm", "logits multiplied instead of divided", described(logit_scale="multiply")),
    ("mistral3", "queries do not grow", sized("scales", query_growth=0.0)),
    ("mistral3", "queries grow one position late", moved("scales", "query_growth_length", 1)),
    ("qwen35", "kernel the wrong way round", altered("ssm_conv1d.weight", flipped)),
    ("qwen35", "states decay half as fast", altered("ssm_a", lambda values: values / 2)),
    ("qwen35", "no bias of the steps", altered("ssm_dt.bias", np.zeros_like)),
    ("qwen35", "gate of the state exchanged", altered("attn_gate.weight", swapped_halves)),
    ("qwen35", "norm behind the state left out", altered("ssm_norm.weight", np.ones_like)),
    ("qwen35", "no rates", altered("ssm_beta.weight", np.zeros_like)),
    ("qwen35", "queries and keys not normalised", described(norm_of_queries_and_keys="none")),
)

QWEN35MOE: tuple[tuple[str, Change], ...] = (
    (ADJACENT, described(rope_pairs="adjacent")),
    ("whole heads rotated", sized("rope", rotated=None)),
    ("kernel the wrong way round", altered("ssm_conv1d.weight", flipped)),
    ("states decay half as fast", altered("ssm_a", lambda values: values / 2)),
    ("no rates", altered("ssm_beta.weight", np.zeros_like)),
    ("shares of experts not renormalised", described(experts_renormalised=False)),
    ("one expert more", moved("experts", "used_count", 1)),
    ("no shared expert", altered("ffn_down_shexp.weight", np.zeros_like)),
    ("shared expert not gated", described(shared_expert="plain")),
)
"""No file of the shared numbers has this architecture."""


def _controls() -> Iterator[PackageControl]:
    for name in IN_HALVES:
        yield PackageControl(name, name, ADJACENT, described(rope_pairs="adjacent"))
    for name in SIDE_BY_SIDE:
        yield PackageControl(name, name, HALVES, described(rope_pairs="halves"))
    for name in PARTLY_ROTATED:
        yield PackageControl(name, name, "whole heads rotated", sized("rope", rotated=None))
    for name in WITH_GELU:
        yield PackageControl(name, name, "SiLU instead of GELU", described(activation="silu"))
    for wrong, change in QWEN35MOE:
        yield PackageControl(None, "qwen35moe", wrong, change)
    for name, wrong, change in FEATURES:
        yield PackageControl(name, name, wrong, change)
    yield PackageControl("olmo", "olmo", "RMSNorm", _unit_rms_norm)
    yield PackageControl(None, "olmo-clipped", "queries, keys and values not clamped", sized("scales", qkv_clamp=0.0))
    yield PackageControl(None, "phi3-long", "short rotary factors", sized("rope", original_context=1 << 20))
    yield PackageControl(None, "phi3-short", "long rotary factors", sized("rope", original_context=1))
    yield PackageControl(None, "phi3-long", "no factor of cosines and sines", sized("rope", magnitude=1.0))
    yield PackageControl("gemma4-moe", "gemma4-experts", "experts not scaled", without("ffn_down_exps.scale"))
    yield PackageControl("gemma4-moe", "gemma4-experts", "one expert more", moved("experts", "used_count", 1))
    yield PackageControl(
        "gemma4-moe", "gemma4-experts", "router not scaled", altered("ffn_gate_inp.scale", np.ones_like)
    )
    yield PackageControl(None, "mistral3", "no multiplier in YaRN", _plain_yarn)
    yield PackageControl("exaone4-window", None, "window one longer", moved("windows", "size", 1))
    yield PackageControl("exaone4-window", None, "window one shorter", moved("windows", "size", -1))
    yield PackageControl("exaone4-window", None, "full layers rotate too", described(rope_of_windows_only=False))
    yield PackageControl("gpt-oss-yarn", "gpt-oss-yarn", "no YaRN", sized("rope", scaling=None))
    yield PackageControl(None, "gemma3-linear", "windowed layers stretched too", described(window_rope_scaled=True))
    applied = Profile(gguf_phi3_window="applied")
    for by in (1, -1):
        wrong = f"window {'longer' if by > 0 else 'shorter'} by one"
        yield PackageControl("phi3-window", "phi3-window", wrong, moved("windows", "size", by), applied)


def _plain_yarn(model: ValidatedModel) -> ValidatedModel:
    scaling = model.hyperparameters.rope.scaling
    assert scaling is not None
    assert scaling.log_multiplier
    return sized("rope", scaling=replace(scaling, log_multiplier=0.0))(model)


def _unit_rms_norm(model: ValidatedModel) -> ValidatedModel:
    """Use RMSNorm with weights of 1 where olmo has LayerNorm without vectors."""
    size, layers = model.hyperparameters.hidden_size, range(model.hyperparameters.layer_count)
    source, ones = next(iter(model.tensors.values())), np.ones(size, np.float32)
    names = [*(f"blk.{layer}.{norm}.weight" for layer in layers for norm in ("attn_norm", "ffn_norm"))]
    norms = {name: Altered(source, ones) for name in (*names, "output_norm.weight")}
    return described(norm="rms")(replace(model, tensors={**model.tensors, **norms}))


CONTROLS = tuple(_controls())
