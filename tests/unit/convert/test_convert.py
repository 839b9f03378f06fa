"""Conversions: the same tokens and bits on both sides, or a refusal with its reason."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from refruntime import Profile, open_model
from refruntime.convert import ConversionRefused, convert_artifact
from tests.second_opinion.float64_llama import float64_logits
from tests.support.command_line import command
from tests.support.lookup_model import lookup_model, spelling
from tests.support.slm1_by_hand import F32, Q4_0, Q8_0, bpe1, build, header_value, model_tensors

IDS = [256, 84, 104, 101, 32, 102, 111, 120, 255, 0, 259]
TEXTS = ["", "The fox", " a  b ", "é🙂\n\t\0", "<s></s><0x41>", "ÿ", "1 2 3 ", "\u2582"]


def model_file(dtype: int = F32, tied: bool = False, **header: float) -> bytes:
    """Lay out two layers with rows of 32 and 64."""
    sizes: dict[str, Any] = {"hidden": 32, "ffn": 64, "layers": 2}
    dimensions = {"hidden_size": 32, "ffn_size": 64, "layer_count": 2, "max_context": 16}
    heads = {"head_count": 2, "kv_head_count": 2, "head_dim": 16, "flags": int(tied)}
    return bytes(build(model_tensors(dtype, tied=tied, **sizes), **{**dimensions, **heads, **header}))


def wide_vocabulary() -> bytes:
    """Lay out a model with a BTOK vocabulary of one id more."""
    section = struct.pack("<4s6I", b"BTOK", 1, 261, 256, 257, 258, 259)
    return bytes(build(model_tensors(vocab=261), section, vocab_size=261))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write the untied float32 model."""
    path = tmp_path / "model.slm1"
    path.write_bytes(model_file())
    return path


@pytest.mark.parametrize("dtype", [F32, Q8_0, Q4_0])
@pytest.mark.parametrize("tied", [False, True])
def test_there_and_back(tmp_path: Path, dtype: int, tied: bool) -> None:
    """SL-8, GG-5, GG-8, FW-1: SLM1 to GGUF to SLM1 as f32 keeps ids, text and every bit of the logits."""
    first = tmp_path / "first.slm1"
    first.write_bytes(model_file(dtype, tied, rope_theta=5000.0))
    middle, last = tmp_path / "middle.gguf", tmp_path / "last.slm1"
    assert command("convert", first, middle).code == 0
    assert command("convert", middle, last).code == 0
    models = [open_model(path) for path in (first, middle, last)]
    assert [model.inspect().container for model in models] == ["slm1", "gguf", "slm1"]
    assert len({model.logits(IDS).tobytes() for model in models}) == 1
    assert len({model.generate(IDS, 5) for model in models}) == 1
    for text in TEXTS:
        assert [model.tokenize(text, add_special=False) for model in models] == [list(text.encode())] * 3
    assert [model.prompt_ids("The fox") for model in models] == [[256, *b"The fox"]] * 3
    assert [model.detokenize([*range(259)]) for model in models] == [bytes(range(256))] * 3
    assert models[0].hyperparameters == models[2].hyperparameters


def test_gguf_as_other_software_reads_it(source: Path, tmp_path: Path) -> None:
    """SL-7, GG-4, GG-5: gguf-py finds the documented keys, vocabulary and weights."""
    target = tmp_path / "model.gguf"
    assert command("convert", source, target).code == 0
    reader = gguf.GGUFReader(target)

    def value(key: str) -> Any:
        return reader.fields[key].contents()

    assert value("general.architecture") == "llama"
    numbers = {"context_length": 16, "embedding_length": 32, "block_count": 2, "feed_forward_length": 64}
    numbers |= {"attention.head_count": 2, "attention.head_count_kv": 2, "rope.dimension_count": 16, "vocab_size": 260}
    assert {key: value(f"llama.{key}") for key in numbers} == numbers
    assert value("llama.rope.freq_base") == 10000.0
    assert value("llama.attention.layer_norm_rms_epsilon") == 2.0**-17
    tokens, types = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    assert (len(tokens), len(types), value("tokenizer.ggml.model")) == (260, 260, "llama")
    for byte in range(256):
        assert (tokens[byte], types[byte]) == (("▁", 1) if byte == 32 else (f"<0x{byte:02X}>", 6))
    assert (tokens[256:], types[256:]) == (["<s>", "</s>", "<pad>", "<unk>"], [3, 3, 3, 2])
    ids = {
        f"{name}_token_id": token for name, token in (("bos", 256), ("eos", 257), ("padding", 258), ("unknown", 259))
    }
    assert {key: value(f"tokenizer.ggml.{key}") for key in ids} == ids
    flags = {"add_bos_token": True, "add_eos_token": False, "add_space_prefix": False}
    assert {key: value(f"tokenizer.ggml.{key}") for key in flags} == flags
    stored = {tensor.name: tensor for tensor in reader.tensors}
    assert len(stored) == 21
    wanted = next(item for item in model_tensors(hidden=32, ffn=64, layers=2) if item.name == "layers.1.w2.weight")
    assert stored["blk.1.ffn_down.weight"].data.tobytes() == wanted.payload
    assert tuple(stored["blk.1.ffn_down.weight"].shape) == (64, 32)  # fastest first


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_quantised_gguf(source: Path, tmp_path: Path, dtype: str) -> None:
    """GG-8, GG-9: matrices are stored in ggml's blocks as the `gguf` package encodes them, vectors as f32."""
    target = tmp_path / "model.gguf"
    assert command("convert", source, target, "--dtype", dtype).code == 0
    weights: dict[str, np.ndarray] = {}
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    for item in model_tensors(hidden=32, ffn=64, layers=2):
        values = np.frombuffer(item.payload, "<f4").reshape(item.dims)
        weights[item.name] = (
            values if len(item.dims) == 1 else gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
        )
    model = open_model(target, numerics="f64")
    assert model.quantization == dtype
    expected = float64_logits(weights, IDS, heads=2, rms_epsilon=2.0**-17)
    assert np.abs(model.logits(IDS) - expected).max() <= 1e-9 * np.abs(expected).max()
    kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(target).tensors}
    assert {name for name, found in kinds.items() if found != kind} == {n for n in kinds if "norm" in n}


def test_other_types_of_slm1(source: Path, tmp_path: Path) -> None:
    """SL-2: q8_0 has one scale a row, largest magnitude / 127; q4_0 one for 32 values, / 7; vectors too."""
    row = np.frombuffer(model_tensors(hidden=32, ffn=64, layers=2)[0].payload, "<f4")[:32]
    for dtype, limit in (("q8_0", 127), ("q4_0", 7)):
        target = tmp_path / f"{dtype}.slm1"
        assert command("convert", source, target, "--dtype", dtype).code == 0
        model = open_model(target)
        assert model.quantization == dtype
        line = next(line for line in model.inspect().tensors if line.name == "tok_embeddings.weight")
        place = re.search(r"scales at (\d+)", line.note)
        assert place is not None
        (scale,) = struct.unpack_from("<f", target.read_bytes(), int(place.group(1)))
        assert scale == np.float32(np.abs(row).max() / np.float32(limit))
        assert {each.type for each in model.inspect().tensors} == {dtype}


def test_bpe1_stays_in_slm1(tmp_path: Path) -> None:
    """SL-9, SL-10: SLM1 to SLM1 keeps the tokenizer section; GGUF cannot express it, which is said."""
    section = bpe1([(260, b"th"), (261, b"the")], [(116, 104, 260, 0), (260, 101, 261, 1)])
    path = tmp_path / "bpe.slm1"
    tensors = model_tensors(vocab=262, hidden=32, ffn=64, layers=2)
    path.write_bytes(
        build(
            tensors, section, vocab_size=262, hidden_size=32, ffn_size=64, layer_count=2, head_dim=32, max_context=300
        )
    )
    target = tmp_path / "q8.slm1"
    assert command("convert", path, target, "--dtype", "q8_0").code == 0
    assert open_model(target).tokenize("the") == [256, 261, 257]
    outcome = command("convert", path, tmp_path / "bpe.gguf")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "BPE1" in outcome.stderr
    assert "found bpe1" in outcome.stderr
    assert not (tmp_path / "bpe.gguf").exists()


def test_header_fields_survive(tmp_path: Path) -> None:
    """SL-1, SL-5: model type, unknown flags and the special count are kept; the checksum follows the profile."""
    source, target = tmp_path / "a.slm1", tmp_path / "b.slm1"
    source.write_bytes(model_file(model_type=9, flags=6, special_token_count=77, rope_theta=500000.0))
    profile = tmp_path / "build.toml"
    profile.write_text("[rules]\n'SL-5.verify' = 'not verified'\n'SL-5.rotation' = 7\n")
    assert command("convert", source, target, "--profile", profile).code == 0
    data = target.read_bytes()
    assert [header_value(data, name) for name in ("model_type", "flags", "special_token_count")] == [9, 6, 77]
    assert struct.unpack_from("<f", data, 56)[0] == 500000.0
    assert command("inspect", target).code == 1
    assert command("inspect", target, "--profile", profile).code == 0


def edited_gguf(source: Path, target: Path, **changes: Any) -> None:
    """Write a copy of a converted file with other metadata values (None drops a key), rope scaling, or more tensors."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    if "linear_scaling" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(changes.pop("linear_scaling"))
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = changes.pop(key.rpartition(".")[2], field.contents())
        if value is not None:
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, value, field.types[0], sub_type)
    for tensor in reader.tensors:
        values = np.array(tensor.data)
        if tensor.name in changes:
            values = changes.pop(tensor.name)
        writer.add_tensor(tensor.name, values, raw_dtype=tensor.tensor_type)
    for name, values in changes.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


TOKENS = [*(f"<0x{byte:02X}>" if byte != 32 else "▁" for byte in range(256)), "<s>", "</s>", "<pad>", "<unk>"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head_count_kv": 1, "attn": True}, "grouped-query"),
        ({"add_space_prefix": True}, "adds no space"),
        ({"add_bos_token": False}, "always adds BOS"),
        ({"bos_token_id": 5}, "bos_token_id differs"),
        ({"eos_token_id": 5}, "eos_token_id differs"),
        ({"tokens": [*TOKENS[:65], "A", *TOKENS[66:]], "types65": 1}, "id 65 differs"),
        ({"tokens": [*TOKENS[:-2], "<PAD>", "<unk>"]}, "id 258 differs"),
        ({"rope_freqs.weight": np.ones(8, np.float32)}, "rope_freqs"),
        ({"linear_scaling": 4.0}, "no rope.scaling"),
    ],
)
def test_refused_gguf(source: Path, tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """SL-1, SL-7, SL-11: what SLM1 cannot say is refused by name, and nothing is written."""
    plain, edited, target = tmp_path / "plain.gguf", tmp_path / "edited.gguf", tmp_path / "out.slm1"
    assert command("convert", source, plain).code == 0
    changes = dict(changes)
    if changes.pop("attn", False):
        narrow = np.ones((16, 32), np.float32)
        for layer in range(2):
            changes |= {f"blk.{layer}.attn_k.weight": narrow, f"blk.{layer}.attn_v.weight": narrow}
    if "types65" in changes:
        types = [1 if token == 32 else 6 for token in range(256)]
        types[65] = changes.pop("types65")
        changes["token_type"] = [*types, 3, 3, 3, 2]
    edited_gguf(plain, edited, **changes)
    assert command("inspect", edited).code == 0, command("inspect", edited).stdout
    before = sorted(path.name for path in tmp_path.iterdir())
    outcome = command("convert", edited, target)
    assert outcome.code == 1, outcome.stdout
    assert outcome.stderr.startswith("refused: ")
    assert reason in outcome.stderr
    refused = command("convert", edited, target, "--json")
    assert refused.code == 1
    assert reason in str(refused.json["refused"])
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("file", "target", "dtype", "reason"),
    [
        (wide_vocabulary(), "gguf", "f32", "from 260 on"),
        (lookup_model(spelling(b"ab")), "gguf", "q8_0", "multiple of 32"),
        (lookup_model(spelling(b"ab")), "slm1", "q4_0", "not an even divisor"),
    ],
)
def test_refused_slm1(tmp_path: Path, file: bytes, target: str, dtype: str, reason: str) -> None:
    """SL-2, SL-8: extra ids, and rows that blocks do not divide, are refused."""
    with pytest.raises(ConversionRefused, match=reason):
        convert_artifact(file, tmp_path / "out", target, dtype, Profile())
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    """SL-6, SL-2: infinities pass as f32 and are refused where they would have to be quantised."""
    tensors = model_tensors(hidden=32, ffn=64, layers=2)
    item = tensors[0]
    tensors[0] = item.__class__(item.name, item.dtype, item.dims, struct.pack("<f", np.inf) + item.payload[4:])
    sizes = {"hidden_size": 32, "ffn_size": 64, "layer_count": 2, "head_dim": 32}
    file = bytes(build(tensors, **sizes))
    for target in ("gguf", "slm1"):
        with pytest.raises(ConversionRefused, match="finite"):
            convert_artifact(file, tmp_path / "out", target, "q8_0", Profile())
        assert convert_artifact(file, tmp_path / "out", target, "f32", Profile()).tensors == 21


def test_files_are_safe(source: Path, tmp_path: Path) -> None:
    """GG-1: nothing is overwritten without --force; a failure leaves the old file and no other behind."""
    target = tmp_path / "model.gguf"
    target.write_bytes(b"precious")
    outcome = command("convert", source, target)
    assert outcome.code == 2
    assert "--force" in outcome.stderr
    assert target.read_bytes() == b"precious"
    damaged = tmp_path / "damaged.slm1"
    damaged.write_bytes(source.read_bytes()[:-64])
    assert command("convert", damaged, target, "--force").code == 1
    assert target.read_bytes() == b"precious"
    assert command("convert", source, target, "--force").code == 0
    assert target.read_bytes()[:4] == b"GGUF"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.slm1", "model.gguf", "model.slm1"]
    assert command("convert", source, source, "--dtype", "q8_0", "--force").code == 0  # onto itself
    assert open_model(source).quantization == "q8_0"


def test_where_to_write(source: Path, tmp_path: Path) -> None:
    """GG-1: the suffix or --to names the container; GGUF to GGUF is refused; a missing folder is a missing file."""
    assert command("convert", source, tmp_path / "model.bin").code == 2
    document = command("convert", source, tmp_path / "model.bin", "--to", "gguf", "--json").json
    assert document["conversion"]["target"] == "gguf"
    assert (document["refused"], document["conversion"]["tensors"]) == (None, 21)
    assert document["conversion"]["byte_length"] == (tmp_path / "model.bin").stat().st_size
    again = command("convert", tmp_path / "model.bin", tmp_path / "other.gguf")
    assert again.code == 1
    assert "not rewritten as GGUF" in again.stderr
    assert command("convert", source, tmp_path / "none" / "model.gguf").code == 3
