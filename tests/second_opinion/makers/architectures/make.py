"""Compute again what transformers and llama.cpp give for random models that no other data hold.

Usage: python tests/second_opinion/makers/architectures/make.py LLAMA_CPP_PYTHON LIBRARIES [--check]

LLAMA_CPP_PYTHON is the unpacked source package llama-cpp-python 0.3.36, LIBRARIES a folder with its scalar build
(tools/scalar_ggml/build.sh). Needs torch 2.13 and transformers 5.24 beside gguf. The models are those of
`tests.second_opinion`; their files are made anew, only the answers are stored. With --check nothing is written, and
the exit code is 1 if an answer moved by more than rounding does.

transformers asks for float32 in places; here these names mean float64, so that every number is one.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

PROJECT = Path(__file__).resolve().parents[4]
VECTORS = PROJECT / "tests" / "second_opinion" / "vectors" / "architectures"
sys.path.insert(0, str(PROJECT))

from tests.second_opinion.random_encoders import ENCODERS, TEXTS  # noqa: E402
from tests.second_opinion.random_model import VOCABULARY, Recipe  # noqa: E402
from tests.second_opinion.random_recurrent_models import with_published_epsilon  # noqa: E402
from tests.second_opinion.random_zoo import recipe  # noqa: E402

LENGTH, GREEDY = 24, 64
Arrays = dict[str, np.ndarray]


def tokens(first: int, last: int | None, seed: int) -> list[int]:
    ids = np.random.default_rng(seed).integers(5, VOCABULARY, LENGTH).tolist()
    return [first, *ids[1:-1], ids[-1] if last is None else last]


def exact(made: Recipe) -> Callable[[str], torch.Tensor]:
    return lambda name: torch.from_numpy(made.tensors[name].astype(np.float64))


def rounded(value: float) -> float:
    """Return a hyper-parameter as the file holds it."""
    return float(np.float32(value))


# transformers --------------------------------------------------------------------------------------------------------


def in_float64() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.float = torch.float32 = torch.float64  # type: ignore[misc]
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign,assignment]


def qwen35moe(made: Recipe) -> torch.nn.Module:
    """Fill the model: norms hold w - 1, decays their logarithm, value heads stand beside their key head."""
    from transformers import Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig

    key, tensor = (lambda name: made.metadata[f"qwen35moe.{name}"]), exact(made)
    layers, keys, values, size = made.layers, key("ssm.group_count"), key("ssm.time_step_rank"), key("ssm.state_size")
    attends = [number % 2 == 1 for number in range(layers)]
    config = Qwen3_5MoeTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=key("embedding_length"),
        num_hidden_layers=layers,
        num_attention_heads=key("attention.head_count"),
        num_key_value_heads=key("attention.head_count_kv"),
        head_dim=key("attention.key_length"),
        max_position_embeddings=key("context_length"),
        layer_types=["full_attention" if here else "linear_attention" for here in attends],
        linear_conv_kernel_dim=key("ssm.conv_kernel"),
        linear_key_head_dim=size,
        linear_value_head_dim=size,
        linear_num_key_heads=keys,
        linear_num_value_heads=values,
        num_experts=key("expert_count"),
        num_experts_per_tok=key("expert_used_count"),
        moe_intermediate_size=key("expert_feed_forward_length"),
        shared_expert_intermediate_size=key("expert_shared_feed_forward_length"),
        rms_norm_eps=rounded(key("attention.layer_norm_rms_epsilon")),
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": key("rope.freq_base"),
            "partial_rotary_factor": key("rope.dimension_count") / key("attention.key_length"),
            "mrope_section": [1, 1, 1],
            "mrope_interleaved": True,
        },
        attn_implementation="eager",
        experts_implementation="eager",
    )
    order = [head + keys * turn for head in range(keys) for turn in range(values // keys)]  # theirs -> place in file

    def regrouped(heads: torch.Tensor, each: int) -> torch.Tensor:
        return heads.reshape(values, each, *heads.shape[1:])[order].reshape(heads.shape)

    state = {
        "model.embed_tokens.weight": tensor("token_embd.weight"),
        "model.norm.weight": tensor("output_norm.weight") - 1,
        "lm_head.weight": tensor("output.weight"),
    }
    for number, here in enumerate(attends):
        own, block = f"model.layers.{number}.", f"blk.{number}."
        state[own + "input_layernorm.weight"] = tensor(block + "attn_norm.weight") - 1
        state[own + "post_attention_layernorm.weight"] = tensor(block + "post_attention_norm.weight") - 1
        if here:
            for theirs, name in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("o_proj", "output")):
                state[f"{own}self_attn.{theirs}.weight"] = tensor(f"{block}attn_{name}.weight")
            for name in "qk":
                state[f"{own}self_attn.{name}_norm.weight"] = tensor(f"{block}attn_{name}_norm.weight") - 1
        else:
            mixer = own + "linear_attn."
            for theirs, name in (("in_proj_qkv.weight", "attn_qkv.weight"), ("conv1d.weight", "ssm_conv1d.weight")):
                whole = tensor(block + name)
                head, tail = whole[: 2 * keys * size], regrouped(whole[2 * keys * size :], size)
                state[mixer + theirs] = torch.cat([head, tail])
            state[mixer + "conv1d.weight"] = state[mixer + "conv1d.weight"][:, None]
            state[mixer + "in_proj_z.weight"] = regrouped(tensor(block + "attn_gate.weight"), size)
            state[mixer + "in_proj_a.weight"] = regrouped(tensor(block + "ssm_alpha.weight"), 1)
            state[mixer + "in_proj_b.weight"] = regrouped(tensor(block + "ssm_beta.weight"), 1)
            state[mixer + "dt_bias"] = regrouped(tensor(block + "ssm_dt.bias"), 1)
            state[mixer + "A_log"] = regrouped(torch.log(-tensor(block + "ssm_a")), 1)
            state[mixer + "norm.weight"] = tensor(block + "ssm_norm.weight")
            state[mixer + "out_proj.weight"] = regrouped(tensor(block + "ssm_out.weight").T, size).T
        mlp = own + "mlp."
        state[mlp + "gate.weight"] = tensor(block + "ffn_gate_inp.weight")
        parts = [tensor(f"{block}ffn_{part}_exps.weight") for part in ("gate", "up")]
        state[mlp + "experts.gate_up_proj"] = torch.cat(parts, dim=1)
        state[mlp + "experts.down_proj"] = tensor(block + "ffn_down_exps.weight")
        state[mlp + "shared_expert_gate.weight"] = tensor(block + "ffn_gate_inp_shexp.weight")[None]
        for part in ("gate", "up", "down"):
            state[f"{mlp}shared_expert.{part}_proj.weight"] = tensor(f"{block}ffn_{part}_shexp.weight")
    return filled(Qwen3_5MoeForCausalLM(config), state)


def encoder_config(made: Recipe, **more: Any) -> dict[str, Any]:
    key = lambda name: made.metadata[f"{made.architecture}.{name}"]  # noqa: E731
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": key("embedding_length"),
        "num_hidden_layers": made.layers,
        "num_attention_heads": key("attention.head_count"),
        "intermediate_size": key("feed_forward_length"),
        "max_position_embeddings": key("context_length"),
        "layer_norm_eps": rounded(key("attention.layer_norm_epsilon")),
        "type_vocab_size": 2,
        "attn_implementation": "eager",
        **more,
    }


def bert(made: Recipe, activation: str) -> torch.nn.Module:
    from transformers import BertConfig, BertModel

    tensor, state = exact(made), {}
    for theirs, name in (
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
    ):
        state[theirs + ".weight"] = tensor(name + ".weight")
    names = {"embeddings.LayerNorm": "token_embd_norm"}
    for number in range(made.layers):
        own, block = f"encoder.layer.{number}.", f"blk.{number}."
        names |= {
            own + "attention.self.query": block + "attn_q",
            own + "attention.self.key": block + "attn_k",
            own + "attention.self.value": block + "attn_v",
            own + "attention.output.dense": block + "attn_output",
            own + "attention.output.LayerNorm": block + "attn_output_norm",
            own + "intermediate.dense": block + "ffn_up",
            own + "output.dense": block + "ffn_down",
            own + "output.LayerNorm": block + "layer_output_norm",
        }
    state |= {
        f"{theirs}.{kind}": tensor(f"{name}.{kind}") for theirs, name in names.items() for kind in ("weight", "bias")
    }
    config = BertConfig(**encoder_config(made, hidden_act=activation))
    return filled(BertModel(config, add_pooling_layer=False), state)


def nomic_bert(made: Recipe, activation: str) -> torch.nn.Module:
    from transformers import NomicBertConfig, NomicBertModel

    tensor = exact(made)
    state = {
        "embeddings.word_embeddings.weight": tensor("token_embd.weight"),
        "embeddings.token_type_embeddings.weight": tensor("token_types.weight"),
    }
    norms = {"embeddings.LayerNorm": "token_embd_norm"}
    for number in range(made.layers):
        own, block = f"layers.{number}.", f"blk.{number}."
        norms[own + "post_attention_layernorm"] = block + "attn_output_norm"
        norms[own + "post_mlp_layernorm"] = block + "layer_output_norm"
        for letter, part in zip("qkv", tensor(block + "attn_qkv.weight").chunk(3), strict=True):
            state[f"{own}self_attn.{letter}_proj.weight"] = part
        state[own + "self_attn.o_proj.weight"] = tensor(block + "attn_output.weight")
        for part in ("gate", "up", "down"):
            state[f"{own}mlp.{part}_proj.weight"] = tensor(f"{block}ffn_{part}.weight")
    state |= {
        f"{theirs}.{kind}": tensor(f"{name}.{kind}") for theirs, name in norms.items() for kind in ("weight", "bias")
    }
    rope = {"rope_type": "default", "rope_theta": made.metadata["nomic-bert.rope.freq_base"]}
    config = NomicBertConfig(**encoder_config(made, hidden_act=activation, rope_parameters=rope))
    return filled(NomicBertModel(config, add_pooling_layer=False), state)


def filled(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Load every parameter, none left and none too many, in float64."""
    model = model.double().eval()
    left = model.load_state_dict(state, strict=False)
    unexpected, missing = (
        left.unexpected_keys,
        [name for name in left.missing_keys if name in dict(model.named_parameters())],
    )
    if unexpected or missing:
        raise SystemExit(f"unexpected {unexpected}, missing {missing}")
    return model


def answers_of(model: torch.nn.Module, ids: list[int]) -> Arrays:
    """Return logits where there are any, and hidden states [layers + 1, T, H]."""
    with torch.no_grad():
        given = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    found = {"hf64_hidden": torch.stack(given.hidden_states)[:, 0].numpy()}
    if "logits" in given:
        found["hf64"] = given.logits[0].numpy()
    if any(values.dtype != np.float64 for values in found.values()):
        raise SystemExit("transformers computed in another type")
    return found


# llama.cpp -----------------------------------------------------------------------------------------------------------


class LlamaCpp:
    """One model in the scalar build: F32 cache, no flash attention, one thread."""

    def __init__(self, library: Any, data: bytes, embeddings: bool) -> None:
        self.library, self.embeddings = library, embeddings
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(data)
            file.flush()
            options = library.llama_model_default_params()
            options.use_mmap = False
            self.model = library.llama_model_load_from_file(file.name.encode(), options)
        if not self.model:
            raise SystemExit("llama.cpp does not load the model")
        self.vocabulary = library.llama_model_get_vocab(self.model)

    def run(self, ids: list[int], pooling: int = 0) -> np.ndarray:
        """Return logits [T, V], rows [T, H], or what pooling makes of them [H]."""
        library = self.library
        options = library.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = 256
        options.n_threads = options.n_threads_batch = 1
        options.type_k = options.type_v = library.GGML_TYPE_F32
        options.flash_attn_type = 0
        options.embeddings, options.pooling_type = self.embeddings, pooling
        context = library.llama_init_from_model(self.model, options)
        batch = library.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place], batch.logits[place] = token, place, 1
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
        if library.llama_decode(context, batch):
            raise SystemExit("llama.cpp does not compute")
        width = VOCABULARY if not self.embeddings else library.llama_model_n_embd(self.model)
        if pooling:
            rows = [library.llama_get_embeddings_seq(context, 0)]
        else:
            one = library.llama_get_embeddings_ith if self.embeddings else library.llama_get_logits_ith
            rows = [one(context, place) for place in range(len(ids))]
        found = np.array([np.ctypeslib.as_array(row, (width,)).copy() for row in rows], np.float32)
        library.llama_batch_free(batch)
        library.llama_free(context)
        return found[0] if pooling else found

    def tokenize(self, text: str) -> list[int]:
        raw = text.encode()
        room = (ctypes.c_int32 * 256)()
        count = self.library.llama_tokenize(self.vocabulary, raw, len(raw), room, 256, True, False)
        return list(room[:count])


def vectors(library: Any) -> dict[str, Arrays]:
    found: dict[str, Arrays] = {}
    made = with_published_epsilon(recipe("qwen35moe", 1))
    ids, theirs, native = tokens(1, None, 7), qwen35moe(made), LlamaCpp(library, made.file(), embeddings=False)
    greedy = ids[:6]
    for _ in range(GREEDY):
        greedy.append(int(native.run(greedy)[-1].argmax()))
    found["qwen35moe"] = {"tokens": np.array(ids), "greedy": np.array(greedy), **answers_of(theirs, ids)}
    found["qwen35moe"]["llama_cpp"] = native.run(ids)
    for name, make in ENCODERS.items():
        made, ids = make(1), tokens(2, 3, 8)
        native, filler = LlamaCpp(library, made.file(), embeddings=True), bert if name == "bert" else nomic_bert
        usual = "gelu_pytorch_tanh" if name == "bert" else "silu"
        found[name] = {"tokens": np.array(ids), **answers_of(filler(made, usual), ids), "llama_cpp": native.run(ids)}
        if name == "bert":
            found[name]["hf64_hidden_erf"] = answers_of(filler(made, "gelu"), ids)["hf64_hidden"]
        for kind, pooling in (("mean", 1), ("cls", 2), ("last", 3)):
            found[name][f"llama_cpp_{kind}"] = native.run(ids, pooling)
        for number, text in enumerate(TEXTS):
            found[name][f"text_{number}"] = np.array(native.tokenize(text))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llama_cpp_python", type=Path)
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    os.environ["LLAMA_CPP_LIB_PATH"] = str(chosen.libraries)
    sys.path.insert(0, str(chosen.llama_cpp_python))
    from llama_cpp import llama_cpp as library

    library.llama_backend_init()
    quiet = library.llama_log_callback(lambda *_: None)
    library.llama_log_set(quiet, ctypes.c_void_p(0))
    in_float64()
    moved = 0
    for name, arrays in vectors(library).items():
        file = VECTORS / f"{name}.npz"
        if not chosen.check:
            np.savez_compressed(file, **arrays)
            print(f"{file.name}: {', '.join(f'{key} {values.shape}' for key, values in arrays.items())}")
            continue
        with np.load(file) as stored:
            for key, values in arrays.items():
                off = np.abs(stored[key] - values).max()
                moved += off > (1e-12 if key.startswith("hf64") else 0)
                print(f"{name} {key}: {off}")
    return int(moved > 0)


if __name__ == "__main__":
    raise SystemExit(main())
