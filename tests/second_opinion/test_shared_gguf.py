"""GGUF reading and SPM tokenization against numbers that llama.cpp and gguf-py produced."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError, InvalidHeader
from refruntime.model.gguf.model import validate_gguf
from refruntime.model.gguf.tokenizer import read_tokenizer
from refruntime.tokenizers.spm import SpmTokenizer

VOCABULARIES = {  # file of the vocabulary -> cases; the last two files hold whole models
    "tokenizers/llama-spm": 169,
    "tokenizers/phi-3": 184,
    "zoo/llama": 169,
    "real/stories260K-f32": 169,
}


def spm_of(shared_data: Path, name: str) -> SpmTokenizer:
    tokenizer = read_tokenizer(read_gguf((shared_data / f"{name}.gguf").read_bytes()).metadata, Profile())
    assert isinstance(tokenizer, SpmTokenizer)
    return tokenizer


def load_json(path: Path, key: str) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = json.loads(path.read_text())[key]
    return entries


@pytest.mark.slow
def test_every_file_reads_as_gguf_py_reads_it(shared_data: Path) -> None:
    """GG-2, GG-3: fields with type and value, tensors with place and shape, in all files."""
    paths = sorted(shared_data.glob("*/*.gguf"))
    assert len(paths) >= 40
    for path in paths:
        theirs, ours = gguf.GGUFReader(path), read_gguf(path.read_bytes())
        keys = [name for name in theirs.fields if not name.startswith("GGUF.")]
        assert list(ours.metadata) == keys
        for key in keys:
            field, value = theirs.fields[key], ours.metadata[key]
            assert int(ours.metadata.fields[key].type) == int(field.types[0])
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == field.contents(), (path, key)
        assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
        for tensor in theirs.tensors:
            found = ours.tensors[tensor.name]
            assert (found.offset, found.byte_length, found.type.number) == (
                tensor.data_offset,
                tensor.n_bytes,
                int(tensor.tensor_type),
            )
            assert found.dimensions == tuple(int(size) for size in tensor.shape)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_texts_encode_as_llama_cpp_encodes_them(shared_data: Path, name: str) -> None:
    """GG-5: every case, with and without special tokens."""
    tokenizer = spm_of(shared_data, name)
    cases = load_json(shared_data / f"{name}.cases.json", "cases")
    assert len(cases) == VOCABULARIES[name]
    for case in cases:
        text = str(case["text"]).encode()
        assert tokenizer.encode(text, add_special=False) == case["ids"], case
        assert tokenizer.encode(text) == case["ids_add_special"], case


@pytest.mark.parametrize("name", ["llama-spm", "phi-3"])
def test_texts_encode_as_the_model_makers_encode_them(shared_data: Path, name: str) -> None:
    """GG-5: llama.cpp's own vectors, made with the original tokenizers."""
    tokenizer = spm_of(shared_data, f"tokenizers/{name}")
    cases = load_json(shared_data / "tokenizers" / f"{name}.upstream.json", "cases")
    assert len(cases) == 47
    for case in cases:
        assert tokenizer.encode(str(case["text"]).encode(), add_special=False) == case["ids"], case


@pytest.mark.parametrize("name", VOCABULARIES)
def test_pieces_and_attributes_are_those_of_llama_cpp(shared_data: Path, name: str) -> None:
    """GG-6, section 13: the bytes of a token, and the attributes behind them."""
    tokenizer = spm_of(shared_data, name)
    pieces = load_json(shared_data / f"{name}.pieces.json", "pieces")
    assert len(pieces) >= 320
    for piece in pieces:
        token = int(str(piece["id"]))
        assert tokenizer.piece(token).hex() == piece["bytes"], piece
        assert tokenizer.vocabulary.attributes[token] == piece["attr"], piece


LLAMA_MODELS = {
    "real/stories260K-f32": "f32",
    "real/stories260K-q8_0": "q8_0",
    "real/stories260K-q4_0": "q4_0",
    "real/stories260K-q4_k_m": "q5_0",
    "zoo/llama": "f32",
    "zoo/llama-tied": "f32",
    "zoo/llama-rope-freqs": "f32",
    "zoo/llama-rope-linear": "f32",
    "zoo/llama-rope-yarn": "f32",
    "zoo/q256-llama-q4_k_m": "q4_k",
    "zoo/q256-llama-q8_0": "q8_0",
}


@pytest.mark.parametrize("name", LLAMA_MODELS)
def test_llama_models_are_accepted_and_their_weights_decode_as_in_gguf_py(shared_data: Path, name: str) -> None:
    """GG-4, GG-8, GG-9: models of llama.cpp's converter and quantizer; every weight bit for bit."""
    path = shared_data / f"{name}.gguf"
    model = validate_gguf(read_gguf(path.read_bytes()), Profile())
    assert model.quantization == LLAMA_MODELS[name]
    tensors = gguf.GGUFReader(path).tensors
    assert set(model.tensors) == {tensor.name for tensor in tensors}
    for tensor in tensors:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        found = model.tensors[tensor.name].rows()
        assert found.shape == expected.shape
        assert found.tobytes() == expected.astype(np.float32).tobytes()


def test_what_is_not_implemented_is_refused_by_key(shared_data: Path) -> None:
    """GG-4: of all models that llama.cpp runs, each is accepted, or refused with 6 and the key that asks too much."""
    accepted = set()
    for path in sorted([*shared_data.glob("zoo/*.gguf"), *shared_data.glob("real/*.gguf")]):
        file = read_gguf(path.read_bytes())
        try:
            validate_gguf(file, Profile())
        except InvalidHeader as refusal:
            assert refusal.field in file.metadata, refusal  # noqa: PT017 - the loop goes on
        else:
            accepted.add(f"{path.parent.name}/{path.stem}")
    assert accepted >= set(LLAMA_MODELS)


def test_the_vocabulary_files_hold_no_model(shared_data: Path) -> None:
    """GG-4: a file of tokens alone is refused, whichever architecture it names."""
    for path in sorted((shared_data / "tokenizers").glob("*.gguf")):
        with pytest.raises(ContractError):
            validate_gguf(read_gguf(path.read_bytes()), Profile())
