"""Write a model as SLM1."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from refruntime.containers.gguf import read_gguf
from refruntime.containers.slm1 import read_slm1
from refruntime.containers.slm1_format import FLAG_TIED_OUTPUT, DType, Slm1Parameters
from refruntime.containers.slm1_writer import EncodedTensor, write_slm1
from refruntime.contract.profile import Profile
from refruntime.convert.byte_vocabulary import TOKENS, require_byte_vocabulary
from refruntime.convert.refusal import ConversionRefused
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.model.slm1.encode import encode_tensor
from refruntime.model.slm1.model import required_tensors
from refruntime.model.validated import ValidatedModel
from refruntime.tokenizers.btok import BtokTokenizer


def write_slm1_file(view: memoryview, model: ValidatedModel, dtype: str, profile: Profile, path: Path) -> None:
    """Write `model`, which was read from `view`, with every tensor in `dtype`. ConversionRefused.

    The checksum follows the profile. An SLM1 source keeps its tokenizer section and its header fields.
    """
    if model.container == "slm1":
        file = read_slm1(view, profile)
        parameters = Slm1Parameters(**{item.name: getattr(file.header, item.name) for item in fields(Slm1Parameters)})
        section = bytes(file.tokenizer_section)
    else:
        _require_slm1_arithmetic(model)
        require_byte_vocabulary(read_gguf(view).metadata)
        parameters = _parameters(model)
        section = BtokTokenizer(len(TOKENS)).section_bytes()
    tensors = [
        _encoded(stored, canonical, model, DType[dtype.upper()])
        for stored, canonical, _ in required_tensors(parameters)
    ]
    path.write_bytes(write_slm1(parameters, section, tensors, profile))


def _require_slm1_arithmetic(model: ValidatedModel) -> None:
    """Refuse whatever the forward pass of SLM1 does not do (contract section 11)."""
    dimensions = model.hyperparameters
    if dimensions.architecture != "llama":
        raise ConversionRefused(
            "SLM1 has the arithmetic of one architecture", expected="llama", found=dimensions.architecture
        )
    if dimensions.kv_head_count != dimensions.head_count:
        raise ConversionRefused(
            "SLM1 has no grouped-query attention",
            expected=f"{dimensions.head_count} key/value heads",
            found=dimensions.kv_head_count,
        )
    if dimensions.head_count * dimensions.head_dim != dimensions.hidden_size:
        raise ConversionRefused(
            "in SLM1 the heads fill the hidden vector",
            expected=f"heads x head size = {dimensions.hidden_size}",
            found=f"{dimensions.head_count} x {dimensions.head_dim}",
        )
    stored = _stored(dimensions)
    for name, (found, neutral) in dimensions.named().items():
        if name not in (*stored, "rope.theta", "architecture") and found != neutral:
            raise ConversionRefused(f"SLM1 has no {name}", expected=neutral, found=found)
    used = {canonical for _, canonical, _ in required_tensors(_parameters(model))}
    for name in model.tensors:
        if name not in used:
            raise ConversionRefused("SLM1 has no such tensor", expected=f"only the {len(used)} of SL-3", found=name)


def _parameters(model: ValidatedModel) -> Slm1Parameters:
    stored = _stored(model.hyperparameters) | {"rope_theta": model.hyperparameters.rope.theta}
    return Slm1Parameters(flags=0 if "output.weight" in model.tensors else FLAG_TIED_OUTPUT, **stored)


def _stored(dimensions: Hyperparameters) -> dict[str, Any]:
    """Return the hyper-parameters that an SLM1 header has under the same name."""
    names = [item.name for item in fields(Slm1Parameters)]
    return {name: getattr(dimensions, name) for name in names if hasattr(dimensions, name)}


def _encoded(stored: str, canonical: str, model: ValidatedModel, dtype: DType) -> EncodedTensor:
    try:
        return encode_tensor(stored, model.tensors[canonical].rows(), dtype)
    except ValueError as error:  # a block that does not divide the row, or a value that is not finite
        raise ConversionRefused(f"{canonical} cannot be stored as {dtype.label}: {error}") from error
