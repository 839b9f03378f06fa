"""Malformed GGUF files: every field of header, metadata, tensor table and tokenizer broken in the ways of its type.

Checks are named with the public CVEs of GGUF parsers that lacked them, as far as their advisories say what was wrong:

    CVE-2024-21802   more than four dimensions written into an array of four (info->ne in ggml)
    CVE-2024-23496   length of a string plus one wraps around (gguf_fread_str); the same: CVE-2024-25665
    CVE-2024-23605   number of keys times their size wraps around (header.n_kv); the same: CVE-2024-25664
    CVE-2024-25666   number of tensors times their size wraps around
    CVE-2024-25667   elements of an array times their size wrap around
    CVE-2025-49847   length of a token's text cut to 32 bits, which then passes a check
    CVE-2025-53630   sizes of tensors add up beyond 64 bits (gguf_init_from_file_impl)
    CVE-2026-33298   dimensions whose product wraps around (ggml_nbytes)
    CVE-2026-7482    offset and size of a tensor beyond the end of the file (Ollama)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Final

from refruntime.battery.malformed.recipe import Malformed, cuts
from refruntime.battery.models.gguf import (
    ALIGNMENT,
    ARRAY,
    CODES,
    F32,
    I32,
    STRING,
    U16,
    U32,
    GgufParts,
    LlamaShape,
    array,
    llama_model,
    spm_vocabulary,
    text,
    value,
)
from refruntime.contract.status import Status
from refruntime.quants.ggml import GGML_TYPES

SHAPE: Final = LlamaShape(hidden=8, layers=1, heads=2, kv_heads=2, ffn=12, context=16)
VOCABULARY: Final = spm_vocabulary()
REMOVED_TYPES: Final = (4, 5, 31, 32, 33, 36, 37, 38)
OTHER_TYPES: Final = (43, 255, 1000, 2**31, 2**32 - 1)
BLOCK_TYPES: Final = (2, 3, 6, 7, 8, 10, 11, 12, 13, 14)
UNKNOWN_VALUE_TYPES: Final = (13, 255, 2**31, 2**32 - 1)
COUNT_CVES: Final = {"tensor_count": "CVE-2024-25666", "key_count": "CVE-2024-23605, CVE-2024-25664"}
STRING_CHECK: Final = "string length (CVE-2024-23496, CVE-2024-25665)"
HUGE: Final = (2**31, 2**32, 2**40, 2**62, 2**63, 2**64 - 1)


def gguf_files() -> Iterator[Malformed]:
    """Yield every file."""
    plain = llama_model(500, SHAPE)
    yield from _header(plain)
    yield from _ends(plain)
    yield from _keys(plain)
    yield from _values(plain)
    yield from _tokenizer(plain)
    yield from _entries(plain)
    yield from _sums(plain)
    yield from _places_and_shapes(plain)


def _header(plain: GgufParts) -> Iterator[Malformed]:
    data = plain.data
    for place in range(4):
        for bit in range(8):
            flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            name = f"gguf/magic/byte-{place}-bit-{bit}"
            yield Malformed(name, "magic", Status.InvalidModelMagic, "GG-1", flipped)
    for version in (0, 1, *range(4, 16), *(2**power for power in range(4, 32)), 3 << 24, 2**32 - 1):
        broken = replace(plain, version=version).data
        yield Malformed(f"gguf/version/{version}", "version", Status.UnsupportedModelVersion, "GG-2", broken)
    for power in range(20, 65):
        count = min(2**power, 2**64 - 1)
        for field in ("tensor_count", "key_count"):
            broken = replace(plain, **{field: count}).data
            check = f"{field.replace('_', ' ')} ({COUNT_CVES[field]})"
            yield Malformed(f"gguf/{field}/{count}", check, Status.InvalidHeader, "GG-3", broken)


def _ends(plain: GgufParts) -> Iterator[Malformed]:
    data, directory = plain.data, plain.directory
    metadata = len(replace(plain, tensors=(), tensor_count=len(plain.tensors)).directory)
    yield from cuts("gguf/end", data, range(1, 4), "magic", Status.InvalidModelMagic, "GG-1")
    yield from cuts("gguf/end", data, range(4, 24), "header length", Status.InvalidHeader, "GG-3")
    inside = range(24, metadata, max(1, (metadata - 24) // 250))
    yield from cuts("gguf/end", data, inside, "metadata bounds", Status.InvalidHeader, "GG-3")
    entries = range(metadata, len(directory), 2)
    yield from cuts("gguf/end", data, entries, "tensor entry bounds", Status.InvalidTensorDirectory, "GG-3")
    last = len(data) - len(plain.tensors[-1].payload) - -len(plain.tensors[-1].payload) % ALIGNMENT
    payload = range(len(directory), last + 1, max(1, (last - len(directory)) // 60))
    yield from cuts("gguf/end", data, payload, "tensor data bounds", Status.InvalidTensorDirectory, "GG-3")


def _keys(plain: GgufParts) -> Iterator[Malformed]:
    one = replace(plain, key_count=len(plain.keys) + 1)

    def bad(name: str, check: str, extra: bytes, rule: str = "GG-3") -> Malformed:
        return Malformed(
            f"gguf/metadata/{name}", check, Status.InvalidHeader, rule, replace(one, extra_keys=extra).data
        )

    yield bad("key-empty", "key", text(b"") + value(U32, 1))
    for key, item in plain.keys.items():
        yield bad(f"twice-{key}", "key twice", text(key.encode()) + item)
    for length in HUGE:
        yield bad(f"key-length-{length}", STRING_CHECK, struct.pack("<Q", length) + b"x")
        for kind in (STRING, *CODES):
            elements = text(b"x") + struct.pack("<IIQ", ARRAY, kind, length)
            yield bad(f"array-of-{kind}-length-{length}", "array length (CVE-2024-25667)", elements)
        yield bad(f"string-length-{length}", STRING_CHECK, text(b"x") + struct.pack("<IQ", STRING, length))
        member = text(b"x") + struct.pack("<IIQQ", ARRAY, STRING, 1, length)
        yield bad(f"string-in-array-length-{length}", "string length (CVE-2025-49847)", member)
    for kind in UNKNOWN_VALUE_TYPES:
        yield bad(f"type-{kind}", "value type", text(b"x") + struct.pack("<IQ", kind, 0))
        yield bad(f"array-of-type-{kind}", "value type", text(b"x") + struct.pack("<IIQ", ARRAY, kind, 0))
    yield bad("array-of-arrays", "value type", text(b"x") + struct.pack("<IIQIQ", ARRAY, ARRAY, 1, U32, 0))


def _values(plain: GgufParts) -> Iterator[Malformed]:
    scalars = {key: item for key, item in plain.keys.items() if item[0] != ARRAY}
    for key, item in scalars.items():
        for kind in (*CODES, STRING):
            if kind != item[0]:
                broken = replace(plain, keys={**plain.keys, key: value(kind, b"1" if kind == STRING else 1)}).data
                yield Malformed(
                    f"gguf/value/{key}-type-{kind}", "value of another type", Status.InvalidHeader, "GG-4", broken
                )
    required = set(plain.keys) - {
        "llama.attention.head_count_kv",
        "llama.rope.dimension_count",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.token_type",
    }
    for key in sorted(required):
        broken = replace(plain, keys={name: item for name, item in plain.keys.items() if name != key}).data
        yield Malformed(f"gguf/value/{key}-absent", "required key", Status.InvalidHeader, "GG-4", broken)
    for alignment in (0, 3, 5, 6, 7, 9, 12, 24, 33, 48, 63, 65, 96, 1000, 2**31 - 1, 2**32 - 1):
        broken = plain.with_keys(general__alignment=value(U32, alignment)).data
        yield Malformed(f"gguf/value/alignment-{alignment}", "alignment", Status.InvalidHeader, "GG-3", broken)
    for kind, count in ((U16, 2), (U16, 3), (U16, 100), (U16, 65535), *((kind, 1) for kind in CODES if kind != U16)):
        broken = plain.with_keys(split__count=value(kind, count)).data
        title = f"gguf/value/split-count-{count}-type-{kind}"
        yield Malformed(title, "split.count", Status.InvalidHeader, "GG-4", broken)
    for name in (b"", b"Llama", b"llama\0", b"x" * 1000, b"\xff\xfe"):
        broken = plain.with_keys(general__architecture=value(STRING, name)).data
        label = name[:8].hex() or "empty"
        yield Malformed(f"gguf/value/architecture-{label}", "architecture", Status.InvalidHeader, "GG-4", broken)


def _tokenizer(plain: GgufParts) -> Iterator[Malformed]:
    def bad(name: str, check: str, rule: str = "GG-13", **keys: bytes) -> Malformed:
        return Malformed(f"gguf/tokenizer/{name}", check, Status.InvalidHeader, rule, plain.with_keys(**keys).data)

    size = len(VOCABULARY.tokens)
    for length in (0, 1, 2, size // 2, size - 2, size - 1, size + 1, size + 2, 2 * size):
        scores = [*VOCABULARY.scores, *[0.0] * size][:length]
        yield bad(f"scores-{length}", "length of scores", tokenizer__ggml__scores=array(F32, scores))
        types = [*VOCABULARY.types, *[1] * size][:length]
        yield bad(f"types-{length}", "length of token types", tokenizer__ggml__token_type=array(I32, types))
    for place in range(0, size - 1, 12):
        twice = (*VOCABULARY.tokens[:-1], VOCABULARY.tokens[place])
        yield bad(f"text-twice-{place}", "tokens with one text", tokenizer__ggml__tokens=array(STRING, twice))
    yield bad("no-tokens", "tokens", "GG-4", tokenizer__ggml__tokens=array(STRING, []))
    for model in (b"", b"LLAMA", b"spm", b"\xff"):
        keys = {"tokenizer__ggml__model": value(STRING, model)}
        yield bad(f"model-{model.hex() or 'empty'}", "tokenizer model", "GG-4", **keys)


def _entries(plain: GgufParts) -> Iterator[Malformed]:
    wrong, dtype = Status.InvalidTensorDirectory, Status.UnsupportedDType
    names = [tensor.name for tensor in plain.tensors]
    for place, tensor in enumerate(plain.tensors):
        title = tensor.name.decode()

        def bad(label: str, check: str, status: Status = wrong, title: str = title, **changes: object) -> Malformed:
            return Malformed(
                f"gguf/entry/{title}-{label}", check, status, "GG-3", plain.with_tensor(title, **changes).data
            )

        for count in (0, 5, 8, 100):
            check = "number of dimensions (CVE-2024-21802)"
            yield bad(f"dimensions-{count}", check, dimensions=(tensor.dimensions + (1,) * 100)[:count])
        for axis in range(len(tensor.dimensions)):
            for size in (0, 2**62, 2**63, 2**64 - 1):
                dimensions = (*tensor.dimensions[:axis], size, *tensor.dimensions[axis + 1 :])
                if size == 2**62 and len(tensor.dimensions) == 1:
                    dimensions = (size, 2)
                yield bad(f"dimension-{axis}-{size}", "dimension (CVE-2026-33298)", dimensions=dimensions)
        yield bad("product", "dimension (CVE-2026-33298)", dimensions=(2**32, 2**32))
        for kind in (*REMOVED_TYPES, *OTHER_TYPES):
            yield bad(f"type-{kind}", "tensor type", dtype, type=kind)
        for kind in BLOCK_TYPES:
            storage = f"gguf/storage/{GGML_TYPES[kind].name}"
            yield replace(bad(f"block-{kind}", "block size", type=kind), needs=(storage,))
        offset = sum(len(each.payload) + -len(each.payload) % ALIGNMENT for each in plain.tensors[:place])
        for other in (offset + 1, offset + ALIGNMENT, 2**31, 2**63, 2**64 - ALIGNMENT, 2**64 - 1):
            yield bad(f"offset-{other}", "offset (CVE-2026-7482)", offset=other)
        for length in (64, 65, 100, 1000):
            yield bad(f"name-of-{length}", "tensor name length", name=b"n" * length)
        twice = names[place - 1]
        yield bad("name-twice", "tensor name twice", name=twice)
        yield bad("name-twice-behind-nul", "tensor name twice", name=twice + b"\0other")
        yield bad("name-of-64-behind-nul", "tensor name length", name=tensor.name.ljust(64, b"\0"))
        if title != "output.weight":  # then the embeddings are used
            yield bad("name-behind-nul", "presence", Status.MissingTensor, name=b"\0" + tensor.name)


def _sums(plain: GgufParts) -> Iterator[Malformed]:
    """Yield files whose tensors follow one another where 64 bits wrap around: each size alone is one that may be."""
    for count in (1, 3, 4, 5):
        changed, position = [], 0
        for place, tensor in enumerate(plain.tensors):
            dimensions = (2**60,) if place < count else tensor.dimensions
            changed.append(replace(tensor, dimensions=dimensions, offset=position))
            size = 4 * prod(dimensions)
            position = (position + size + -size % ALIGNMENT) % 2**64
        data = replace(plain, tensors=tuple(changed)).data
        check = "sum of sizes (CVE-2025-53630)"
        yield Malformed(f"gguf/offsets/wrap-behind-{count}", check, Status.InvalidTensorDirectory, "GG-3", data)


def _places_and_shapes(plain: GgufParts) -> Iterator[Malformed]:
    for tensor in plain.tensors:
        title = tensor.name.decode()
        if title != "output.weight":  # then the embeddings are used
            absent = plain.without_tensor(title).data
            yield Malformed(f"gguf/tensors/{title}-absent", "presence", Status.MissingTensor, "GG-4", absent)
        for label, dimensions in {
            "longer": (tensor.dimensions[0] + 1, *tensor.dimensions[1:]),
            "half": (tensor.dimensions[0] // 2, *tensor.dimensions[1:]),
            "stacked": (*tensor.dimensions, *(1,) * (2 - len(tensor.dimensions)), 2),
            "one": (1,),
        }.items():
            other = plain.with_tensor(title, dimensions=dimensions, payload=bytes(4 * prod(dimensions)))
            yield Malformed(f"gguf/shape/{title}-{label}", "shape", Status.ShapeMismatch, "GG-4", other.data)
    for name in ("unused.weight", "blk.0.attn_norm.bias", "blk.1.attn_norm.weight", "output.weight.more"):
        more = replace(plain.tensors[1], name=name.encode())
        data = replace(plain, tensors=(*plain.tensors, more)).data
        yield Malformed(f"gguf/tensors/{name}-unused", "unused tensor", Status.ShapeMismatch, "GG-13", data)
