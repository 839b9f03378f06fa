"""Cases on the SLM1 container: variants that must load, and files with one thing wrong (contract section 10)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from refruntime.battery.models.slm1 import BTOK, Shape, btok_section, random_model, random_weights, story_model
from refruntime.battery.models.slm1_bytes import (
    FLOAT_FIELDS,
    U64_ENTRY_FIELDS,
    U64_FIELDS,
    entry_bytes,
    entry_value,
    patched,
    patched_entry,
    with_payload,
)
from refruntime.cases.steps import INIT, NEXT_TOKEN, Case, Generate, Load
from refruntime.containers.slm1_format import ENTRY_OFFSETS, HEADER_LENGTH, HEADER_OFFSETS, DType, fnv1a_64
from refruntime.containers.slm1_writer import with_checksum, write_slm1
from refruntime.contract.profile import Profile
from refruntime.model.slm1.encode import encode_tensor
from refruntime.tokenizers.bpe1_section import Merge, TokenRecord, build_section

SMALL: Final = Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=8)
RULES: Final = ("SL-1", "SL-2", "SL-3", "SL-4", "SL-5", "SL-6", "SL-7", "SL-9", "ST-4", "ERR-3")


def slm1_cases(profile: Profile) -> Iterator[Case]:
    """Yield every case of the family; checksums follow the profile except where the checksum itself is wrong."""
    story = story_model(profile)
    for name, data in {**_good_files(profile), **_damaged_files(profile)}.items():
        yield load_case(f"slm1/{name}", data, story, RULES)


def load_case(name: str, data: bytes, story: bytes, rules: tuple[str, ...]) -> Case:
    """Return a case that loads a file over another model and uses what is resident then (ST-3, ST-4)."""
    models = {"file": data, "story": story}
    steps = (Load("story"), Generate(b"a", 2), Load("file"), NEXT_TOKEN, Generate(b"ab", 2), NEXT_TOKEN, INIT)
    return Case(name, steps, models, rules)


def _good_files(profile: Profile) -> dict[str, bytes]:
    """Return unusual files that load."""
    plain = random_model(100, SMALL, profile=profile)
    tied = replace(SMALL, tied=True)
    mixed = {"layers.0.wq.weight": DType.Q8_0, "layers.0.w2.weight": DType.Q8_0, "norm.weight": DType.Q4_0}
    tensors = [encode_tensor(name, values) for name, values in random_weights(100, SMALL).items()]
    extra = encode_tensor("extra.weight", random_weights(5, SMALL)["norm.weight"])
    double = encode_tensor("norm.weight", random_weights(6, SMALL)["norm.weight"])
    both = [*tensors, encode_tensor("unused", random_weights(7, SMALL)["norm.weight"])]

    def fields(**values: float) -> bytes:
        return patched(plain, values, profile)

    return {
        "plain": plain,
        "mixed-dtypes": random_model(100, SMALL, dtypes=mixed, block_size=2, profile=profile),
        "q4-blocks-of-2": random_model(101, SMALL, DType.Q4_0, block_size=2, profile=profile),
        "q4-blocks-of-row-parts": random_model(
            102, Shape(hidden=16, layers=1, heads=2, ffn=32, capacity=8), DType.Q4_0, block_size=8, profile=profile
        ),
        "extra-tensor": write_slm1(SMALL.parameters, BTOK, [*tensors, extra], profile),
        "tensor-twice": write_slm1(SMALL.parameters, BTOK, [*tensors, double], profile),
        "tensor-twice-other-first": write_slm1(SMALL.parameters, BTOK, [double, *tensors], profile),
        "tied-with-output": write_slm1(tied.parameters, BTOK, both, profile),
        "reversed-directory": write_slm1(SMALL.parameters, BTOK, tensors[::-1], profile),
        "trailing-bytes": with_checksum(plain + b"trailing", profile),
        "capacity-1": random_model(103, replace(SMALL, capacity=1), profile=profile),
        "capacity-2": random_model(103, replace(SMALL, capacity=2), profile=profile),
        "one-head-of-2": random_model(104, Shape(hidden=2, layers=1, heads=1, ffn=1, capacity=8), profile=profile),
        "large-vocabulary": random_model(
            105,
            Shape(300, hidden=4, layers=1, heads=2, ffn=6, capacity=8),
            tokenizer=btok_section(300),
            profile=profile,
        ),
        "other-flags": fields(flags=0xFFFFFFFE),
        "model-type": fields(model_type=77),
        "special-token-count": fields(special_token_count=0),
        "smallest-theta": fields(rope_theta=1e-38),
        "theta-1": fields(rope_theta=1.0),
        "largest-epsilon": fields(rms_norm_epsilon=3e38),
        "smallest-epsilon": fields(rms_norm_epsilon=1.4e-45),
        "data-offset-0": fields(tensor_data_offset=0),
        "data-offset-in-directory": fields(tensor_data_offset=192),
        "reserved-bytes": patched_entry(plain, "norm.weight", 60, b"abcd", profile),
        "dimension-behind-the-rank": patched_entry(plain, "norm.weight", 28, b"\x09\0\0\0", profile),
        "f32-block-size": patched_entry(plain, "norm.weight", 56, b"\x03\0\0\0", profile),
        "f32-scale-offset": patched_entry(plain, "norm.weight", 48, b"\xff" * 8, profile),
        "tensors-overlap": patched_entry(
            plain, "layers.0.wk.weight", 32, entry_bytes(plain, "layers.0.wq.weight")[32:40], profile
        ),
        "not-finite-values": with_payload(plain, "layers.0.wq.weight", struct.pack("<2f", float("nan"), 1e38), profile),
    }


def _damaged_files(profile: Profile) -> dict[str, bytes]:
    """Return files that do not load, or of which only the contract says that they do."""
    plain = random_model(100, SMALL, profile=profile)
    files: dict[str, bytes] = {}
    for field in HEADER_OFFSETS:
        for label, value in _values(field, len(plain)).items():
            files[f"header-{field.replace('_', '-')}-{label}"] = patched(plain, {field: value}, profile)
    for dtype in (DType.F32, DType.Q8_0, DType.Q4_0):
        base = random_model(106, SMALL, dtype, block_size=2, profile=profile)
        for field, offset in ENTRY_OFFSETS.items():
            for label, value in _entry_values(field, base).items():
                size = 8 if field in U64_ENTRY_FIELDS else 4
                data = patched_entry(base, "layers.0.w2.weight", offset, value.to_bytes(size, "little"), profile)
                files[f"entry-{dtype.label}-{field.replace('_', '-')}-{label}"] = data
        if dtype is not DType.F32:
            scale = entry_value(base, "norm.weight", "scale_offset")
            for label, number in {"zero": 0.0, "negative": -1.0, "infinite": float("inf"), "nan": float("nan")}.items():
                broken = base[:scale] + struct.pack("<f", number) + base[scale + 4 :]
                files[f"scale-{dtype.label}-{label}"] = with_checksum(broken, profile)
    for name, _ in random_weights(100, SMALL).items():
        renamed = patched_entry(plain, name, 0, fnv1a_64("other").to_bytes(8, "little"), profile)
        files[f"without-{name.replace('.', '-').replace('_', '-')}"] = renamed
    files |= _cut_files(plain, profile)
    files |= _tokenizer_files(profile)
    return files


def _cut_files(plain: bytes, profile: Profile) -> dict[str, bytes]:
    """Return a file that ends early, with the checksum of the rest where there is room for one."""
    files = {}
    for size in (1, 2, 3, 4, 5, 8, 12, 64, 107, 108, 128, 136, 192, 256, len(plain) // 2, len(plain) - 64):
        part = plain[:size]
        files[f"cut-to-{size}"] = with_checksum(part, profile) if size >= HEADER_LENGTH else part
    for position in (0, 7, 99, 108, 150, 500, len(plain) - 1):
        flipped = plain[:position] + bytes([plain[position] ^ 0x80]) + plain[position + 1 :]
        files[f"flipped-byte-{position}"] = flipped
    files["magic-lower-case"] = b"slm1" + plain[4:]
    files["short-with-version-2"] = b"SLM1\x02\0\0\0"
    return files


def _tokenizer_files(profile: Profile) -> dict[str, bytes]:
    """Return files whose tokenizer section is unusual or wrong (SL-7, SL-9, section 13)."""

    def model(section: bytes, vocab: int = 260) -> bytes:
        shape = Shape(vocab, hidden=4, layers=1, heads=2, ffn=6, capacity=8)
        return random_model(107, shape, tokenizer=section, profile=profile)

    files = {f"btok-{name}": model(section) for name, section in _damaged_sections(btok_section(260), 28).items()}
    records = [TokenRecord(260, b"ab"), TokenRecord(261, b"abc"), TokenRecord(65, b"eh")]
    merges = [Merge(97, 98, 260, 0), Merge(260, 99, 261, 1)]
    bpe1 = build_section(262, records, merges)
    files["bpe1-plain"] = model(bpe1, 262)
    files |= {f"bpe1-{name}": model(section, 262) for name, section in _damaged_sections(bpe1, 36).items()}
    sections = {
        "empty": build_section(262, [], []),
        "duplicate-id": build_section(262, [*records, TokenRecord(260, b"x")], merges),
        "empty-bytes": build_section(262, [TokenRecord(260, b""), records[1]], merges),
        "id-out-of-range": build_section(262, [*records, TokenRecord(262, b"x")], merges),
        "merge-output-without-token": build_section(262, records[:1], merges),
        "merge-output-special": build_section(262, records, [Merge(97, 98, 257, 0)]),
        "merge-output-special-with-record": build_section(
            262, [*records, TokenRecord(257, b"e")], [Merge(97, 98, 257, 0)]
        ),
        "merge-output-byte": build_section(262, records, [Merge(97, 98, 100, 0)]),
        "merge-output-out-of-range": build_section(262, records, [Merge(97, 98, 262, 0)]),
        "merge-left-out-of-range": build_section(262, records, [Merge(262, 98, 260, 0)]),
        "merge-right-out-of-range": build_section(262, records, [Merge(97, 300, 260, 0)]),
        "merge-left-special": build_section(262, records, [Merge(256, 98, 260, 0)]),
        "special-with-record": build_section(262, [*records, TokenRecord(259, b"UNK"), TokenRecord(258, b"P")], merges),
        "trailing-byte": bpe1 + b"\0",
        "cut-in-a-merge": bpe1[:-1],
        "record-length-too-long": bpe1[:40] + b"\xff\xff\xff\x7f" + bpe1[44:],
        "vocabulary-drift": build_section(263, records, merges),
    }
    files |= {f"bpe1-{name}": model(section, 262) for name, section in sections.items()}
    files["btok-vocabulary-259"] = model(btok_section(259), 259)
    files["btok-vocabulary-drift"] = model(btok_section(261))
    files["bpe1-vocabulary-259"] = model(build_section(259, [], []), 259)
    files["tokenizer-empty"] = model(b"")
    files["tokenizer-unknown"] = model(b"WORD" + BTOK[4:])
    return files


def _damaged_sections(section: bytes, header: int) -> dict[str, bytes]:
    """Return a section with each u32 of its header replaced, cut, and with a byte more."""
    damaged = {"cut": section[:-1], "cut-to-header": section[: header - 4], "cut-to-magic": section[:4]}
    damaged["longer"] = section + b"\0"
    names = ("magic", "version", "vocab-size", "BOS", "EOS", "PAD", "UNK", "token-count", "merge-count")
    for place, name in enumerate(names[: header // 4]):
        value = int.from_bytes(section[4 * place : 4 * place + 4], "little")
        for label, other in (("plus-1", value + 1), ("largest", 0xFFFFFFFF)):
            damaged[f"{name}-{label}"] = section[: 4 * place] + other.to_bytes(4, "little") + section[4 * place + 4 :]
    return damaged


def _values(field: str, size: int) -> Mapping[str, float]:
    """Return values to try in a header field."""
    if field == "magic":
        return {}
    if field in FLOAT_FIELDS:
        return {"zero": 0.0, "negative": -1.0, "infinite": float("inf"), "nan": float("nan"), "negative-zero": -0.0}
    largest = 2**64 - 1 if field in U64_FIELDS else 2**32 - 1
    values: dict[str, float] = {"0": 0, "1": 1, "2": 2, "3": 3, "64": 64, "largest": largest, "half": largest // 2 + 1}
    if field in U64_FIELDS or field == "header_length":
        values |= {"107": 107, "109": 109, "file-size": size, "beyond-file": size + 64}
    if field == "tensor_count":
        values |= {"one-less": 11, "one-more": 13, "too-many": 2**26}
    if field == "max_context":  # 2^30 positions are more than wasm32 can hold; what it can hold is not tried
        values = {"0": 0, "1": 1, "2": 2, "beyond-wasm32": 2**30, "largest": largest}
    return values


def _entry_values(field: str, file: bytes) -> Mapping[str, int]:
    """Return values to try in a field of the entry of `layers.0.w2.weight` [4, 6]."""
    if field == "dtype":
        return {str(value): value for value in (0, 1, 2, 3, 4, 255, 2**32 - 1)}
    if field == "rank":
        return {str(value): value for value in (0, 1, 3, 4, 5, 2**32 - 1)}
    if field == "dims":
        return {str(value): value for value in (0, 3, 5, 6, 8, 2**32 - 1)}
    if field == "block_size":
        return {str(value): value for value in (0, 1, 2, 3, 4, 5, 6, 8, 12, 2**32 - 1)}
    if field == "name_hash":
        return {"0": 0}
    values = {"0": 0, "1": 1, "file-size": len(file), "beyond-file": len(file) + 1, "largest": 2**64 - 1}
    if field == "byte_length":
        length = entry_value(file, "layers.0.w2.weight", "byte_length")
        values |= {"one-less": length - 1, "one-more": length + 1, "up-to-the-end": 2**63}
    if field == "scale_offset":
        values |= {"last-byte": len(file) - 1, "runs-past-the-end": len(file) - 4}
    if field == "byte_offset":
        values |= {
            "unaligned": entry_value(file, "layers.0.w2.weight", "byte_offset") + 1,
            "largest-minus-8": 2**64 - 8,
        }
    return values
