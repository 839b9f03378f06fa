"""Cases on the GGUF container: variants that must load, and files with one thing wrong (contract section 12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Final

from refruntime.battery.architectures import architecture_cases
from refruntime.battery.ends import end_cases
from refruntime.battery.models.gguf import (
    ALIGNMENT,
    BOOL,
    F32,
    F64,
    I32,
    STRING,
    U32,
    U64,
    GgufParts,
    LlamaShape,
    array,
    llama_model,
    spm_vocabulary,
    text,
    value,
)
from refruntime.battery.models.slm1 import story_model
from refruntime.battery.slm1 import load_case
from refruntime.battery.text import NOT_UTF8, PROMPTS
from refruntime.cases.steps import NEXT_TOKEN, RESET, Case, Generate, Load, Step
from refruntime.contract.profile import Profile

SMALL: Final = LlamaShape(hidden=8, layers=1, heads=4, kv_heads=2, ffn=12, context=24)
RULES: Final = ("GG-1", "GG-2", "GG-3", "GG-4", "ST-4")
VOCABULARY: Final = spm_vocabulary()
SIZE: Final = len(VOCABULARY.tokens)
TOKENS: Final = "tokenizer.ggml."


def gguf_models() -> dict[str, bytes]:
    """Return the models on which generations run, by name."""
    shapes = {
        "f32": LlamaShape(),
        "f32-gqa": LlamaShape(kv_heads=2),
        "f32-mqa": LlamaShape(kv_heads=1),
        "f32-tied": LlamaShape(tied=True),
        "f32-head-size": LlamaShape(heads=2, kv_heads=1, head_dim=20),
        "f32-rope-factors": LlamaShape(rope_factors=True),
        "f16": LlamaShape(type=1),
        "q8_0": LlamaShape(type=8, byte_tokens=128),
        "q8_0-gqa-tied": LlamaShape(type=8, kv_heads=2, tied=True, byte_tokens=128),
        "mixed": LlamaShape(types={"attn_q": 8, "ffn_down": 8, "attn_v": 1}),
        **{
            name: LlamaShape(type=kind, byte_tokens=128)
            for name, kind in {"q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "bf16": 30}.items()
        },
        **{
            name: LlamaShape(hidden=256, layers=1, heads=4, kv_heads=2, ffn=256, type=kind, byte_tokens=128)
            for name, kind in {"q4_k": 12, "q6_k": 14}.items()
        },
    }
    models = {
        f"gguf-{name}": _keyed(name, llama_model(400 + i, shape)).data for i, (name, shape) in enumerate(shapes.items())
    }
    scaled = llama_model(450, LlamaShape(), **_linear(4.0), llama__rope__freq_base=value(F32, 500000.0))
    return {**models, "gguf-f32-linear-scaling": scaled.data}


def _keyed(name: str, file: GgufParts) -> GgufParts:
    """Add the keys that a head size of its own needs."""
    if name != "f32-head-size":
        return file
    return file.with_keys(llama__attention__key_length=value(U32, 20), llama__attention__value_length=value(U32, 20))


def _linear(factor: float) -> dict[str, bytes]:
    return {
        "llama__rope__scaling__type": value(STRING, b"linear"),
        "llama__rope__scaling__factor": value(F32, factor),
    }


def gguf_cases(profile: Profile) -> Iterator[Case]:
    """Yield every case of the family `gguf`: containers, tokenization, damage, ends, architectures."""
    story = story_model(profile)
    for name, data in {**_good_files(), **_damaged_files()}.items():
        yield load_case(f"gguf/{name}", data, story, RULES)
    yield from _tokenizer_cases()
    yield from end_cases()
    yield from architecture_cases()


def _good_files() -> dict[str, bytes]:
    plain = llama_model(500, SMALL)
    files = {
        "plain": plain,
        "version-2": replace(plain, version=2),
        "tied": llama_model(501, replace(SMALL, tied=True)),
        "capacity-above-the-limit": plain.with_keys(llama__context_length=value(U32, 100_000)),
        "capacity-1": plain.with_keys(llama__context_length=value(U32, 1)),
        "capacity-2": plain.with_keys(llama__context_length=value(U32, 2)),
        "alignment-64": replace(plain.with_keys(general__alignment=value(U32, 64)), alignment=64),
        "unknown-metadata": plain.with_keys(general__name=value(STRING, b"x"), other__key=array(U64, [1, 2])),
        "trailing-dimensions-of-1": plain.with_tensor("output_norm.weight", dimensions=(8, 1, 1)),
        "vocabulary-size-key": plain.with_keys(llama__vocab_size=value(U32, SIZE)),
        "empty-value": plain.with_keys(general__description=value(STRING, b"")),
        "linear-scaling-of-1": plain.with_keys(**_linear(1.0)),
        "linear-scaling-of-0": plain.with_keys(**_linear(0.0)),
        "no-scaling": plain.with_keys(llama__rope__scaling__type=value(STRING, b"none")),
    }
    optional = (
        "llama.attention.head_count_kv",
        "llama.rope.dimension_count",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.token_type",
    )
    wide = llama_model(502, replace(SMALL, kv_heads=4))
    for key in optional:
        files[f"without-{_title(key)}"] = wide.with_keys(**{_keyword(key): None})
    data = {name: file.data for name, file in files.items()}
    return data | {"without-last-padding": plain.data[: -(-len(plain.tensors[-1].payload) % ALIGNMENT) or None]}


def _damaged_files() -> dict[str, bytes]:
    plain = llama_model(500, SMALL)
    files = {**_wrong_header(plain), **_wrong_metadata(plain), **_wrong_tensors(plain)}
    data = {name: file.data for name, file in files.items()}
    whole, directory = plain.data, len(plain.directory)
    for size in (4, 7, 8, 12, 16, 23, 24, 25, 40, 60, 200, directory - 1, directory, len(whole) - 64):
        data[f"cut-to-{size}"] = whole[:size]
    data["big-endian"] = whole[:4] + struct.pack(">I", 3) + whole[8:]
    data["magic-lower-case"] = b"gguf" + whole[4:]
    data["magic-ggml"] = b"ggml" + whole[4:]
    data["version-4-cut"] = b"GGUF\x04\0\0\0"
    return data


def _wrong_header(plain: GgufParts) -> dict[str, GgufParts]:
    files = {f"version-{version}": replace(plain, version=version) for version in (0, 1, 4, 2**32 - 1)}
    for label, count in (("0", 0), ("1-less", -1), ("1-more", 1), ("2-to-40", 2**40), ("largest", 2**64 - 1)):
        tensors = count if abs(count) > 1 or label == "0" else len(plain.tensors) + count
        keys = count if abs(count) > 1 or label == "0" else len(plain.keys) + count
        files[f"tensor-count-{label}"] = replace(plain, tensor_count=tensors)
        files[f"key-count-{label}"] = replace(plain, key_count=keys)
    return files


def _wrong_metadata(plain: GgufParts) -> dict[str, GgufParts]:
    one = replace(plain, key_count=len(plain.keys) + 1)
    files = {
        "key-empty": replace(one, extra_keys=text(b"") + value(U32, 1)),
        "key-twice": replace(one, extra_keys=text(b"llama.block_count") + value(U32, 1)),
        "key-of-unknown-type": replace(one, extra_keys=text(b"x") + struct.pack("<I", 13)),
        "key-too-long": replace(one, extra_keys=struct.pack("<Q", 2**40) + b"x"),
        "array-of-arrays": replace(one, extra_keys=text(b"x") + struct.pack("<IIQIQ", 9, 9, 1, 4, 0)),
        "array-too-long": replace(one, extra_keys=text(b"x") + struct.pack("<IIQ", 9, 4, 2**62)),
        "array-of-unknown-type": replace(one, extra_keys=text(b"x") + struct.pack("<IIQ", 9, 77, 0)),
        "strings-too-long": replace(one, extra_keys=text(b"x") + struct.pack("<IIQQ", 9, 8, 1, 2**63)),
    }
    numbers = {
        "llama.context_length": (0,),
        "llama.embedding_length": (0, 4, 7, 16),
        "llama.block_count": (0, 2, 2**31),
        "llama.feed_forward_length": (0, 11, 13),
        "llama.attention.head_count": (0, 3, 2, 8),
        "llama.attention.head_count_kv": (0, 3, 1, 4),
        "llama.rope.dimension_count": (0, 1, 4),
        "llama.attention.key_length": (0, 1, 3, 4),
        "llama.attention.value_length": (0, 1, 3, 4),
        "llama.vocab_size": (0, SIZE - 1, SIZE + 1),
        "llama.expert_count": (8,),
        "general.alignment": (0, 1, 3, 24),
        "tokenizer.ggml.bos_token_id": (SIZE, 2**32 - 1),
        "tokenizer.ggml.eos_token_id": (SIZE,),
        "tokenizer.ggml.eot_token_id": (SIZE,),
    }
    for key, wrong in numbers.items():
        for number in wrong:
            files[f"{_title(key)}-{number}"] = plain.with_keys(**{_keyword(key): value(U32, number)})
    for key in ("llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base", "llama.rope.scaling.factor"):
        for label, constant in (("negative", -1.0), ("infinite", float("inf")), ("nan", float("nan"))):
            files[f"{_title(key)}-{label}"] = plain.with_keys(**{_keyword(key): value(F32, constant)})
    files["theta-0"] = plain.with_keys(llama__rope__freq_base=value(F32, 0.0))
    for key in plain.keys:
        files.setdefault(f"missing-{_title(key)}", plain.with_keys(**{_keyword(key): None}))
        files[f"f64-{_title(key)}"] = plain.with_keys(**{_keyword(key): value(F64, 1.0)})
        files[f"bool-{_title(key)}"] = plain.with_keys(**{_keyword(key): value(BOOL, True)})
    for name in ("missing-llama-attention-head-count-kv", "missing-llama-rope-dimension-count"):
        del files[name]  # absent keys with a default are in the other list
    files["architecture-unknown"] = plain.with_keys(general__architecture=value(STRING, b"unheard-of"))
    files["tokenizer-model-unknown"] = plain.with_keys(tokenizer__ggml__model=value(STRING, b"unheard-of"))
    files["no-tokens"] = plain.with_keys(tokenizer__ggml__tokens=array(STRING, []))
    files["vocabulary-one-less"] = plain.with_keys(
        tokenizer__ggml__tokens=array(STRING, VOCABULARY.tokens[:-1]),
        tokenizer__ggml__scores=array(F32, VOCABULARY.scores[:-1]),
        tokenizer__ggml__token_type=array(I32, VOCABULARY.types[:-1]),
    )
    files["scores-one-less"] = plain.with_keys(tokenizer__ggml__scores=array(F32, VOCABULARY.scores[:-1]))
    files["scores-one-more"] = plain.with_keys(tokenizer__ggml__scores=array(F32, [*VOCABULARY.scores, 0.0]))
    files["types-one-more"] = plain.with_keys(tokenizer__ggml__token_type=array(I32, [*VOCABULARY.types, 1]))
    twice = (*VOCABULARY.tokens[:-1], VOCABULARY.tokens[-2])
    files["tokens-with-one-text"] = plain.with_keys(tokenizer__ggml__tokens=array(STRING, twice))
    files["types-one-less"] = plain.with_keys(tokenizer__ggml__token_type=array(I32, VOCABULARY.types[:-1]))
    return files


def _wrong_tensors(plain: GgufParts) -> dict[str, GgufParts]:
    files = {}
    for tensor in plain.tensors:
        name = tensor.name.decode()
        title = _title(name)
        files[f"without-{title}"] = plain.without_tensor(name)
        longer = (tensor.dimensions[0] + 1, *tensor.dimensions[1:])
        files[f"shape-of-{title}"] = plain.with_tensor(name, dimensions=longer, payload=bytes(4 * prod(longer)))
    del files["without-output-weight"]  # then the embeddings are used
    last = "output.weight"
    entry = next(tensor for tensor in plain.tensors if tensor.name == last.encode())
    changes: Mapping[str, dict[str, object]] = {
        "no-dimensions": {"dimensions": ()},
        "five-dimensions": {"dimensions": (*entry.dimensions, 1, 1, 1)},
        "dimension-0": {"dimensions": (8, 0)},
        "dimensions-overflow": {"dimensions": (2**32, 2**32)},
        "dimension-negative": {"dimensions": (8, 2**63)},
        "swapped-dimensions": {"dimensions": entry.dimensions[::-1]},
        "type-removed": {"type": 4},
        "type-unknown": {"type": 9999},
        "type-i8": {"type": 24},
        "block-does-not-fit": {"type": 8},
        "offset-unaligned": {"offset": 1},
        "offset-0": {"offset": 0},
        "offset-beyond-the-file": {"offset": 2**40},
        "offset-largest": {"offset": 2**64 - 32},
        "name-of-64": {"name": b"x" * 64},
        "name-twice": {"name": b"output_norm.weight"},
    }
    for name in ("unused.weight", "blk.0.attn_norm.bias", "blk.1.attn_norm.weight", "rope_factors_long.weight"):
        unused = replace(entry, name=name.encode(), dimensions=(8,), payload=bytes(32))
        files[f"tensor-unused-{_title(name)}"] = replace(plain, tensors=(*plain.tensors, unused))
    for label, change in changes.items():
        files[f"tensor-{label}"] = plain.with_tensor(last, **change)
    return files


def _tokenizer_cases() -> Iterator[Case]:
    """Yield prompts for the SPM vocabulary and its switches (GG-5, GG-6)."""
    shape = LlamaShape(hidden=8, layers=1, heads=2, kv_heads=2, ffn=12, context=64)
    plain = llama_model(510, shape)
    files = {
        "spm": plain,
        "spm-no-prefix": plain.with_keys(tokenizer__ggml__add_space_prefix=value(BOOL, False)),
        "spm-no-bos": plain.with_keys(tokenizer__ggml__add_bos_token=value(BOOL, False)),
        "spm-eos": plain.with_keys(tokenizer__ggml__add_eos_token=value(BOOL, True)),
        "spm-few-bytes": llama_model(511, replace(shape, byte_tokens=128)),
    }
    prompts = {
        **PROMPTS,
        "merges": b"the hello in aab abba ther hell llo",
        "user-defined": b"a<tool>b <tool>",
        "control": b"a<|end|><pad>b<s></s>",
        "space-token": "a▁b".encode(),
        "byte-text": b"<0x41><0xE9>",
        "unused": b"unused",
        "chinese": "漢字漢".encode(),
    }
    steps: tuple[Step, ...]
    for kind, file in files.items():
        model = {"model": file.data}
        for name, prompt in prompts.items():
            steps = (Load("model"), Generate(prompt, 1), NEXT_TOKEN, Generate(prompt, 6), RESET)
            yield Case(f"gguf/{kind}-{name}", steps, model, ("GG-5", "GG-6", "GEN-2", "DG-6"))
    for name, prompt in NOT_UTF8.items():
        steps = (Load("model"), Generate(prompt, 1), NEXT_TOKEN, RESET)
        yield Case(f"gguf/spm-not-utf-8-{name}", steps, {"model": plain.data}, ("GEN-1", "ST-8"))


def _title(key: str) -> str:
    return key.replace(".", "-").replace("_", "-")


def _keyword(key: str) -> str:
    return key.replace(".", "__")
