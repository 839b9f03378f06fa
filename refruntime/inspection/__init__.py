"""Describe a model file, also a broken one: what could be read, and the first rule that it breaks."""

from __future__ import annotations

from refruntime.contract.profile import Profile
from refruntime.errors import ContractError
from refruntime.inspection.report import Inspection, MetadataLine, TensorLine, TokenizerLine, TypeCount
from refruntime.model.architectures.encoders import ENCODERS
from refruntime.model.load import Buffer, validate_encoder, validate_model

__all__ = ["Inspection", "MetadataLine", "TensorLine", "TokenizerLine", "TypeCount", "inspect_artifact"]


def inspect_artifact(data: Buffer, profile: Profile) -> Inspection:
    """Validate an artifact as `load_model` does, and read whatever can be read of it; no ContractError leaves here."""
    view = memoryview(data).cast("B")
    report = _readable_part(view, profile)
    encoder = any(line.key == "general.architecture" and line.value in ENCODERS for line in report.metadata)
    if encoder:
        report.notes.append("an encoder: `refruntime embed` reads it; load_model refuses it, as it generates nothing")
    try:
        model = validate_encoder(view, profile) if encoder else validate_model(view, profile)
    except ContractError as error:
        report.error = error
    else:
        report.hyperparameters = model.hyperparameters
        report.quantization = model.quantization
        read = report.tokenizer
        report.tokenizer = TokenizerLine.of(model.tokenizer, None if read is None else read.pre_tokenizer)
    return report


def _readable_part(view: memoryview, profile: Profile) -> Inspection:
    magic = bytes(view[:4])
    if magic == b"SLM1":
        from refruntime.inspection.slm1 import read_slm1_leniently

        return read_slm1_leniently(view)
    if magic == b"GGUF":
        from refruntime.inspection.gguf import read_gguf_leniently

        return read_gguf_leniently(view, profile)
    return Inspection("unknown", len(view))
