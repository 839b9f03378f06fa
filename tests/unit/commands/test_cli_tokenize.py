"""`refruntime tokenize`."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest

from refruntime.api import open_tokenizer
from refruntime.commands.shared import visible
from refruntime.errors import GenerationFailed
from refruntime.tokenizers.spelling import to_alphabet
from refruntime.tokenizers.unknown_bytes import with_unknown_bytes
from tests.support.command_line import command
from tests.support.lookup_model import BOS, EOS, lookup_model, spelling


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a model with the byte vocabulary."""
    path = tmp_path / "hello.slm1"
    path.write_bytes(lookup_model(spelling(b"Helo!")))
    return path


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """Write a vocabulary-only GGUF file: no tensors, no hyper-parameters, three pieces and all bytes."""
    path = tmp_path / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    byte_tokens = [b"<0x%02X>" % byte for byte in range(256)]
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", *byte_tokens, "▁".encode(), b"h", b"i", "▁hi".encode(), b"hi"])
    writer.add_token_scores([0.0] * 262 + [-2.0, -1.0])
    writer.add_token_types([2, 3, 3, *[6] * 256, 1, 1, 1, 1, 1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a b", "a␣b"),
        (b"\n\t\0\x7f", "␊␉␀␡"),
        ("é🙂".encode(), "é🙂"),
        (b"\xff\xc3(", "\\xff\\xc3("),
        ("\u200b\u2028\u0085".encode(), "\\u{200b}\\u{2028}\\u{85}"),
    ],
)
def test_everything_is_visible(raw: bytes, shown: str) -> None:
    """SL-8: spaces, control characters, invisible characters and bytes that are no UTF-8 all show."""
    assert visible(raw) == shown


def test_vocabulary_without_tensors(vocabulary: Path) -> None:
    """GG-5: a GGUF file without tensors is enough; BOS is added unless asked not to."""
    document = command("tokenize", vocabulary, "hi é", "--json").json
    assert document["tokenizer"] == "spm"
    assert document["ids"] == [1, 262, 259, 3 + 0xC3, 3 + 0xA9]
    assert [(token["bytes"], token["piece"], token["entry"]) for token in document["tokens"]] == [
        ("", "", "<s>"),
        ("206869", "␣hi", "▁hi"),
        ("20", "␣", "▁"),
        ("c3", "\\xc3", "<0xC3>"),
        ("a9", "\\xa9", "<0xA9>"),
    ]
    bare = command("tokenize", vocabulary, "hi é", "--no-add-special", "--json").json
    assert bare["ids"] == document["ids"][1:]
    assert command("run", vocabulary, "hi").code == 1


@pytest.fixture
def byte_pairs(tmp_path: Path) -> Path:
    """Write a byte-pair vocabulary: bytes in the alphabet of GPT-2, one merge, a control token."""
    path = tmp_path / "pairs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*(to_alphabet(bytes([byte])) for byte in range(256)), b"hi", b"<end>"])
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges(["h i"])
    writer.add_eos_token_id(257)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_words_of_byte_pair_vocabularies(byte_pairs: Path) -> None:
    """GG-5: the words within which pieces merge are shown; a text spells a control token only when asked."""
    document = command("tokenize", byte_pairs, "hi hi's<end>", "--json").json
    assert (document["tokenizer"], document["words"]) == ("bpe", ["hi", "␣hi", "'s", "<", "end", ">"])
    assert document["ids"] == [256, 32, 256, *b"'s<end>"]
    parsed = command("tokenize", byte_pairs, "hi<end>", "--json", "--parse-special").json
    assert (parsed["words"], parsed["ids"]) == (["hi", "<end>"], [256, 257])
    assert "words: hi ␣hi 's" in command("tokenize", byte_pairs, "hi hi's").stdout.splitlines()
    lines = command("tokenize", byte_pairs, "--jsonl", "-", "--parse-special", stdin=b'"hi<end>"\n').stdout
    assert lines == "[256,257]\n"


def test_byte_tokenizers_know_neither_words_nor_special_texts(model: Path) -> None:
    """SL-8: --parse-special changes nothing where no text spells a special token."""
    document = command("tokenize", model, "<s>", "--json", "--parse-special").json
    assert (document["ids"], "words" in document) == ([BOS, *b"<s>", EOS], False)


def test_table_for_people(model: Path) -> None:
    """SL-8: ids in one line for copying; the specials of the byte vocabulary have names."""
    outcome = command("tokenize", model, "a b")
    assert outcome.code == 0
    assert f"{BOS},97,32,98,{EOS}" in outcome.stdout.splitlines()
    for part in ("BOS", "EOS", "␣", "tokenizer btok with 260 ids", "5 tokens"):
        assert part in outcome.stdout


def test_lines_of_json(model: Path, tmp_path: Path) -> None:
    """SL-8: one string a line in, one list a line out, from a file or standard input; no specials unless asked."""
    lines = b'"ab"\n""\n"\\u00e9\\u0000\\n"\n'
    expected = "[97,98]\n[]\n[195,169,0,10]\n"
    assert command("tokenize", model, "--jsonl", "-", stdin=lines).stdout == expected
    path = tmp_path / "texts.jsonl"
    path.write_bytes(lines.rstrip())
    assert command("tokenize", model, "--jsonl", path).stdout == expected
    special = command("tokenize", model, "--jsonl", path, "--add-special").stdout.splitlines()
    assert json.loads(special[0]) == [BOS, 97, 98, EOS]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'"open', "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "expected a JSON string, found list"),
        (b"[" * 100_000 + b"]" * 100_000, "expected a JSON string, found deep nesting"),
        (b'"\\ud800"', "the prompt is not valid UTF-8"),
    ],
)
def test_bad_lines_are_answered_in_their_place(model: Path, line: bytes, text: str) -> None:
    """GEN-1: a bad line gets an object that says why, the lines behind it their ids; the exit code tells."""
    outcome = command("tokenize", model, "--jsonl", "-", stdin=b'"a"\n' + line + b'\n"b"\n')
    first, bad, last = outcome.stdout.splitlines()
    assert (outcome.code, first, last) == (1, "[97]", "[98]")
    assert json.loads(bad)["line"] == 2
    assert text in json.loads(bad)["error"]["detail"]
    assert "1 lines could not be encoded" in outcome.stderr


def lacking(path: Path, kind: str) -> Path:
    """Write a vocabulary that lacks the byte 0x07, in one of two kinds."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    if kind == "gpt2":
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list([to_alphabet(bytes([byte])) for byte in range(256) if byte != 7])
        writer.add_token_types([1] * 255)
        writer.add_token_merges(["a b"])
    else:
        pieces = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256) if byte != 7)]
        pieces.append("\u2581".encode())
        writer.add_token_list(pieces)
        writer.add_token_scores([0.0] * len(pieces))
        writer.add_token_types([2, 3, 3] + [6] * 255 + [1])
        writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_bytes_that_a_vocabulary_lacks(tmp_path: Path, kind: str) -> None:
    """GG-5: refused by default, with byte, offset and the option that leaves them out; the rest is encoded alike."""
    path = lacking(tmp_path / "lacking.gguf", kind)
    text = "a b\a c\a"
    refused = command("tokenize", path, text)
    assert refused.code == 1
    for said in ("0x07", "3 (0x3)", "--unknown-bytes drop"):
        assert said in refused.stderr
    dropped = command("tokenize", path, text, "--unknown-bytes", "drop", "--json")
    assert dropped.code == 0
    assert [token["piece"] for token in dropped.json["tokens"]][-5:] == ["a", "␣", "b", "␣", "c"]
    assert command("tokenize", path, text, "--unknown-bytes", "keep").code == 2
    lines = command("tokenize", path, "--jsonl", "-", stdin=b'"a"\n"\\u0007"\n"b"\n')
    assert lines.code == 1
    error = json.loads(lines.stdout.splitlines()[1])["error"]
    assert (error["offset"], error["found"]) == (0, "byte 0x07")


def test_dropping_changes_no_other_tokenizer(tmp_path: Path) -> None:
    """GG-5: what was encoded while dropping is not remembered where bytes are refused."""
    tokenizer = open_tokenizer(lacking(tmp_path / "lacking.gguf", "gpt2"))
    dropping = with_unknown_bytes(tokenizer, "drop")
    assert dropping.decode(dropping.encode(b"x\x07")) == b"x"
    for _ in range(2):
        with pytest.raises(GenerationFailed, match="0x07"):
            tokenizer.encode(b"x\x07")
    with pytest.raises(ValueError, match="refuse or drop"):
        with_unknown_bytes(tokenizer, "keep")


def test_one_source_of_text(model: Path, tmp_path: Path) -> None:
    """GEN-1: text and lines together, or none of both, is wrong usage; a missing file is a missing file."""
    assert command("tokenize", model).code == 2
    assert command("tokenize", model, "a", "--jsonl", "-").code == 2
    assert command("tokenize", model, "--jsonl", tmp_path / "none").code == 3
    assert command("tokenize", model, "\udcff").code == 1


@pytest.mark.parametrize(
    ("cases", "model"),
    [
        ("real/stories260K-f32.cases.json", "real/stories260K-f32.gguf"),
        ("tokenizers/llama-spm.cases.json", "tokenizers/llama-spm.gguf"),
        ("zoo/llama.cases.json", "zoo/llama.gguf"),
    ],
)
def test_ids_of_other_software(shared_data: Path, cases: str, model: str) -> None:
    """GG-5: llama.cpp gives the same ids for every nasty text, with and without special tokens."""
    texts = json.loads((shared_data / cases).read_text())["cases"]
    lines = "\n".join(json.dumps(case["text"]) for case in texts).encode()
    for option, key in (("--no-add-special", "ids"), ("--add-special", "ids_add_special")):
        outcome = command("tokenize", shared_data / model, "--jsonl", "-", option, stdin=lines)
        assert outcome.code == 0
        found = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert found == [case[key] for case in texts]
    assert len(texts) > 100
