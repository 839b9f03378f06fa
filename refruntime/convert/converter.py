"""Convert between containers: GGUF and SLM1 where both can express the model, and SLM1 to other types."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refruntime.atomic import whole_file
from refruntime.contract.profile import Profile
from refruntime.convert.refusal import ConversionRefused
from refruntime.convert.to_slm1 import write_slm1_file
from refruntime.model.load import Buffer, validate_model
from refruntime.model.validated import ValidatedModel

TARGETS: Final = ("slm1", "gguf")
DTYPES: Final = ("f32", "q8_0", "q4_0")


@dataclass(frozen=True)
class Conversion:
    """What was written, and what the target says differently (`notes`)."""

    source: str
    target: str
    dtype: str
    tensors: int
    byte_length: int
    notes: tuple[str, ...]


def convert_artifact(data: Buffer, path: Path, target: str, dtype: str, profile: Profile) -> Conversion:
    """Write the model in `data` to `path` as container `target` with weights of `dtype`; an existing file is replaced.

    Nothing is left behind after a failure: the file is written under another name, read back and validated, then
    renamed. f32 keeps every weight exactly. Failures: ContractError for the source, ConversionRefused, OSError.
    """
    view = memoryview(data).cast("B")
    model = validate_model(view, profile)
    if model.container == target == "gguf":
        raise ConversionRefused("a GGUF file is not rewritten as GGUF", expected="slm1 as the target", found=target)
    with whole_file(path) as file:
        temporary = Path(file.name)
        if target == "slm1":
            write_slm1_file(view, model, dtype, profile, temporary)
        else:
            from refruntime.convert.to_gguf import write_gguf

            write_gguf(model, dtype, temporary)
        tensors = _read_back(temporary, profile)
    notes = _notes(model, target, profile)
    return Conversion(model.container, target, dtype, tensors, path.stat().st_size, notes)


def _read_back(path: Path, profile: Profile) -> int:
    """Validate what was written and return the number of its tensors."""
    with path.open("rb") as file:
        return len(validate_model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), profile).tensors)


def _notes(model: ValidatedModel, target: str, profile: Profile) -> tuple[str, ...]:
    notes = []
    if model.container == target:
        return ()
    if target == "gguf":
        notes.append("a literal U+2581 in a prompt becomes a space, because SPM writes spaces so")
        notes.append("a generated UNK (259) decodes to nothing instead of `?`")
        if model.hyperparameters.max_context > profile.gguf_context_limit:
            notes.append(f"the capacity of a GGUF model ends at {profile.gguf_context_limit} positions (GG-7)")
    else:
        notes.append("a literal U+2581 in a prompt is three bytes again")
        if model.hyperparameters.max_context == profile.gguf_context_limit:
            notes.append(f"max_context is {profile.gguf_context_limit}, the capacity that GG-7 gives, or less")
    return tuple(notes)
