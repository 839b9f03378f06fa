"""Write GGUF files byte by byte with `struct`, right or wrong, sharing no code with the reader."""

from __future__ import annotations

import struct
from collections.abc import Sequence

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def string(text: bytes | str) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return u64(len(raw)) + raw


def scalar(kind: int, value: object) -> bytes:
    """Type number and value of a scalar."""
    if kind == STRING:
        return u32(kind) + string(value)  # type: ignore[arg-type]
    return u32(kind) + struct.pack("<" + CODES[kind], value)


def array(kind: int, values: Sequence[object], count: int | None = None) -> bytes:
    """Type numbers, length and elements of an array; `count` lies about the length."""
    if kind == STRING:
        body = b"".join(string(value) for value in values)  # type: ignore[arg-type]
    else:
        body = struct.pack(f"<{len(values)}{CODES[kind]}", *values)
    return u32(ARRAY) + u32(kind) + u64(len(values) if count is None else count) + body


def key(name: bytes | str, value: bytes) -> bytes:
    return string(name) + value


def tensor(
    name: bytes | str, dimensions: Sequence[int], kind: int = 0, offset: int = 0, dimension_count: int | None = None
) -> bytes:
    count = len(dimensions) if dimension_count is None else dimension_count
    return string(name) + u32(count) + b"".join(map(u64, dimensions)) + u32(kind) + u64(offset)


def header(tensor_count: int, key_count: int, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + u32(version) + u64(tensor_count) + u64(key_count)


def gguf_file(
    keys: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """A whole file; the entries are padded to `alignment` when there are tensors."""
    head = header(len(tensors), len(keys), version) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment if tensors else 0) + data


VOCABULARY = [b"<unk>", b"<s>", b"</s>", "▁".encode(), b"h", b"i", b"hi", "▁hi".encode()]
TYPES = [2, 3, 3, 1, 1, 1, 1, 1]
SCORES = [0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -1.0, -2.0]
HIDDEN, HEADS, KV_HEADS, FFN, LAYERS = 8, 4, 2, 12, 2


def llama_keys() -> dict[str, bytes]:
    """The keys of a tiny model whose every dimension differs from the others; head size 2."""
    return {
        "general.architecture": scalar(STRING, "llama"),
        "llama.context_length": scalar(U32, 96),
        "llama.embedding_length": scalar(U32, HIDDEN),
        "llama.block_count": scalar(U32, LAYERS),
        "llama.feed_forward_length": scalar(U32, FFN),
        "llama.attention.head_count": scalar(U32, HEADS),
        "llama.attention.head_count_kv": scalar(U32, KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": scalar(F32, 1e-5),
        "tokenizer.ggml.model": scalar(STRING, "llama"),
        "tokenizer.ggml.tokens": array(STRING, VOCABULARY),
        "tokenizer.ggml.scores": array(F32, SCORES),
        "tokenizer.ggml.token_type": array(I32, TYPES),
    }


def llama_shapes(vocab: int = len(VOCABULARY)) -> dict[str, tuple[int, ...]]:
    """Tensor names and dimensions in file order (fastest first)."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (HIDDEN, vocab), "output_norm.weight": (HIDDEN,)}
    key_size = HIDDEN // HEADS * KV_HEADS
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (HIDDEN,),
            f"blk.{layer}.attn_q.weight": (HIDDEN, HIDDEN),
            f"blk.{layer}.attn_k.weight": (HIDDEN, key_size),
            f"blk.{layer}.attn_v.weight": (HIDDEN, key_size),
            f"blk.{layer}.attn_output.weight": (HIDDEN, HIDDEN),
            f"blk.{layer}.ffn_norm.weight": (HIDDEN,),
            f"blk.{layer}.ffn_gate.weight": (HIDDEN, FFN),
            f"blk.{layer}.ffn_up.weight": (HIDDEN, FFN),
            f"blk.{layer}.ffn_down.weight": (FFN, HIDDEN),
        }
    return shapes


def llama_file(
    keys: dict[str, bytes | None] | None = None,
    shapes: dict[str, tuple[int, ...] | None] | None = None,
    kinds: dict[str, int] | None = None,
) -> bytes:
    """The tiny model, with keys, shapes and types replaced, or removed by None. Word i of the data is the float i."""
    all_keys = {**llama_keys(), **(keys or {})}
    all_shapes = {**llama_shapes(), **(shapes or {})}
    entries, position = [], 0
    for name, dimensions in all_shapes.items():
        if dimensions is not None:
            kind = (kinds or {}).get(name, 0)
            entries.append(tensor(name, dimensions, kind, position))
            size = 2 if kind in (1, 30) else 4
            for dimension in dimensions:
                size *= dimension
            position += -(-size // 32) * 32
    data = struct.pack(f"<{position // 4}f", *range(position // 4))
    return gguf_file([key(name, value) for name, value in all_keys.items() if value is not None], entries, data)
