"""Build small SLM1 files byte by byte from the text of the contract, sharing no code with the package.

The default model: V 260, H 2, F 2, one layer, one head of 2, C 8, untied, BTOK, 12 tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

HEADER_FIELDS = {
    "version": (4, "<I"),
    "header_length": (8, "<I"),
    "model_type": (12, "<I"),
    "flags": (16, "<I"),
    "vocab_size": (20, "<I"),
    "special_token_count": (24, "<I"),
    "hidden_size": (28, "<I"),
    "layer_count": (32, "<I"),
    "head_count": (36, "<I"),
    "kv_head_count": (40, "<I"),
    "head_dim": (44, "<I"),
    "ffn_size": (48, "<I"),
    "max_context": (52, "<I"),
    "rope_theta": (56, "<f"),
    "rms_norm_epsilon": (60, "<f"),
    "tokenizer_offset": (64, "<Q"),
    "tokenizer_length": (72, "<Q"),
    "tensor_directory_offset": (80, "<Q"),
    "tensor_count": (88, "<I"),
    "tensor_data_offset": (92, "<Q"),
    "checksum": (100, "<Q"),
}
ENTRY_FIELDS = {
    "name_hash": (0, "<Q"),
    "dtype": (8, "<I"),
    "rank": (12, "<I"),
    "dim0": (16, "<I"),
    "dim1": (20, "<I"),
    "dim2": (24, "<I"),
    "dim3": (28, "<I"),
    "byte_offset": (32, "<Q"),
    "byte_length": (40, "<Q"),
    "scale_offset": (48, "<Q"),
    "block_size": (56, "<I"),
    "reserved": (60, "<I"),
}
F32, Q8_0, Q4_0 = 1, 2, 3
BTOK = struct.pack("<4s6I", b"BTOK", 1, 260, 256, 257, 258, 259)


@dataclass(frozen=True)
class Tensor:
    """One tensor as bytes."""

    name: str
    dtype: int
    dims: tuple[int, ...]
    payload: bytes
    scales: bytes = b""
    block_size: int = 0


def fnv1a(name: str) -> int:
    """Hash a name (SL-4)."""
    result = 14695981039346656037
    for byte in name.encode("utf-8"):
        result ^= byte
        result = (result * 1099511628211) % 2**64
    return result


@lru_cache(512)
def naive_checksum(
    file: bytes,
    start: int = 0xCBF29CE484222325,
    rotation: int = 5,
    order: str = "mix, rotate, multiply",
) -> int:
    """Follow SL-5 one operation at a time."""
    state, operations, turn = start, order.split(", "), 2**rotation
    for index, byte in enumerate(file[:100] + bytes(len(file[100:108])) + file[108:]):
        for operation in operations:
            if operation == "mix":
                state = state ^ byte ^ index
            elif operation == "rotate":
                state = (state * turn) % 2**64 + (state * turn) // 2**64
            else:
                state = state * 0x100000001B3 % 2**64
    return state


def bpe1(tokens: list[tuple[int, bytes]], merges: list[tuple[int, int, int, int]], vocab_size: int = 262) -> bytes:
    """Lay out a BPE1 section (SL-9)."""
    section = b"BPE1" + struct.pack("<8I", 1, vocab_size, 256, 257, 258, 259, len(tokens), len(merges))
    for token, text in tokens:
        section += struct.pack("<II", token, len(text)) + text
    for merge in merges:
        section += struct.pack("<IIII", *merge)
    return section


def tensor(name: str, dims: tuple[int, ...], dtype: int = F32, block: int = 2, seed: int = 1) -> Tensor:
    """Make a tensor with plain, varied content: small numbers, scales 0.25, 0.5, 0.75, ..."""
    rows = 1 if len(dims) == 1 else dims[0]
    columns = dims[-1]
    values = [(seed + 3 * i) % 15 - 7 for i in range(rows * columns)]
    if dtype == F32:
        return Tensor(name, F32, dims, struct.pack(f"<{len(values)}f", *[value / 8 for value in values]))
    if dtype == Q8_0:
        block = columns
        payload = struct.pack(f"<{len(values)}b", *values)
    else:
        payload = bytes((low & 15) + 16 * (high & 15) for low, high in zip(values[::2], values[1::2], strict=True))
    count = rows * (columns // block)
    return Tensor(
        name, dtype, dims, payload, struct.pack(f"<{count}f", *[(1 + i % 9) / 4 for i in range(count)]), block
    )


def model_tensors(
    dtype: int = F32, vocab: int = 260, hidden: int = 2, ffn: int = 2, layers: int = 1, tied: bool = False
) -> list[Tensor]:
    """List every tensor that SL-3 requires."""
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (vocab, hidden)}
    for layer in range(layers):
        for name in ("wq", "wk", "wv", "wo"):
            shapes[f"layers.{layer}.{name}.weight"] = (hidden, hidden)
        shapes[f"layers.{layer}.w1.weight"] = (ffn, hidden)
        shapes[f"layers.{layer}.w2.weight"] = (hidden, ffn)
        shapes[f"layers.{layer}.w3.weight"] = (ffn, hidden)
        shapes[f"layers.{layer}.attn_norm.weight"] = (hidden,)
        shapes[f"layers.{layer}.ffn_norm.weight"] = (hidden,)
    shapes["norm.weight"] = (hidden,)
    if not tied:
        shapes["output.weight"] = (vocab, hidden)
    return [tensor(name, dims, dtype, seed=place) for place, (name, dims) in enumerate(shapes.items())]


def build(tensors: list[Tensor] | None = None, tokenizer: bytes = BTOK, /, **header: float) -> bytearray:
    """Lay out a file; `header` replaces header fields. The checksum is right unless it is given."""
    tensors = model_tensors() if tensors is None else tensors
    directory_at = (108 + len(tokenizer) + 63) // 64 * 64
    data_at = (directory_at + 64 * len(tensors) + 63) // 64 * 64
    body = b""
    directory = b""
    for item in tensors:
        byte_offset = data_at + len(body)
        body += item.payload + bytes(-len(item.payload) % 64)
        scale_offset = data_at + len(body) if item.scales else 0
        body += item.scales + bytes(-len(item.scales) % 64)
        dims = [*item.dims, 0, 0, 0][:4]
        directory += struct.pack("<QII", fnv1a(item.name), item.dtype, len(item.dims)) + struct.pack("<4I", *dims)
        directory += struct.pack("<QQQII", byte_offset, len(item.payload), scale_offset, item.block_size, 0)
    values: dict[str, float] = {
        "version": 1,
        "header_length": 108,
        "model_type": 1,
        "flags": 0,
        "vocab_size": 260,
        "special_token_count": 4,
        "hidden_size": 2,
        "layer_count": 1,
        "head_count": 1,
        "kv_head_count": 1,
        "head_dim": 2,
        "ffn_size": 2,
        "max_context": 8,
        "rope_theta": 10000.0,
        "rms_norm_epsilon": 2.0**-17,
        "tokenizer_offset": 108,
        "tokenizer_length": len(tokenizer),
        "tensor_directory_offset": directory_at,
        "tensor_count": len(tensors),
        "tensor_data_offset": data_at,
    }
    file = bytearray(b"SLM1" + bytes(104) + tokenizer)
    file += bytes(directory_at - len(file)) + directory
    file += bytes(data_at - len(file)) + body
    patch_header(file, values)
    return patch_header(file, header)


def patch_header(file: bytearray, values: Mapping[str, float]) -> bytearray:
    """Replace header fields in place and correct the checksum, unless it is one of them."""
    for name, value in values.items():
        offset, code = HEADER_FIELDS[name]
        struct.pack_into(code, file, offset, value)
    return file if "checksum" in values else fix_checksum(file)


def entry_offset(file: bytes | bytearray, name: str) -> int:
    """Find the directory entry of a tensor."""
    start, count = header_value(file, "tensor_directory_offset"), header_value(file, "tensor_count")
    for offset in range(start, start + 64 * count, 64):
        if struct.unpack_from("<Q", file, offset)[0] == fnv1a(name):
            return offset
    raise LookupError(name)


def entry_value(file: bytes | bytearray, name: str, field: str) -> int:
    """Read a field of a directory entry."""
    offset, code = ENTRY_FIELDS[field]
    value: int = struct.unpack_from(code, file, entry_offset(file, name) + offset)[0]
    return value


def patch_entry(file: bytearray, name: str, **values: int) -> bytearray:
    """Replace fields of a directory entry in place and correct the checksum."""
    start = entry_offset(file, name)
    for field, value in values.items():
        offset, code = ENTRY_FIELDS[field]
        struct.pack_into(code, file, start + offset, value)
    return fix_checksum(file)


def header_value(file: bytes | bytearray, name: str) -> int:
    """Read an integer field of the header."""
    offset, code = HEADER_FIELDS[name]
    value: int = struct.unpack_from(code, file, offset)[0]
    return value


def fix_checksum(file: bytearray) -> bytearray:
    """Store the right checksum."""
    struct.pack_into("<Q", file, 100, naive_checksum(bytes(file)))
    return file
