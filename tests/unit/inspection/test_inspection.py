"""`refruntime inspect` and the inspection behind it, on sound and on broken files."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.inspection import inspect_artifact
from tests.support.chat_models import CHATML, model_file
from tests.support.command_line import command
from tests.support.lookup_model import lookup_model, spelling
from tests.support.slm1_by_hand import Q4_0, build, model_tensors, patch_entry, patch_header

HELLO = lookup_model(spelling(b"Helo!"))


def small_gguf(path: Path) -> bytes:
    """Write a llama model with the `gguf` package: 16 tokens, 8 components, one layer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(16)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(4)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", *(b"t%d" % index for index in range(13))])
    writer.add_token_scores([0.0] * 16)
    writer.add_token_types([2, 3, 3, *[1] * 13])
    shapes = {"token_embd": (16, 8), "output_norm": (8,), "blk.0.attn_norm": (8,), "blk.0.ffn_norm": (8,)}
    shapes |= {f"blk.0.attn_{part}": (8, 8) for part in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (4, 8), "blk.0.ffn_up": (4, 8), "blk.0.ffn_down": (8, 4)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_slm1_document(tmp_path: Path) -> None:
    """SL-1, SL-2, SL-3: header, tensors by name, census, tokenizer and dimensions of a valid file."""
    path = tmp_path / "model.slm1"
    path.write_bytes(build(model_tensors(Q4_0, hidden=4, ffn=2), hidden_size=4, head_dim=4))
    outcome = command("inspect", path, "--json")
    assert outcome.code == 0
    document = outcome.json
    assert (document["container"], document["status"], document["error"]) == ("slm1", {"code": 0, "name": "Ok"}, None)
    assert (document["header"]["vocab_size"], document["header"]["tokenizer_magic"]) == (260, "BTOK")
    tensors = {entry["name"]: entry for entry in document["tensors"]}
    assert len(tensors) == len(document["tensors"]) == 12
    assert tensors["layers.0.w1.weight"]["shape"] == [2, 4]
    assert tensors["layers.0.w1.weight"]["byte_length"] == 4
    assert tensors["layers.0.w1.weight"]["note"].startswith("blocks of 2; scales at ")
    elements = 2 * 260 * 4 + 4 * 16 + 3 * 8 + 3 * 4
    assert document["types"] == [{"type": "q4_0", "tensors": 12, "elements": elements, "byte_length": elements // 2}]
    assert document["tokenizer"] == {
        **{"kind": "btok", "vocab_size": 260, "bos_id": 256, "eos_id": 257, "adds_bos": True, "adds_eos": True},
        **{"stop_ids": [257], "stop_texts": ["EOS"], "pre_tokenizer": None},
    }
    assert document["quantization"] == "q4_0"
    people = command("inspect", path, "--tensors")
    assert people.code == 0
    for part in ("layers.0.w1.weight", "2 x 4", "q4_0", "btok", "valid: 12 tensors"):
        assert part in people.stdout


def test_gguf_document(tmp_path: Path) -> None:
    """GG-3, GG-4, GG-9: keys with type and offset, arrays shortened, tensors with absolute offsets."""
    path = tmp_path / "model.gguf"
    data = small_gguf(path)
    document = command("inspect", path, "--json").json
    assert document["status"]["code"] == 0
    keys = {entry["key"]: entry for entry in document["metadata"]}
    tokens = keys["tokenizer.ggml.tokens"]
    assert (tokens["type"], tokens["count"], tokens["value"][:3]) == ("ARRAY of STRING", 16, ["<unk>", "<s>", "</s>"])
    assert len(tokens["value"]) == 8
    length = keys["llama.context_length"]
    assert struct.unpack_from("<I", data, length["offset"])[0] == length["value"] == 16
    for entry in document["tensors"]:
        raw = data[entry["offset"] : entry["offset"] + entry["byte_length"]]
        assert raw == struct.pack("<f", 1) * entry["elements"]
    assert (document["quantization"], document["hyperparameters"]["kv_head_count"]) == ("f32", 2)
    assert "(16 elements)" in command("inspect", path, "--metadata").stdout


def test_the_summary_answers_what_is_asked_first(tmp_path: Path) -> None:
    """GG-5, GG-6, GG-7: architecture, sizes, types, tokenizer, stop tokens, template, capacity: a line each."""
    path = tmp_path / "model.gguf"
    small_gguf(path)
    shown = command("inspect", path, columns=80).stdout
    assert max(map(len, shown.splitlines()[1:])) <= 80
    for line in (
        "architecture   llama",
        "in 11 tensors: f32 100%",
        "tokenizer      spm, 16 ids",
        "begin and end  BOS 1 added; EOS 2 not added",
        'stops at       2 "</s>"',
        "chat template  no",
        "capacity       16 positions",
    ):
        assert line in shown, shown
    limited = tmp_path / "limit.toml"
    limited.write_text(Profile(gguf_context_limit=8).to_toml())
    answers = command("inspect", path, "--json", "--profile", limited).json["summary"]
    assert answers["capacity"] == "8 positions: the profile ends there (GG-7, limit 8); the file says 16"


def test_the_summary_names_the_pre_tokenizer_of_a_file_that_loads(tmp_path: Path) -> None:
    """GG-6: of byte-pair vocabularies it is asked first, whether the file is valid or breaks behind its tokenizer."""
    whole = model_file(CHATML)
    for data, code in ((whole, 0), (whole[:-4], 1)):
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        outcome = command("inspect", path, columns=80)
        assert outcome.code == code
        assert "tokenizer      bpe, 259 ids, pre-tokenizer qwen2" in outcome.stdout
        assert command("inspect", path, "--json").json["tokenizer"]["pre_tokenizer"] == "qwen2"


def test_late_failure_still_shows_the_file(tmp_path: Path) -> None:
    """SL-3, SL-5, SL-6: header and tensors are shown, then the first rule that fails, with expected and found."""
    path = tmp_path / "model.slm1"
    damaged = bytearray(HELLO)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    outcome = command("inspect", path, "--tensors", "--metadata")
    assert outcome.code == 1
    for part in ("vocab_size", "layers.0.wq.weight", "InvalidHeader (6)", "SL-5", "100 (0x64)", "expected", "found"):
        assert part in outcome.stdout
    path.write_bytes(patch_entry(bytearray(HELLO), "layers.0.wq.weight", name_hash=1))
    document = command("inspect", path, "--json").json
    assert (document["status"]["name"], document["error"]["tensor"]) == ("MissingTensor", "layers.0.wq.weight")
    unknown = [entry for entry in document["tensors"] if "unknown" in entry["note"]]
    assert [entry["name"] for entry in unknown] == ["hash 0x0000000000000001"]


def test_notes_on_tensors() -> None:
    """SL-3, SL-6, CL-slm1: repeated hashes, an unused output and payloads past the end are told apart."""
    first = model_tensors()
    twice = inspect_artifact(bytes(build([*first, first[0]])), Profile())
    assert twice.error is None
    assert [line.note for line in twice.tensors] == [""] * 12 + ["repeats a hash, ignored"]
    tied = inspect_artifact(bytes(build(first, flags=1)), Profile())
    assert [line.name for line in tied.tensors if "tied" in line.note] == ["output.weight"]
    past = patch_entry(build(first), "norm.weight", byte_offset=2**63)
    assert [line.name for line in inspect_artifact(bytes(past), Profile()).tensors if "past" in line.note] == [
        "norm.weight"
    ]
    odd = patch_entry(build(first), "norm.weight", dtype=7, rank=9)
    line = next(line for line in inspect_artifact(bytes(odd), Profile()).tensors if line.name == "norm.weight")
    assert (line.type, line.note) == ("dtype 7", "rank 9")


def test_gguf_that_breaks_in_the_middle(tmp_path: Path) -> None:
    """GG-3, GG-4: what comes before a broken key or tensor entry is shown, and how many there are."""
    data = bytearray(small_gguf(tmp_path / "model.gguf"))
    whole = inspect_artifact(bytes(data), Profile())
    keys = [line.key for line in whole.metadata]
    broken = keys.index("tokenizer.ggml.model")
    place = data.index(b"tokenizer.ggml.model") + len("tokenizer.ggml.model")
    damaged = data[:place] + struct.pack("<I", 99) + data[place + 4 :]  # an unknown value type
    report = inspect_artifact(bytes(damaged), Profile())
    assert [line.key for line in report.metadata] == keys[:broken]
    assert report.notes == [f"{broken} of {len(keys)} keys could be read; the next one is broken"]
    assert report.error is not None
    assert (report.error.status, report.error.offset) == (6, place)
    place = data.index(b"blk.0.attn_k.weight") + len("blk.0.attn_k.weight")
    damaged = data[:place] + struct.pack("<I", 5) + data[place + 4 :]  # five dimensions
    report = inspect_artifact(bytes(damaged), Profile())
    names = [line.name for line in whole.tensors]
    assert [line.name for line in report.tensors] == names[: names.index("blk.0.attn_k.weight")]
    assert report.error is not None
    assert report.error.status == 7
    assert report.tokenizer == whole.tokenizer


def test_any_prefix_can_be_inspected(tmp_path: Path) -> None:
    """SL-1, GG-3: no truncated file makes an inspection fail, and every one has a failure to report."""
    file = bytes(build())
    for data, step in ((file, 7), (small_gguf(tmp_path / "model.gguf"), 3)):
        for end in range(0, len(data), step):
            if data is file or end < 1500 or end % 60 == 0:
                report = inspect_artifact(data[:end], Profile())
                assert report.error is not None or end > len(data) - 64  # only padding is missing


def test_claims_beyond_the_file_cost_nothing() -> None:
    """SL-1, GG-3: counts that the file cannot hold are neither allocated nor walked."""
    file = patch_header(bytearray(HELLO), {"tensor_count": 2**32 - 1, "layer_count": 2**32 - 1})
    report = inspect_artifact(bytes(file), Profile())
    assert report.error is not None
    assert len(report.tensors) <= len(file) // 64
    assert any("lie inside the file" in note for note in report.notes)
    report = inspect_artifact(struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 2**60) + bytes(100), Profile())
    assert report.error is not None
    assert (report.metadata, report.tensors) == ([], [])


def test_names_from_a_file_cannot_drive_the_terminal(tmp_path: Path) -> None:
    """GG-3: control characters and bytes that are no UTF-8 are shown, never sent; JSON stays ASCII."""
    path = tmp_path / "model.gguf"
    data = small_gguf(path).replace(b"t12", b"\x1b[2").replace(b"general.architecture", b"general.\x1b[1m\xfftecture")
    path.write_bytes(data.replace(b"blk.0.ffn_up", b"blk.0.f\x1b[1mp"))
    outcome = command("inspect", path, "--tensors", "--metadata", "--tokenizer")
    assert outcome.code == 1
    assert "\x1b" not in outcome.stdout
    assert "␛[1m" in outcome.stdout
    assert command("inspect", path, "--json").stdout.isascii()


@pytest.mark.parametrize("name", ["real/stories260K-q4_k_m.gguf", "zoo/llama-rope-freqs.gguf", "zoo/llama.gguf"])
def test_tables_of_other_software(shared_data: Path, name: str) -> None:
    """GG-3, GG-9: gguf-py reads the same tensors from the same places."""
    path = shared_data / name
    document = command("inspect", path, "--json").json
    reader = gguf.GGUFReader(path)
    expected = [
        (tensor.name, tensor.tensor_type.name.lower(), int(tensor.data_offset), int(tensor.n_bytes))
        for tensor in reader.tensors
    ]
    found = [(each["name"], each["type"], each["offset"], each["byte_length"]) for each in document["tensors"]]
    assert found == expected
    assert [line["key"] for line in document["metadata"]] == [
        key for key in reader.fields if not key.startswith("GGUF.")
    ]
