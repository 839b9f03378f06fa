"""Describe a model file, also a broken one: what could be read, and the first rule that it breaks."""

from __future__ import annotations

from refruntime.contract.profile import Profile
from refruntime.errors import ContractError
from refruntime.inspection.report import Inspection, MetadataLine, TensorLine, TokenizerLine, TypeCount
from refruntime.model.load import Buffer, validate_model

__all__ = ["Inspection", "MetadataLine", "TensorLine", "TokenizerLine", "TypeCount", "inspect_artifact"]


def inspect_artifact(data: Buffer, profile: Profile) -> Inspection:
    """Validate an artifact as `load_model` does, and read whatever can be read of it; no ContractError leaves here."""
    view = memoryview(data).cast("B")
    if bytes(view[:4]) == b"GGUF":
        from refruntime.inspection.gguf import inspect_gguf

        return inspect_gguf(view, profile)
    if bytes(view[:4]) == b"SLM1":
        from refruntime.inspection.slm1 import read_slm1_leniently

        report = read_slm1_leniently(view)
    else:
        report = Inspection("unknown", len(view))
    try:
        model = validate_model(view, profile)
    except ContractError as error:
        report.error = error
    else:
        report.tokenizer = TokenizerLine.of(model.tokenizer)
        report.hyperparameters, report.quantization = model.hyperparameters, model.quantization
    return report
