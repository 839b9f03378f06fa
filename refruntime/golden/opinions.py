"""Independent checks that stand in for a second build alone; `opinion` in a `case.json` names one (FORMAT.md, 6).

A check shares no code with what it checks. It gets a case, the oracle's answers and the second build, and returns its
objections; what it cannot recompute is an objection too.
"""

from __future__ import annotations

import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import gguf
import numpy as np

from refruntime.cases.observation import Observation, StatusAnswer, diagnostics_of
from refruntime.cases.steps import Case, Load
from refruntime.contract.profile import Profile
from refruntime.differential.compare import compare_observations
from refruntime.differential.run import observe
from refruntime.engines.base import Engine, EngineError

Build = Callable[[], Engine]


@dataclass(frozen=True)
class Objection:
    """What a check says against an answer: the step, the field, and the text with both values."""

    step: int
    field: str
    text: str


Opinion = Callable[[Case, Sequence[Observation], Build, Profile], list[Objection]]


def gguf_py_and_build(case: Case, answers: Sequence[Observation], build: Build, profile: Profile) -> list[Objection]:
    """Let gguf-py decode the weights of every GGUF file, and the second build answer for the F32 file made of them.

    Quantized weights are decoded exactly, and products are those of float32 (GG-8), so every answer must be the same
    except the label, which is recounted here (GG-9).
    """
    models, labels = {}, {}
    for name, data in case.models.items():
        if data.startswith(b"GGUF"):
            try:
                models[name], labels[name] = decoded_file(data)
            except Exception as error:  # its reader raises what it likes about a damaged file
                return [Objection(0, name, f"gguf-py cannot decode the file: {type(error).__name__}: {error}")]
    if not models:
        return [Objection(0, "opinion", "no model of the case is a GGUF file, so there is nothing to decode")]
    plain = replace(case, models={**case.models, **models})
    try:
        theirs = observe(plain, build(), profile)
    except EngineError as error:
        return [Objection(0, "second opinion", str(error))]
    relabelled = [_with_label(observation, label) for observation, label in _labels(theirs, labels)]
    comparison = compare_observations(answers, relabelled)
    if comparison.lost:
        return [Objection(0, "second opinion", f"it does not show {', '.join(sorted(comparison.lost))}")]
    return [
        Objection(item.index, item.field, f"oracle {item.reference}, second opinion on decoded weights {item.build}")
        for item in comparison.differences
    ]


def decoded_file(data: bytes) -> tuple[bytes, str]:
    """Return a GGUF file with all weights decoded to F32 by gguf-py, and the label of the type that held most (GG-9).

    Header and metadata stay the same bytes; tensor entries and data are written anew.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(data)
        reader = gguf.GGUFReader(path, "r")
        alignment = int(reader.alignment)
        start = min(tensor.field.offset for tensor in reader.tensors)
        elements: Counter[int] = Counter()
        entries, payload = bytearray(), bytearray()
        for tensor in reader.tensors:
            elements[int(tensor.tensor_type)] += int(tensor.n_elements)
            name, dimensions = tensor.name.encode("utf-8"), [int(n) for n in tensor.shape]
            entries += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dimensions))
            entries += struct.pack(
                f"<{len(dimensions)}QIQ", *dimensions, int(gguf.GGMLQuantizationType.F32), len(payload)
            )
            values = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), "<f4")
            payload += values.tobytes()
            payload += bytes(-len(payload) % alignment)
        del reader, tensor, values  # they map the file, which some systems do not remove while it is mapped
    head = data[:start] + entries
    most = min(elements, key=lambda kind: (-elements[kind], kind))
    return bytes(head + bytes(-len(head) % alignment) + payload), gguf.GGMLQuantizationType(most).name.lower()


def _labels(observations: Sequence[Observation], labels: dict[str, str]) -> list[tuple[Observation, str]]:
    """Return each observation with the label of the model that is resident after it, empty for other models."""
    label, pairs = "", []
    for observation in observations:
        if isinstance(observation.step, Load):
            label = labels.get(observation.step.model, "")
        pairs.append((observation, label))
    return pairs


def _with_label(observation: Observation, label: str) -> Observation:
    shown = diagnostics_of(observation)
    if not isinstance(observation, StatusAnswer) or not label or shown.get("quantization") != "f32":
        return observation
    return replace(observation, diagnostics={**shown, "quantization": label})


OPINIONS: Final[dict[str, Opinion]] = {"gguf-py-and-build": gguf_py_and_build}
"""Name in `case.json` -> check."""
