"""Write the small models of the golden corpus: every byte follows from this recipe.

    python tools/make_golden_models.py            # writes golden/models
    python tools/make_golden_models.py --check    # writes nothing; exit 1 when a file differs from its recipe
    python tools/make_golden_models.py --list     # names and sizes

`table-*` models have logits that a table dictates: the next token depends on the last one alone. `tiny` and the GGUF
files have random weights from an integer generator. The `stories*` models are trained, see tools/train/README.md.

In the SLM1 files the tokenizer section is the last thing in the file, padded to 64 bytes, so that a case can replace it
by `length`, `patch` and `append`.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from refruntime.battery.models.gguf import (
    ALIGNMENT,
    BOOL,
    F32,
    STRING,
    U32,
    LlamaShape,
    llama_model,
    spm_vocabulary,
    value,
)
from refruntime.battery.models.slm1 import Logits, Numbers, Shape, Table, btok_section, random_model, table_model
from refruntime.battery.text import border_section, merge_section
from refruntime.containers.slm1_format import HEADER_OFFSETS, DType
from refruntime.containers.slm1_writer import with_checksum, write_slm1
from refruntime.contract.profile import Profile
from refruntime.model.slm1.encode import encode_quantized
from refruntime.model.slm1.model import required_tensors
from refruntime.tokenizers.byte_ids import BOS, EOS, PAD, UNK

PROJECT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = PROJECT / "golden" / "models"
PROFILE: Final = Profile()

LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
WholeLogits = Mapping[int, int]
END_ALONE: Final[WholeLogits] = {EOS: 1}
LEAST: Final = -100
"""The logit of every token that a table of whole numbers does not name."""


def tokenizer_last(file: bytes) -> bytes:
    """Return the SLM1 file with its tokenizer section moved to the end, padded to 64 bytes, and the right checksum."""
    place, size = HEADER_OFFSETS["tokenizer_offset"], HEADER_OFFSETS["tokenizer_length"]
    start, length = (struct.unpack_from("<Q", file, at)[0] for at in (place, size))
    section = file[start : start + length]
    moved = file[:place] + struct.pack("<Q", len(file)) + file[place + 8 :]
    moved = moved[:start] + bytes(length) + moved[start + length :]
    return with_checksum(moved + section + bytes(-length % 64), PROFILE)


def whole_table_model(
    table: Mapping[int, WholeLogits],
    *,
    otherwise: WholeLogits = END_ALONE,
    vocab: int = 260,
    capacity: int = 16,
    tokenizer: bytes,
) -> bytes:
    """Return a q8_0 file like that of `table_model`: whole logits from -127 to 127, every scale 1.

    The scales make no rounding, so the logits are exact: 4^k one-hot columns, norm weight 2^-k, all else zero.
    """
    hidden = 4
    while hidden < len(table) + 1:
        hidden *= 4
    embedding = np.zeros((vocab, hidden), np.int8)
    rows = {token: place for place, token in enumerate(table, start=1)}
    embedding[np.arange(vocab), [rows.get(token, 0) for token in range(vocab)]] = 1
    output = np.full((vocab, hidden), LEAST, np.int8)
    for place, row in enumerate([otherwise, *table.values()]):
        for token, logit in row.items():
            output[token, place] = logit
    given = {"tok_embeddings.weight": embedding, "output.weight": output}
    shape = Shape(vocab, hidden, layers=1, heads=1, ffn=2, capacity=capacity, epsilon=1e-30)
    tensors = []
    for name, _, dimensions in required_tensors(shape.parameters):
        values = given.get(name, np.zeros(dimensions, np.int8)).reshape(-1, dimensions[-1])
        scales = np.ones((values.shape[0], 1), np.float32)
        if name == "norm.weight":
            values, scales = np.ones((1, hidden), np.int8), np.array([[hidden**-0.5]], np.float32)
        tensors.append(encode_quantized(name, dimensions, DType.Q8_0, values, scales))
    return tokenizer_last(write_slm1(shape.parameters, tokenizer, tensors, PROFILE))


def chain(*tokens: int) -> dict[int, dict[int, int]]:
    """Return the table that makes each token the greedy successor of the one before it."""
    return {token: {successor: 1} for token, successor in pairwise(tokens)}


def story() -> bytes:
    """`a` is followed by `b`, `c`, `d`, then EOS; `e` by `e` for ever; `x` by a byte that is not UTF-8; capacity 8."""
    table = {**chain(*b"abcd", EOS), **chain(ord("x"), 0xFF), ord("e"): {ord("e"): 1}}
    return whole_table_model(table, capacity=8, tokenizer=btok_section(260))


def texts() -> bytes:
    """A digit or letter begins a dictated output: UTF-8 of two to four bytes, broken UTF-8, and the special ids.

    `2` é, `3` €, `4` 😀; `l` a lone continuation, `o` an overlong form, `s` a surrogate, `h` above U+10FFFF, `c` a
    character cut short, `f` the byte 0xFF, `g` an `f`; `-` BOS, PAD, UNK, 260, `A`, 261, 299; `+` PAD only.
    """
    table = chain(ord("-"), BOS, UNK, 260, 65, 261, 299, EOS) | {ord("+"): {PAD: 1}, PAD: {EOS: 1}}
    for start, raw in {
        "2": b"\xc3\xa9",
        "3": b"\xe2\x82\xac",
        "4": b"\xf0\x9f\x98\x83",
        "l": b"\x81",
        "o": b"\xc0\x80",
        "s": b"\xed\xa0\x80",
        "h": b"\xf4\x90\x80",
        "c": b"\xe1\x84",
        "f": b"\xff",
        "g": b"f",
    }.items():
        table = chain(ord(start), *raw, EOS) | table
    return whole_table_model(table, vocab=300, capacity=24, tokenizer=btok_section(300))


def merges() -> bytes:
    """BPE1 with merges that compete by rank, by place and by what another merge leaves; EOS follows everything."""
    return whole_table_model({}, vocab=272, capacity=24, tokenizer=merge_section())


def borders() -> bytes:
    """BPE1 with merges across the borders of words, digits, punctuation and white space; EOS follows everything."""
    return whole_table_model({}, vocab=272, capacity=24, tokenizer=border_section())


def wide() -> bytes:
    """1,135 equal logits: printable ASCII and the ids from 260 to 1,299; more than a sampler retains."""
    ids = [*range(32, 127), *range(260, 1300)]
    return whole_table_model({}, otherwise=dict.fromkeys(ids, 0), vocab=1300, capacity=24, tokenizer=btok_section(1300))


def dictated(otherwise: Logits, table: Table | None = None, capacity: int = 64) -> bytes:
    """Return an f32 file whose logits are `otherwise` after every token that the table does not name."""
    return tokenizer_last(table_model(table or {}, otherwise=otherwise, capacity=capacity, profile=PROFILE))


def slope() -> bytes:
    """Each letter is 0.25 less likely than the one before it; everything else lies 1000 below."""
    return dictated({token: -0.25 * place for place, token in enumerate(LETTERS)})


def ties() -> bytes:
    """Four groups of equal logits, 0 to -3; the letters of a group are spread over the alphabet."""
    return dictated({token: float(-(place % 4)) for place, token in enumerate(LETTERS)})


def even() -> bytes:
    """64 characters with one logit: the six high bits of a draw choose among them."""
    return dictated(dict.fromkeys(range(48, 112), 0.0))


def chance() -> bytes:
    """EOS, `a` and `b` are equally likely, PAD less."""
    return dictated({EOS: 1.0, 97: 1.0, 98: 1.0, PAD: 0.5})


def nucleus() -> bytes:
    """One logit is 0 and 94 are 2^-9 less: the roundings of a running sum of their weights all go one way."""
    return dictated({token: 0.0 if token == 32 else -(2.0**-9) for token in range(32, 127)})


def high() -> bytes:
    """Each letter is 1 less likely than the one before it, from 2^24 down, where float32 still has whole numbers."""
    return dictated({token: 2.0**24 - place for place, token in enumerate(LETTERS)})


TINY: Final = Shape(262, hidden=4, layers=1, heads=2, ffn=6, capacity=8)


def tiny(dtype: DType) -> bytes:
    """Random weights, one layer, two heads of two, capacity 8; q4_0 in blocks of two values."""
    return tokenizer_last(
        random_model(100, TINY, dtype, block_size=2, tokenizer=btok_section(TINY.vocab), profile=PROFILE)
    )


def mixed() -> bytes:
    """As `tiny`, with the embeddings in q8_0, `output.weight` and `wq` in q4_0, and everything else in f32."""
    dtypes = {
        "tok_embeddings.weight": DType.Q8_0,
        "output.weight": DType.Q4_0,
        "layers.0.wq.weight": DType.Q4_0,
    }
    section = btok_section(TINY.vocab)
    return tokenizer_last(random_model(101, TINY, dtypes=dtypes, block_size=4, tokenizer=section, profile=PROFILE))


def small(dtype: DType, block_size: int) -> bytes:
    """Random weights with steep attention, two layers, two heads of eight, capacity 24."""
    shape = Shape(260, hidden=16, layers=2, heads=2, ffn=24, capacity=24)
    return tokenizer_last(
        random_model(200, shape, dtype, block_size=block_size, tokenizer=btok_section(260), profile=PROFILE)
    )


SPM_SWITCHES: Final = {
    "tokenizer__ggml__add_bos_token": value(BOOL, True),
    "tokenizer__ggml__add_eos_token": value(BOOL, False),
    "tokenizer__ggml__add_space_prefix": value(BOOL, True),
    "tokenizer__ggml__eot_token_id": value(U32, len(spm_vocabulary().tokens) - 3),
    "general__alignment": value(U32, ALIGNMENT),
}
"""The end of a turn is the control token `<|end|>`."""


def spm() -> bytes:
    """SentencePiece vocabulary with every kind of token and every switch; two query heads share a KV head."""
    shape = LlamaShape(hidden=8, layers=1, heads=4, kv_heads=2, ffn=12, context=48)
    return llama_model(500, shape, **SPM_SWITCHES).data


def rope() -> bytes:
    """Frequency factors, linear scaling by 4, base 500000, embeddings used as the output."""
    shape = LlamaShape(hidden=16, layers=1, heads=2, kv_heads=1, ffn=16, context=48, rope_factors=True, tied=True)
    return llama_model(
        510,
        replace(shape, byte_tokens=128),
        llama__rope__freq_base=value(F32, 500000.0),
        llama__rope__scaling__type=value(STRING, b"linear"),
        llama__rope__scaling__factor=value(F32, 4.0),
    ).data


def quantized(kind: int) -> bytes:
    """All matrices in one ggml type with blocks of 32 or less; the norms are f32."""
    return llama_model(
        520 + kind, LlamaShape(layers=1, heads=4, kv_heads=2, ffn=32, context=48, type=kind, tied=True, byte_tokens=128)
    ).data


class BlockType(NamedTuple):
    """A ggml type: number, values and bytes of a block, offsets of its half-precision scales, their size."""

    number: int
    values: int
    bytes: int
    scales: tuple[int, ...]
    scale: float


BLOCK_TYPES: Final[Mapping[str, BlockType]] = {
    "q2_k": BlockType(10, 256, 84, (80, 82), 0.005),
    "q3_k": BlockType(11, 256, 110, (108,), 0.002),
    "q4_k": BlockType(12, 256, 144, (0, 2), 0.0003),
    "q5_k": BlockType(13, 256, 176, (0, 2), 0.00015),
    "q6_k": BlockType(14, 256, 210, (208,), 5e-05),
    "iq2_xxs": BlockType(16, 256, 66, (0,), 0.002),
    "iq2_xs": BlockType(17, 256, 74, (0,), 0.002),
    "iq3_xxs": BlockType(18, 256, 98, (0,), 0.001),
    "iq1_s": BlockType(19, 256, 50, (0,), 0.02),
    "iq4_nl": BlockType(20, 32, 18, (0,), 0.002),
    "iq3_s": BlockType(21, 256, 110, (0,), 0.001),
    "iq2_s": BlockType(22, 256, 82, (0,), 0.002),
    "iq4_xs": BlockType(23, 256, 136, (0,), 0.0001),
    "tq1_0": BlockType(34, 256, 54, (52,), 0.3),
    "tq2_0": BlockType(35, 256, 66, (64,), 0.3),
    "iq1_m": BlockType(29, 256, 56, (), 0.025),
    "mxfp4": BlockType(39, 32, 17, (), 0.125),
    "nvfp4": BlockType(40, 64, 36, (), 0.125),
}
"""Sizes and offsets are those of the block structures of ggml. The last three have no half-precision field."""


def blocks(numbers: Numbers, name: str, count: int) -> bytes:
    """Return `count` blocks of random bits in which only the scales are chosen."""
    kind = BLOCK_TYPES[name]
    words = numbers.integers(count * kind.bytes // 8 + 1).astype("<u8")
    raw = np.frombuffer(words.tobytes(), np.uint8)[: count * kind.bytes].reshape(count, kind.bytes).copy()
    for place in kind.scales:
        halves = (np.float32(kind.scale) * (1 + numbers.uniform(count, scale=0.5))).astype("<f2")  # [count]
        raw[:, place : place + 2] = halves.view(np.uint8).reshape(count, 2)
    if name == "iq1_m":  # the high nibbles of the last four u16 make the half-precision scale 0.025
        last = raw[:, 48:].copy().view("<u2")  # [count, 4]
        raw[:, 48:] = (last & 0x0FFF | (0x2666 >> np.array([0, 4, 8, 12]) & 15) << 12).astype("<u2").view(np.uint8)
    elif name == "mxfp4":  # a power of two: 2^(121 - 128)
        raw[:, 0] = 121
    elif name == "nvfp4":  # four scales of 4 exponent and 3 fraction bits
        raw[:, :4] = 0x18 | raw[:, :4] & 7
    return raw.tobytes()


def quantized_wide(name: str) -> bytes:
    """Embeddings (also the output), queries, keys, values, gate and up in one type of large blocks; the rest is f32."""
    kind = BLOCK_TYPES[name]
    shape = LlamaShape(
        hidden=max(kind.values, 64), layers=1, heads=2, kv_heads=1, head_dim=2, ffn=2, context=48, tied=True
    )
    size = {"llama__attention__key_length": value(U32, 2), "llama__attention__value_length": value(U32, 2)}
    file = llama_model(600, replace(shape, byte_tokens=128), **size)
    numbers = Numbers(600 + kind.number)
    for tensor in file.tensors:
        if tensor.dimensions[0] == shape.hidden and len(tensor.dimensions) == 2:
            payload = blocks(numbers, name, prod(tensor.dimensions) // kind.values)
            file = file.with_tensor(tensor.name.decode(), type=kind.number, payload=payload)
    return file.data


MODELS: Final[Mapping[str, Callable[[], bytes]]] = {
    "table-story.q8_0.slm1": story,
    "table-texts.q8_0.slm1": texts,
    "table-merges.q8_0.slm1": merges,
    "table-borders.q8_0.slm1": borders,
    "table-wide.q8_0.slm1": wide,
    "table-slope.f32.slm1": slope,
    "table-ties.f32.slm1": ties,
    "table-even.f32.slm1": even,
    "table-chance.f32.slm1": chance,
    "table-nucleus.f32.slm1": nucleus,
    "table-high.f32.slm1": high,
    "tiny.f32.slm1": partial(tiny, DType.F32),
    "tiny.q8_0.slm1": partial(tiny, DType.Q8_0),
    "tiny.q4_0.slm1": partial(tiny, DType.Q4_0),
    "tiny.mixed.slm1": mixed,
    "small.f32.slm1": partial(small, DType.F32, 32),
    "small.q8_0.slm1": partial(small, DType.Q8_0, 32),
    "small.q4_0.slm1": partial(small, DType.Q4_0, 8),
    "spm.f32.gguf": spm,
    "rope.f32.gguf": rope,
    **{
        f"small.{name}.gguf": partial(quantized, kind)
        for name, kind in {"f16": 1, "bf16": 30, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}.items()
    },
    **{f"wide.{name}.gguf": partial(quantized_wide, name) for name in BLOCK_TYPES},
}
"""File name -> recipe."""


def main() -> int:
    """Write the files, or with --check exit 1 when one is not what its recipe makes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    wrong = []
    for name, recipe in MODELS.items():
        path, data = FOLDER / name, recipe()
        if arguments.list:
            print(f"{len(data):>8}  {name}")
        elif not arguments.check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            wrong.append(name)
    for name in wrong:
        print(f"golden/models/{name} is not what its recipe makes", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
