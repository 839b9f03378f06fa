"""What a GGUF file of any architecture must hold: tensors, hyper-parameters, and what is refused by name (GG-4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.contract.rules import rule
from refruntime.errors import ContractError, InvalidHeader, MissingTensor, ShapeMismatch
from refruntime.model.architectures import ARCHITECTURES
from refruntime.model.architectures.encoders import ENCODERS
from refruntime.model.forward import Transformer
from refruntime.model.gguf.hyperparameters import understood_keys
from refruntime.model.gguf.model import validate_gguf
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.model.load import validate_model
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import F64
from tests.second_opinion.random_model import HIDDEN, Recipe
from tests.second_opinion.random_zoo import NAMES, recipe

NAN, INFINITY = float("nan"), float("inf")


def load(made: Recipe, profile: Profile | None = None) -> ValidatedModel:
    return validate_gguf(read_gguf(made.file()), profile or Profile())


def logits_of(model: ValidatedModel, tokens: list[int]) -> np.ndarray:
    transformer = Transformer(model, Profile(), F64())
    return transformer.forward(tokens, transformer.new_cache(), first_logit=0)


@cache
def tensors_of(name: str) -> tuple[str, ...]:
    """Names of the tensors of the last layer and outside layers."""
    made = recipe(name, 1)
    last = f"blk.{made.layers - 1}."
    return tuple(each for each in made.tensors if each.startswith(last) or not each.startswith("blk."))


def optional(model: ValidatedModel, tensor: str) -> bool:
    """Say whether llama.cpp marks this tensor as not required: outputs that fall back, factors, some biases."""
    architecture = model.architecture
    if tensor.endswith(".bias"):
        if tensor.endswith("ssm_conv1d.bias"):
            return True
        kinds = {"attn_output": architecture.attention_output_bias, "output": architecture.output_bias}
        kinds |= {f"ffn_{part}": architecture.feed_forward_bias for part in ("gate", "up", "down")}
        kinds |= {f"attn_{part}": architecture.qkv_bias for part in ("q", "k", "v", "qkv")}
        return kinds.get(tensor.split(".")[-2]) == "optional"
    if tensor.endswith(("layer_output_scale.weight", "ffn_down_exps.scale")):
        return True
    if architecture.layers_differ and tensor.endswith("attn_v.weight"):
        return True  # keys are values then
    return tensor == "rope_freqs.weight" or (tensor == "output.weight" and architecture.output == "optional")


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_used_required_and_shaped(name: str) -> None:
    """GG-4: each tensor that the converter writes is used; absent it gives 8, with another shape 9, by its name."""
    made = recipe(name, 1)
    file = read_gguf(made.file())
    whole = validate_gguf(file, Profile())
    assert set(whole.tensors) == set(made.tensors)
    fused = whole.architecture.qkv_fused == "always"
    for tensor in tensors_of(name):
        entry, others = file.tensors[tensor], {key: each for key, each in file.tensors.items() if key != tensor}
        without = replace(file, tensors=others)
        if optional(whole, tensor):
            assert tensor not in validate_gguf(without, Profile()).tensors
        elif ".attn_qkv." in tensor and whole.hyperparameters.attends(made.layers - 1) and not fused:
            pass  # without the fused matrix the file is one with separate matrices that are absent
        else:
            with pytest.raises(MissingTensor) as absent:
                validate_gguf(without, Profile())
            assert absent.value.tensor == tensor.replace("gate_up_exps", "gate_exps")  # one stack, or else two
        more = replace(entry, dimensions=(*entry.dimensions[:-1], entry.dimensions[-1] + 1))
        with pytest.raises(ShapeMismatch) as longer:
            validate_gguf(replace(file, tensors={**file.tensors, tensor: more}), Profile())
        assert longer.value.tensor == tensor


@pytest.mark.parametrize("name", NAMES)
def test_a_surplus_tensor_gives_9(name: str) -> None:
    """GG-4: what the arithmetic would leave out is refused, in every architecture."""
    for surplus in ("blk.0.attn_sinks.weight", "rope_factors.weight", "blk.0.ffn_gate_shexp.weight"):
        made = recipe(name, 1)
        if surplus in made.tensors:
            continue
        made.tensors[surplus] = np.ones(HIDDEN, np.float32)
        with pytest.raises(ShapeMismatch, match="does not use") as caught:
            load(made)
        assert caught.value.tensor == surplus


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_unknown_keys_are_refused(name: str) -> None:
    """GG-4: a key that might change the arithmetic is refused in every architecture; a foreign one is not read."""
    for key, value in (("attention.new_trick", 1), ("attention.max_alibi_bias", 8.0), ("attention.causal", False)):
        made = recipe(name, 1)
        made.metadata[f"{name}.{key}"] = value
        with pytest.raises(InvalidHeader) as caught:
            load(made)
        assert caught.value.field == f"{name}.{key}"
    made = recipe(name, 1)
    made.metadata["another.attention.new_trick"] = 1
    assert load(made).architecture.name == name


SPECIAL_KEYS: dict[str, Any] = {
    "attention.sliding_window": 4,
    "attention.scale": 0.5,
    "attention.clamp_kqv": 2.0,
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 5.0,
    "embedding_scale": 2.0,
    "residual_scale": 2.0,
    "logit_scale": 2.0,
    "rope.scaling.attn_factor": 2.0,
    "use_parallel_residual": True,
    "expert_count": 2,
    "expert_used_count": 1,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keys_of_other_architectures_are_refused(name: str) -> None:
    """GG-4: a hyper-parameter counts where the architecture has it; elsewhere only its neutral value is accepted."""
    architecture = ARCHITECTURES[name]
    foreign = SPECIAL_KEYS.keys() - understood_keys(architecture) - architecture.ignored_keys
    assert len(foreign) >= 5
    for key in sorted(foreign):
        made = recipe(name, 1)
        made.metadata[f"{name}.{key}"] = SPECIAL_KEYS[key]
        with pytest.raises(InvalidHeader) as caught:
            load(made)
        assert caught.value.field == f"{name}.{key}"


BAD_VALUES: dict[str, tuple[str, str, Any]] = {
    "no epsilon of LayerNorm": ("stablelm", "attention.layer_norm_epsilon", None),
    "no epsilon of RMSNorm": ("qwen2", "attention.layer_norm_rms_epsilon", None),
    "epsilon 0": ("gpt2", "attention.layer_norm_epsilon", 0.0),
    "granite without its factor of the logits": ("granite", "logit_scale", None),
    "factor of the logits 0": ("granite", "logit_scale", 0.0),
    "negative factor": ("granite", "residual_scale", -0.5),
    "factor NaN": ("granite", "embedding_scale", NAN),
    "infinite scale": ("granite", "attention.scale", INFINITY),
    "soft cap NaN": ("gemma2", "attn_logit_softcapping", NAN),
    "soft cap negative": ("gemma2", "final_logit_softcapping", -1.0),
    "soft cap as number of another type": ("gemma2", "final_logit_softcapping", 30),
    "window as float": ("gemma2", "attention.sliding_window", 4.0),
    "windows of too few layers": ("gemma3", "attention.sliding_window_pattern", [True] * 5),
    "windows as text": ("olmo2-window", "attention.sliding_window_pattern", "all"),
    "another magnitude of YaRN": ("olmo2-window", "rope.scaling.yarn_attn_factor", 1.0),
    "magnitude of YaRN NaN": ("olmo2-window", "rope.scaling.yarn_attn_factor", NAN),
    "ignored window as text": ("phi3", "attention.sliding_window", "no"),
    "base of windows 0": ("gemma3", "rope.freq_base_swa", 0.0),
    "odd part of a head": ("stablelm", "rope.dimension_count", 3),
    "no part of a head": ("phi2", "rope.dimension_count", 0),
    "more than a head": ("nemotron", "rope.dimension_count", 10),
    "part of a head where all is rotated": ("qwen2", "rope.dimension_count", 2),
    "gptneox without its kind of layers": ("gptneox", "use_parallel_residual", None),
    "parallel as number": ("gptneox", "use_parallel_residual", 1),
    "a state-space layer": ("granite", "attention.head_count_kv", [2, 0, 2]),
    "experts of granite": ("granite", "expert_count", 8),
    "no experts": ("qwen3moe", "expert_count", 0),
    "experts absent": ("olmoe", "expert_count", None),
    "no expert used": ("olmoe", "expert_used_count", 0),
    "more experts used than there are": ("qwen3moe", "expert_used_count", 99),
    "clamp NaN": ("olmo-clipped", "attention.clamp_kqv", NAN),
    "magnitude negative": ("phi3-long", "rope.scaling.attn_factor", -1.0),
    "trained context 0": ("phi3-long", "rope.scaling.original_context_length", 0),
    "LongRoPE where there are no factors": ("qwen2", "rope.scaling.type", "longrope"),
    "convolution of one position": ("lfm2", "shortconv.l_cache", 1),
    "convolution absent": ("lfm2", "shortconv.l_cache", None),
    "heads of another number in some layers": ("lfm2", "attention.head_count_kv", [0, 2, 3]),
    "negative heads": ("lfm2", "attention.head_count_kv", [0, -2, 0]),
    "no layer attends": ("lfm2", "attention.head_count_kv", [0, 0, 0]),
    "too few heads": ("lfm2", "attention.head_count_kv", [0, 2]),
    "layers without heads elsewhere": ("qwen3", "attention.head_count_kv", [0, 2]),
    "rotation switched off": ("granite", "rope.scaling.finetuned", False),
    "windows absent": ("gpt-oss", "attention.sliding_window_pattern", "some"),
    "gating of another kind": ("lfm2moe", "expert_gating_func", 4),
    "gating absent": ("lfm2moe", "expert_gating_func", None),
    "a growth that is no number": ("mistral3", "attention.temperature_scale", NAN),
    "queries that shrink": ("mistral3", "attention.temperature_scale", -0.5),
    "multiplier of YaRN NaN": ("mistral3", "rope.scaling.yarn_log_multiplier", NAN),
    "rotation switched by a number": ("granitehybrid", "rope.scaling.finetuned", 0),
    "states absent": ("granitehybrid", "ssm.state_size", None),
    "a state of nothing": ("granitehybrid", "ssm.state_size", 0),
    "state heads that no group has": ("granitehybrid", "ssm.group_count", 3),
    "state heads of a broken size": ("granitehybrid", "ssm.inner_size", 30),
    "value heads longer than key heads": ("qwen35", "ssm.inner_size", 48),
    "a list of too few layers": ("qwen35-listed", "attention.recurrent_layers", [True]),
    "an interval of nothing": ("qwen35", "full_attention_interval", 0),
    "only layers that draft": ("qwen35moe", "nextn_predict_layers", 3),
    "experts with none used": ("granitehybrid", "expert_used_count", 0),
    "a window as text": ("cohere2", "attention.sliding_window", "wide"),
    "no heads of windows": ("gemma4", "attention.key_length_swa", None),
    "values longer in windows": ("gemma4", "attention.value_length_swa", 16),
    "a part of a head in windows": ("gemma4", "rope.dimension_count_swa", 4),
    "windows not listed": ("gemma4", "attention.sliding_window_pattern", 2),
    "no window said": ("gemma4", "attention.sliding_window", None),
    "all layers share": ("gemma4", "attention.shared_kv_layers", 5),
    "more layers share than there are": ("gemma4", "attention.shared_kv_layers", 4000000000),
    "no layer of this kind to share": ("gemma4", "attention.shared_kv_layers", 3),
    "a layer of size 0": ("gemma4", "feed_forward_length", [72, 72, 0, 72, 72]),
    "sizes of too few layers": ("gemma4", "feed_forward_length", [72, 72]),
    "heads that do not divide": ("gemma4-experts", "attention.head_count_kv", [2, 4, 1]),
    "inputs not said": ("gemma4", "embedding_length_per_layer_input", None),
    "none of the experts used": ("gemma4-experts", "expert_used_count", 0),
    "no context for the learned positions": ("gpt2", "context_length", None),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_hyperparameters_give_6_and_name_the_key(case: str) -> None:
    """GG-4: whatever is missing, out of range, of a wrong type or not implemented gives 6 and is named."""
    name, key, value = BAD_VALUES[case]
    made = recipe(name, 1)
    key = f"{made.architecture}.{key}"
    made.metadata.pop(key, None)
    if value is not None:
        made.metadata[key] = value
    with pytest.raises(InvalidHeader) as caught:
        load(made)
    assert caught.value.field == key


DEFAULTS: dict[str, tuple[str, str, Callable[[Hyperparameters], object], object]] = {
    "gemma2 window": ("gemma2", "attention.sliding_window", lambda h: h.windows.size, 4096),
    "gemma2 cap of scores": ("gemma2", "attn_logit_softcapping", lambda h: h.scales.attention_softcap, 50),
    "gemma2 cap of logits": ("gemma2", "final_logit_softcapping", lambda h: h.scales.logit_softcap, 30),
    "gemma3 base of windows": ("gemma3", "rope.freq_base_swa", lambda h: h.windows.rope_theta, 1e4),
    "gemma3 window": ("gemma3", "attention.sliding_window", lambda h: h.windows, None),
    "stablelm layers": ("stablelm", "use_parallel_residual", lambda h: h.parallel, False),
    "granite attention": ("granite", "attention.scale", lambda h: h.scales.attention, None),
    "command-r logits": ("command-r", "logit_scale", lambda h: h.scales.logit, 1),
    "exaone4 windows": ("exaone4", "attention.sliding_window", lambda h: h.windows, None),
    "minicpm embedding": ("minicpm", "embedding_scale", lambda h: h.scales.embedding, 12),
    "granitehybrid rotates": ("granitehybrid", "rope.scaling.finetuned", lambda h: h.rope.applied, True),
    "mistral3 queries": ("mistral3", "attention.temperature_scale", lambda h: h.scales.query_growth, 0),
    "olmo clamp": ("olmo-clipped", "attention.clamp_kqv", lambda h: h.scales.qkv_clamp, 0),
}


@pytest.mark.parametrize("case", DEFAULTS)
def test_absent_keys_have_the_defaults_of_llama_cpp(case: str) -> None:
    """GG-4, CL-gguf: where llama.cpp defines a value for an absent key, that value counts."""
    name, key, value_of, expected = DEFAULTS[case]
    made = recipe(name, 1)
    made.metadata.pop(f"{made.architecture}.{key}", None)
    assert value_of(load(made).hyperparameters) == expected


@pytest.mark.parametrize(("name", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_27b_models_scale_attention_by_hidden_size(name: str, layers: int) -> None:
    """GG-11: llama.cpp tells them by their number of layers; 48 / 6 = 8, whatever a head is long."""
    small, made = recipe(name, 1), recipe(name, 1)
    made.metadata[f"{name}.block_count"] = layers
    period = small.layers
    for layer in range(small.layers, layers):
        copied = {each for each in small.tensors if each.startswith(f"blk.{layer % period}.")}
        made.tensors |= {f"blk.{layer}.{each.split('.', 2)[2]}": small.tensors[each] for each in copied}
    assert load(small).hyperparameters.scales.attention_dim is None
    assert load(made).hyperparameters.scales.attention_dim == 8


def test_windows_lie_where_llama_cpp_has_them() -> None:
    """GG-11: the last of every two (gemma2), six (gemma3) or four (olmo2 with a window) layers sees everything."""
    windows = {
        "gemma2": [True, False, True],
        "gemma3": [True, True, True, True, True, False],
        "phi3-window": [False, False],
    }
    for name, expected in windows.items():
        sizes = load(recipe(name, 1)).hyperparameters
        found = [bool(sizes.window(layer)) for layer in range(len(expected))]
        assert found == expected, name
    made = recipe("olmo2", 1)
    made.metadata["olmo2.attention.sliding_window"] = 5
    sizes = load(made).hyperparameters
    assert [sizes.window(layer) for layer in range(8)] == [5, 5, 5, 0, 5, 5, 5, 0]


@pytest.mark.parametrize("yes", [True, 1, -1])
def test_windows_lie_where_the_file_lists_them(yes: int) -> None:
    """GG-11: an array says for each layer whether it has the window, whatever the period of the architecture."""
    for name in ("gemma2", "olmo2"):
        made = recipe(name, 1)
        made.metadata[f"{name}.attention.sliding_window"] = 5
        no = type(yes)(0)
        made.metadata[f"{name}.attention.sliding_window_pattern"] = [yes, no, *[yes] * (made.layers - 2)]
        sizes = load(made).hyperparameters
        assert [sizes.window(layer) for layer in range(made.layers)] == [5, 0, *[5] * (made.layers - 2)]


def test_layers_that_share_keys_are_not_counted_one_by_one() -> None:
    """GG-4: a file that claims four thousand million layers of which most share is refused at once, by a tensor."""
    made = recipe("gemma4", 1)
    del made.metadata["gemma4.attention.sliding_window_pattern"]
    claims = {"block_count": 2**32 - 1, "shared_kv_layers": 2**32 - 4, "sliding_window": 0, "feed_forward_length": 72}
    for key, value in claims.items():
        group = "attention." if key in ("shared_kv_layers", "sliding_window") else ""
        made.metadata[f"gemma4.{group}{key}"] = value
    with pytest.raises(MissingTensor):
        load(made)


def test_one_of_two_sets_of_factors_is_not_enough() -> None:
    """GG-4: a file with long factors needs the short ones too, whichever the capacity chooses."""
    for name in ("rope_factors_long.weight", "rope_factors_short.weight"):
        made = recipe("phi3-long", 1)
        del made.tensors[name]
        with pytest.raises(MissingTensor) as caught:
            load(made)
        assert caught.value.tensor == name


def test_long_factors_go_by_the_capacity() -> None:
    """GG-7, GG-11: the capacity, not the length of a prompt, decides between short and long factors."""
    made = recipe("phi3-long", 1)
    sizes = load(made).hyperparameters
    assert sizes.max_context > sizes.rope.original_context == 100
    prompt = [1, 30, 40, 50]
    found = {limit: logits_of(load(made, Profile(gguf_context_limit=limit)), prompt) for limit in (4, 100, 101, 2048)}
    assert np.array_equal(found[4], found[100])
    assert np.array_equal(found[101], found[2048])
    assert np.abs(found[100] - found[101]).max() > 1e-3


def test_the_contract_names_every_architecture() -> None:
    """GG-11, GG-14, GG-15: the rules list exactly the architectures that are there, each once."""
    listed = [re.search(r"Architectures: ([\w, -]+)\.", rule(name).text) for name in ("GG-11", "GG-14", "GG-15")]
    names = [name for match in listed if match is not None for name in match[1].split(", ")]
    assert sorted(names) == sorted(ARCHITECTURES)
    encoders = re.search(r"refuses them with 6: ([\w, -]+)\.", rule("GG-15").text)
    assert encoders is not None
    assert encoders[1].split(", ") == list(ENCODERS)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_changed_bytes_give_a_model_that_runs_or_an_expected_failure(name: str, changes: list[Any]) -> None:
    """GG-3, GG-4: whatever the metadata says, a file is refused as expected, or its model can be forwarded."""
    data = bytearray(whole_file(name))
    metadata_end = data.index(b"token_embd.weight")
    for place, value in changes:
        data[24 + int(place * (metadata_end - 24))] = value
    found = model_or_failure(bytes(data))
    if isinstance(found, ContractError):
        assert found.status
        assert str(found).isprintable()
        return
    capacity = found.hyperparameters.max_context
    assert logits_of(found, [1, 5, 6][:capacity]).shape == (min(3, capacity), found.hyperparameters.vocab_size)


@cache
def whole_file(name: str) -> bytes:
    return recipe(name, 1).file()


def model_or_failure(data: bytes) -> ValidatedModel | ContractError:
    try:
        return validate_model(data, Profile())
    except ContractError as failure:
        return failure


def test_experts_that_are_only_claimed_cost_nothing() -> None:
    """GG-4: a router of other size is a wrong shape, found at once, however many experts the metadata claim."""
    made = recipe("qwen3moe", 1)
    made.keys(expert_count=2**32 - 1)
    with pytest.raises(ShapeMismatch) as caught:
        load(made)
    assert caught.value.tensor == "blk.0.ffn_gate_inp.weight"
