"""Which features a case needs: read off the artifacts that it loads, valid or not (ID-1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from refruntime.cases.steps import Case, Write
from refruntime.containers.slm1_format import (
    ENTRY_LENGTH,
    ENTRY_OFFSETS,
    FLAG_TIED_OUTPUT,
    HEADER,
    HEADER_LENGTH,
    HEADER_OFFSETS,
    DType,
)
from refruntime.contract.features import with_needs
from refruntime.inspection.gguf import readable_part
from refruntime.model.architectures import ARCHITECTURES
from refruntime.tokenizers.pre_tokenizers import PRE_TOKENIZERS

MAX_ENTRIES = 100_000
"""Directory entries of an SLM1 file that are looked at."""

SCALING_KEYS = frozenset(
    {"rope.scale_linear", *(f"rope.scaling.{name}" for name in ("type", "factor", "yarn_beta_fast", "yarn_beta_slow"))}
)
"""Hyper-parameters, without the name of the architecture in front, that stretch the rotary embedding."""

_known: dict[bytes, tuple[str, ...]] = {}


def needs_of(case: Case) -> tuple[str, ...]:
    """Return the names of all features that a case needs, by code point."""
    written = (step.data for step in case.steps if isinstance(step, Write))
    return with_needs(name for data in (*case.models.values(), *written) for name in features_of(data))


def needs_of_all(cases: Iterable[Case]) -> tuple[str, ...]:
    """Return the names of all features that any of the cases needs, by code point."""
    return with_needs(name for case in cases for name in needs_of(case))


def features_of(data: bytes) -> tuple[str, ...]:
    """Return what a build needs to load an artifact, by code point; of a broken one as far as it can be read.

    Nothing for bytes that begin with no known magic: every build can refuse them.
    """
    magic = bytes(data[:4])
    if magic not in (b"SLM1", b"GGUF"):
        return ()
    key = hashlib.sha256(data).digest()
    if key not in _known:
        view = memoryview(data)
        _known[key] = with_needs(_slm1(view) if magic == b"SLM1" else _gguf(view))
    return _known[key]


def _slm1(view: memoryview) -> Iterator[str]:
    yield "slm1"
    if len(view) < HEADER_LENGTH:
        return
    header = dict(zip(HEADER_OFFSETS, HEADER.unpack_from(view), strict=True))
    if header["flags"] & FLAG_TIED_OUTPUT:
        yield "slm1/output/tied"
    section = header["tokenizer_offset"]
    if bytes(view[section : section + 4]) == b"BPE1":
        yield "slm1/tokenizer/bpe1"
    start = header["tensor_directory_offset"]
    room = max(0, len(view) - start) // ENTRY_LENGTH
    labels = {int(dtype): dtype.label for dtype in DType if dtype is not DType.F32}
    for index in range(min(header["tensor_count"], room, MAX_ENTRIES)):
        at = start + index * ENTRY_LENGTH + ENTRY_OFFSETS["dtype"]
        label = labels.get(int.from_bytes(view[at : at + 4], "little"))
        if label is not None:
            yield f"slm1/storage/{label}"


def _gguf(view: memoryview) -> Iterator[str]:
    yield "gguf"
    fields, tensors = readable_part(view)
    architecture = fields.get("general.architecture", "llama")
    if architecture in ARCHITECTURES and architecture != "llama":
        yield f"gguf/architecture/{architecture}"
    model = fields.get("tokenizer.ggml.model", "llama")
    pre_tokenizer = "gemma4" if model == "gemma4" else fields.get("tokenizer.ggml.pre") or "default"
    if model in ("gpt2", "gemma4") and pre_tokenizer in PRE_TOKENIZERS:
        yield f"gguf/tokenizer/{pre_tokenizer}"
    if any(key.partition(".")[2] in SCALING_KEYS for key in fields):
        kind = fields.get(f"{architecture}.rope.scaling.type", "linear")
        yield f"gguf/rotary/{kind if kind in ('yarn', 'longrope') else 'linear'}"
    for name, type_name in tensors.items():
        if type_name != "f32":
            yield f"gguf/storage/{type_name}"
        if name == "rope_freqs.weight":
            yield "gguf/rotary/factors"
        elif name in ("rope_factors_long.weight", "rope_factors_short.weight"):
            yield "gguf/rotary/longrope"
