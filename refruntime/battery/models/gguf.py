"""Small GGUF models of architecture `llama` for the battery, written byte by byte (GGUF version 3, little-endian).

A tensor of any block type gets random blocks whose half-precision scales are small, so that no quantiser is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from refruntime.battery.models.slm1 import Float32, Numbers

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES: Final = dict(zip((U8, I8, U16, I16, U32, I32, F32, BOOL, U64, I64, F64), "BbHhIif?Qqd", strict=True))
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
ALIGNMENT: Final = 32


def text(raw: bytes) -> bytes:
    """Return a length-prefixed string."""
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, item: float | bytes | bool) -> bytes:
    """Return a typed metadata value."""
    body = text(item) if isinstance(item, bytes) else struct.pack("<" + CODES[kind], item)
    return struct.pack("<I", kind) + body


def array(kind: int, items: Sequence[float] | Sequence[bytes]) -> bytes:
    """Return a typed metadata array."""
    body = b"".join(text(item) if isinstance(item, bytes) else struct.pack("<" + CODES[kind], item) for item in items)
    return struct.pack("<IIQ", ARRAY, kind, len(items)) + body


@dataclass(frozen=True)
class Tensor:
    """One tensor: dimensions fastest first, ggml type number, payload. An `offset` overrides the right one."""

    name: bytes
    dimensions: tuple[int, ...]
    type: int
    payload: bytes
    offset: int | None = None


@dataclass(frozen=True)
class GgufParts:
    """The parts of a file; keys map to encoded values."""

    keys: Mapping[str, bytes]
    tensors: tuple[Tensor, ...]
    version: int = 3
    key_count: int | None = None
    tensor_count: int | None = None
    alignment: int = ALIGNMENT
    extra_keys: bytes = b""

    def with_keys(self, **keys: bytes | None) -> GgufParts:
        """Return a file with other keys; `__` stands for a dot, None removes a key."""
        named = {name.replace("__", "."): item for name, item in keys.items()}
        return replace(self, keys={key: item for key, item in {**self.keys, **named}.items() if item is not None})

    def with_tensor(self, name: str, /, **changes: object) -> GgufParts:
        """Return a file with one tensor changed."""
        raw = name.encode()
        changed = tuple(replace(item, **changes) if item.name == raw else item for item in self.tensors)  # type: ignore[arg-type]
        return replace(self, tensors=changed)

    def without_tensor(self, name: str) -> GgufParts:
        """Return a file without one tensor."""
        return replace(self, tensors=tuple(item for item in self.tensors if item.name != name.encode()))

    @property
    def directory(self) -> bytes:
        """Return everything before the padding in front of the tensor data."""
        counts = (
            len(self.tensors) if self.tensor_count is None else self.tensor_count,
            len(self.keys) if self.key_count is None else self.key_count,
        )
        head = b"GGUF" + struct.pack("<IQQ", self.version, *counts)
        head += b"".join(text(key.encode()) + item for key, item in self.keys.items()) + self.extra_keys
        position = 0
        for tensor in self.tensors:
            offset = position if tensor.offset is None else tensor.offset
            count = len(tensor.dimensions)
            head += text(tensor.name) + struct.pack(f"<I{count}QIQ", count, *tensor.dimensions, tensor.type, offset)
            position += len(tensor.payload) + -len(tensor.payload) % self.alignment
        return head

    @property
    def data(self) -> bytes:
        """Return the whole file."""
        head = self.directory
        payloads = (tensor.payload + bytes(-len(tensor.payload) % self.alignment) for tensor in self.tensors)
        return head + bytes(-len(head) % self.alignment) + b"".join(payloads)


# Vocabulary ----------------------------------------------------------------------------------------------------------

SPACE: Final = "▁".encode()
PIECES: Final = (
    *(bytes([letter]) for letter in range(0x21, 0x7F)),
    SPACE,
    *(SPACE + piece for piece in (b"t", b"a", b"th", b"the", b"hello", b"", b"s")[:5]),
    *(b"th", b"he", b"the", b"er", b"in", b"hel", b"lo", b"hello", b"ab", b"ba", b"aa", b"abc", b"aab", b"ll", b"el"),
    *(SPACE * 2, "é".encode(), "漢".encode()),
)
"""Normal tokens, in order of merit: a longer piece that merges can reach, with a score that makes merges compete."""


@dataclass(frozen=True)
class TokenTable:
    """Token texts, types and scores."""

    tokens: tuple[bytes, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def readable(self) -> list[bool]:
        """Say which ids are normal or byte tokens that decode to ASCII."""
        return [
            item.replace(SPACE, b" ").isascii() if kind == NORMAL else kind == BYTE and int(item[3:5], 16) < 128
            for item, kind in zip(self.tokens, self.types, strict=True)
        ]


def spm_vocabulary(byte_tokens: int = 256) -> TokenTable:
    """Return a SentencePiece vocabulary: specials, bytes, letters, pieces, a user-defined and an unused token."""
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(byte_tokens)), *PIECES]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * byte_tokens, *[NORMAL] * len(PIECES)]
    scores = [0.0, 0.0, 0.0, *[0.0] * byte_tokens]
    scores += [-10.0 * len(piece) + 17.0 * ((5 * place) % 7) for place, piece in enumerate(PIECES)]
    for item, kind in ((b"<tool>", USER_DEFINED), (b"<|end|>", CONTROL), (b"unused", UNUSED), (b"<pad>", CONTROL)):
        tokens.append(item)
        types.append(kind)
        scores.append(0.0)
    return TokenTable(tuple(tokens), tuple(types), tuple(scores))


# Models --------------------------------------------------------------------------------------------------------------

HALF_SCALES: Final[Mapping[int, tuple[int, int, tuple[int, ...]]]] = {
    2: (32, 18, (0,)),
    3: (32, 20, (0, 2)),
    6: (32, 22, (0,)),
    7: (32, 24, (0, 2)),
    8: (32, 34, (0,)),
    10: (256, 84, (80, 82)),
    11: (256, 110, (108,)),
    12: (256, 144, (0, 2)),
    13: (256, 176, (0, 2)),
    14: (256, 210, (208,)),
}
"""Block types by number: values and bytes of a block, offsets of its half-precision scales (ggml's block structs)."""

LARGEST_VALUE: Final = {
    2: 8,
    3: 15,
    6: 16,
    7: 31,
    8: 127,
    10: 3 * 15,
    11: 4 * 32,
    12: 15 * 63,
    13: 31 * 63,
    14: 32 * 127,
}


@dataclass(frozen=True)
class LlamaShape:
    """Dimensions of a small llama model; `types` maps a tensor's last name to its ggml type, `type` is for the rest.

    With 128 byte tokens every token but the specials decodes to UTF-8, whatever the weights are.
    """

    hidden: int = 32
    layers: int = 2
    heads: int = 4
    kv_heads: int = 4
    ffn: int = 64
    context: int = 64
    head_dim: int | None = None
    type: int = 0
    types: Mapping[str, int] = field(default_factory=dict)
    tied: bool = False
    rope_factors: bool = False
    byte_tokens: int = 256

    @property
    def rotated(self) -> int:
        """Return the size of a head."""
        return self.head_dim if self.head_dim is not None else self.hidden // self.heads


def llama_model(seed: int, shape: LlamaShape, **keys: bytes | None) -> GgufParts:
    """Return a random model; `keys` are further metadata as in `with_keys`."""
    vocabulary = spm_vocabulary(shape.byte_tokens)
    metadata = {
        "general.architecture": value(STRING, b"llama"),
        "llama.context_length": value(U32, shape.context),
        "llama.embedding_length": value(U32, shape.hidden),
        "llama.block_count": value(U32, shape.layers),
        "llama.feed_forward_length": value(U32, shape.ffn),
        "llama.attention.head_count": value(U32, shape.heads),
        "llama.attention.head_count_kv": value(U32, shape.kv_heads),
        "llama.attention.layer_norm_rms_epsilon": value(F32, 1e-5),
        "llama.rope.dimension_count": value(U32, shape.rotated),
        "tokenizer.ggml.model": value(STRING, b"llama"),
        "tokenizer.ggml.tokens": array(STRING, vocabulary.tokens),
        "tokenizer.ggml.scores": array(F32, vocabulary.scores),
        "tokenizer.ggml.token_type": array(I32, vocabulary.types),
        "tokenizer.ggml.bos_token_id": value(U32, 1),
        "tokenizer.ggml.eos_token_id": value(U32, 2),
    }
    return GgufParts(metadata, tuple(_tensors(seed, shape, vocabulary))).with_keys(**keys)


def _tensors(seed: int, shape: LlamaShape, vocabulary: TokenTable) -> list[Tensor]:
    """Return the tensors in the order of llama.cpp's converter; component 0 tells readable tokens from others."""
    numbers, hidden, ffn, size = Numbers(seed), shape.hidden, shape.ffn, len(vocabulary.tokens)
    queries, keys = shape.heads * shape.rotated, shape.kv_heads * shape.rotated
    sign = np.where(vocabulary.readable, 1.0, -1.0)  # [V]

    def tensor(name: str, rows: int, columns: int, spread: float) -> Tensor:
        kind = shape.types.get(name.split(".")[-2], shape.type)
        scale = spread / float(np.sqrt(columns))
        if kind in HALF_SCALES:
            payload = random_blocks(numbers, kind, rows * columns, scale)
        else:
            weights = numbers.uniform(rows, columns, scale=scale)
            if name in ("token_embd.weight", "output.weight"):
                weights[:, 0] = 3 * sign
            elif name.endswith(("attn_output.weight", "ffn_down.weight")):
                weights[0] = 0
            payload = plain_payload(weights, kind)
        return Tensor(name.encode(), (columns, rows), kind, payload)

    def vector(name: str, values: Float32) -> Tensor:
        return Tensor(name.encode(), (values.size,), 0, values.astype("<f4").tobytes())

    def norm(name: str) -> Tensor:
        return vector(name, np.float32(1) + numbers.uniform(hidden, scale=0.25))

    tensors = [tensor("token_embd.weight", size, hidden, 1.7 * float(np.sqrt(hidden)))]
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        tensors += [
            norm(block + "attn_norm.weight"),
            tensor(block + "attn_q.weight", queries, hidden, 2.5),
            tensor(block + "attn_k.weight", keys, hidden, 2.5),
            tensor(block + "attn_v.weight", keys, hidden, 2.5),
            tensor(block + "attn_output.weight", hidden, queries, 2.5),
            norm(block + "ffn_norm.weight"),
            tensor(block + "ffn_gate.weight", ffn, hidden, 2.5),
            tensor(block + "ffn_up.weight", ffn, hidden, 2.5),
            tensor(block + "ffn_down.weight", hidden, ffn, 2.5),
        ]
    last = np.float32(1) + numbers.uniform(hidden, scale=0.25)
    last[0] = 3
    tensors.append(vector("output_norm.weight", last * np.float32(0.4 if shape.tied else 1)))
    if not shape.tied:
        tensors.append(tensor("output.weight", size, hidden, 4.0))
    if shape.rope_factors:
        factors = np.float32(1.5) + numbers.uniform(shape.rotated // 2, scale=0.5)
        tensors.append(vector("rope_freqs.weight", factors))
    return tensors


def random_blocks(numbers: Numbers, kind: int, count: int, scale: float) -> bytes:
    """Return random blocks of a type for `count` values of about +-scale."""
    size, width, places = HALF_SCALES[kind]
    blocks = count // size
    raw = np.frombuffer(numbers.integers(blocks * width // 8 + 1).astype("<u8").tobytes(), np.uint8)
    rows = raw[: blocks * width].reshape(blocks, width).copy()
    for place in places:
        share = 0.5 + np.abs(numbers.uniform(blocks, scale=0.5))  # [blocks]
        halves = (share * np.float32(scale / LARGEST_VALUE[kind])).astype("<f2")
        rows[:, place : place + 2] = halves.view(np.uint8).reshape(blocks, 2)
    return rows.tobytes()


def plain_payload(values: Float32, kind: int) -> bytes:
    """Return the bytes of f32 (0), f16 (1) or bf16 (30, cut off) values."""
    if kind == 30:
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype("<f4" if kind == 0 else "<f2").tobytes()
