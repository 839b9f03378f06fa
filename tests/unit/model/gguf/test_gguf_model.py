"""What tensors a GGUF file must hold to be a model: GG-4, GG-7 to GG-10, section 13 "GGUF"."""

from __future__ import annotations

import struct

import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError, InvalidHeader, MissingTensor, ShapeMismatch
from refruntime.model.gguf.model import quantization_label, validate_gguf
from refruntime.model.hyperparameters import Hyperparameters, RopeParameters
from refruntime.model.validated import ValidatedModel
from tests.support.gguf_by_hand import (
    HIDDEN,
    LAYERS,
    STRING,
    U32,
    gguf_file,
    llama_file,
    llama_shapes,
    scalar,
    tensor,
)

Keys = dict[str, bytes | None]


def load(data: bytes, profile: Profile | None = None) -> ValidatedModel:
    return validate_gguf(read_gguf(data), profile or Profile())


def u32(value: int) -> bytes:
    return scalar(U32, value)


def test_the_tiny_model_loads_as_written() -> None:
    """GG-4, GG-10: every hyper-parameter, name and shape as in the file, which leaves all optional keys away."""
    model = load(llama_file())
    assert model.hyperparameters == Hyperparameters(
        architecture="llama",
        vocab_size=8,
        hidden_size=8,
        layer_count=2,
        head_count=4,
        kv_head_count=2,
        head_dim=2,
        ffn_size=12,
        max_context=96,
        rope=RopeParameters(10000.0),
        rms_norm_epsilon=struct.unpack("<f", struct.pack("<f", 1e-5))[0],
    )
    assert (model.container, model.quantization, model.tokenizer.kind) == ("gguf", "f32", "spm")
    assert {name: weight.shape[::-1] for name, weight in model.tensors.items()} == llama_shapes()
    norm = model.tensors["output_norm.weight"]
    assert (norm.type_name, norm.quantized()) == ("f32", None)
    assert norm.rows().tolist() == list(range(64, 72))  # behind the 8 x 8 embeddings


def test_head_count_kv_defaults_to_head_count() -> None:
    """Section 13 GGUF: without head_count_kv every query head has its own key/value head."""
    square = (HIDDEN, HIDDEN)
    names = [f"blk.{layer}.attn_{letter}.weight" for layer in range(LAYERS) for letter in "kv"]
    shapes: dict[str, tuple[int, ...] | None] = dict.fromkeys(names, square)
    model = load(llama_file({"llama.attention.head_count_kv": None}, shapes))
    assert model.hyperparameters.kv_head_count == 4


def test_a_head_may_be_wider_than_its_share_of_the_hidden_size() -> None:
    """GG-4: with key_length and value_length the projections are heads x length wide."""
    keys: Keys = {"llama.attention.key_length": u32(4), "llama.attention.value_length": u32(4)}
    shapes: dict[str, tuple[int, ...] | None] = {}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_q.weight": (HIDDEN, 16),
            f"blk.{layer}.attn_k.weight": (HIDDEN, 8),
            f"blk.{layer}.attn_v.weight": (HIDDEN, 8),
            f"blk.{layer}.attn_output.weight": (16, HIDDEN),
        }
    model = load(llama_file(keys, shapes))
    assert model.hyperparameters.head_dim == 4
    assert model.tensors["blk.1.attn_output.weight"].shape == (8, 16)


@pytest.mark.parametrize(("limit", "capacity"), [(1, 1), (95, 95), (96, 96), (2048, 96)])
def test_capacity_is_the_smaller_of_context_and_limit(limit: int, capacity: int) -> None:
    """GG-7: capacity = min(context_length, the profile's limit)."""
    assert load(llama_file(), Profile(gguf_context_limit=limit)).hyperparameters.max_context == capacity


@pytest.mark.parametrize("name", llama_shapes())
def test_an_absent_tensor_gives_8(name: str) -> None:
    """GG-4: every tensor of the architecture is required, with two exceptions that the next tests show."""
    with pytest.raises(MissingTensor) as caught:
        load(llama_file(shapes={name: None}))
    assert caught.value.tensor == name


@pytest.mark.parametrize("name", llama_shapes())
def test_a_wrong_shape_gives_9(name: str) -> None:
    """GG-4: transposed, longer or flattened tensors are refused."""
    good = llama_shapes()[name]
    wrong = [(*good[:-1], good[-1] + 1), (*good, 2)]
    wrong += [good[::-1]] if good[::-1] != good else []
    wrong += [(good[0] * good[1],)] if len(good) == 2 else [(1, *good)]
    for shape in wrong:
        data = llama_file(shapes={name: shape})
        with pytest.raises(ShapeMismatch) as caught:
            load(data)
        assert (caught.value.tensor, caught.value.found) == (name, list(shape[::-1]))
        assert caught.value.offset == data.index(struct.pack("<Q", len(name)) + name.encode())


def test_trailing_dimensions_of_1_equal_none() -> None:
    """Section 13 GGUF: a vector may be stored as [n, 1, 1, 1]."""
    model = load(llama_file(shapes={"output_norm.weight": (HIDDEN, 1, 1, 1), "token_embd.weight": (HIDDEN, 8, 1)}))
    assert model.tensors["output_norm.weight"].rows().shape == (HIDDEN,)
    assert model.tensors["token_embd.weight"].rows().shape == (8, HIDDEN)


def test_optional_tensors_may_be_there() -> None:
    """Section 13 GGUF: without output.weight the embeddings are used; rope_freqs.weight scales the frequencies."""
    assert "output.weight" not in load(llama_file()).tensors
    model = load(llama_file(shapes={"output.weight": (HIDDEN, 8), "rope_freqs.weight": (1,)}))
    assert model.tensors["output.weight"].shape == (8, HIDDEN)
    assert model.tensors["rope_freqs.weight"].shape == (1,)
    for name, shape in (("output.weight", (HIDDEN, 9)), ("rope_freqs.weight", (2,))):
        with pytest.raises(ShapeMismatch) as caught:
            load(llama_file(shapes={name: shape}))
        assert caught.value.tensor == name


@pytest.mark.parametrize("name", ["output.bias", "blk.2.attn_norm.weight", "blk.0.attn_q_norm.weight", "x"])
def test_a_tensor_that_the_architecture_does_not_use_gives_9(name: str) -> None:
    """GG-4: an unused tensor would change the arithmetic of who wrote it; llama.cpp refuses the count as well."""
    data = llama_file(shapes={name: (HIDDEN,)})
    with pytest.raises(ShapeMismatch, match="does not use") as caught:
        load(data)
    assert caught.value.tensor == name
    assert caught.value.offset == data.index(struct.pack("<Q", len(name)) + name.encode())


F32_TYPE, F16_TYPE, Q8_0_TYPE, BF16_TYPE = 0, 1, 8, 30
LABELS = {
    "no tensor": ([], "none"),
    "one": ([(BF16_TYPE, 64)], "bf16"),
    "elements, not bytes": ([(F32_TYPE, 64), (F16_TYPE, 65)], "f16"),
    "elements, not tensors": ([(F32_TYPE, 32), (F32_TYPE, 32), (Q8_0_TYPE, 96)], "q8_0"),
    "sums over tensors": ([(F32_TYPE, 32), (Q8_0_TYPE, 64), (F32_TYPE, 33)], "f32"),
    "a tie goes to the lower number": ([(BF16_TYPE, 64), (Q8_0_TYPE, 64), (F32_TYPE, 63)], "q8_0"),
}


@pytest.mark.parametrize("name", LABELS)
def test_the_label_is_the_type_of_most_elements(name: str) -> None:
    """GG-9, section 13: elements count, not tensors or bytes; of equals the lower type number."""
    contents, label = LABELS[name]
    entries, position = [], 0
    for index, (kind, count) in enumerate(contents):
        entries.append(tensor(str(index), [count], kind, position))
        size = {F32_TYPE: 4 * count, F16_TYPE: 2 * count, Q8_0_TYPE: 34 * count // 32, BF16_TYPE: 2 * count}[kind]
        position += -(-size // 32) * 32
    assert quantization_label(read_gguf(gguf_file([], entries, bytes(position)))) == label


NO_NORM: dict[str, tuple[int, ...] | None] = {"blk.1.ffn_down.weight": None}
BAD_SHAPE: dict[str, tuple[int, ...] | None] = {"token_embd.weight": (HIDDEN, 9)}
NO_TOKENS: Keys = {"tokenizer.ggml.tokens": None}
ORDER: dict[str, tuple[bytes, type[ContractError], str]] = {
    "architecture, hyper-parameters": (
        llama_file({"general.architecture": scalar(STRING, "x"), "llama.block_count": None}),
        InvalidHeader,
        "general.architecture",
    ),
    "hyper-parameters, tokenizer": (
        llama_file({"llama.context_length": None, **NO_TOKENS}),
        InvalidHeader,
        "llama.context_length",
    ),
    "tokenizer, presence": (llama_file(NO_TOKENS, NO_NORM), InvalidHeader, "tokenizer.ggml.tokens"),
    "presence, shapes": (llama_file(None, {**NO_NORM, **BAD_SHAPE}), MissingTensor, ""),
    "hyper-parameters, shapes": (llama_file({"llama.expert_count": u32(2)}, BAD_SHAPE), InvalidHeader, "llama.expert"),
}


@pytest.mark.parametrize("name", ORDER)
def test_the_first_of_two_faults_decides(name: str) -> None:
    """Section 13 GGUF: architecture, hyper-parameters, tokenizer (6), presence (8), shapes (9), in this order."""
    data, error, field = ORDER[name]
    with pytest.raises(ContractError) as caught:
        load(data)
    assert type(caught.value) is error
    assert (caught.value.field or "").startswith(field)


@pytest.mark.parametrize("layers", [3, 2**20, 2**32 - 1])
def test_layers_that_are_only_claimed_cost_nothing(layers: int) -> None:
    """GG-4: the first absent tensor is named at once, however many layers the metadata claim."""
    with pytest.raises(MissingTensor) as caught:
        load(llama_file({"llama.block_count": u32(layers)}))
    assert caught.value.tensor == "blk.2.attn_norm.weight"


def test_stop_tokens_come_from_the_ids_of_the_file() -> None:
    """GG-6: eos, and eot and eom if present; by their text more, here `</s>`."""
    keys: Keys = {
        "tokenizer.ggml.eos_token_id": u32(6),
        "tokenizer.ggml.eot_token_id": u32(4),
        "tokenizer.ggml.eom_token_id": u32(5),
    }
    tokenizer = load(llama_file(keys)).tokenizer
    assert (tokenizer.eos_id, tokenizer.stop_ids) == (6, frozenset({2, 4, 5, 6}))
    by_id = load(llama_file(keys), Profile(gguf_stop_tokens="metadata ids only")).tokenizer
    assert (by_id.eos_id, by_id.stop_ids) == (6, frozenset({4, 5, 6}))
