"""Turn artifact bytes into a validated model, whatever the container (GG-1)."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader, InvalidModelMagic
from refruntime.foreign import HEAD, foreign
from refruntime.model.kv_cache import check_buffers
from refruntime.model.validated import ValidatedModel
from refruntime.tokenizers.base import Tokenizer

if TYPE_CHECKING:
    from refruntime.containers.gguf import GgufFile

Buffer = bytes | bytearray | memoryview


def stays(data: Buffer) -> bool:
    """Say whether bytes are those of a file that is mapped to be read: nobody in this process changes or frees them."""
    return isinstance(data, memoryview) and data.readonly and isinstance(data.obj, mmap.mmap)


def validate_model(data: Buffer, profile: Profile) -> ValidatedModel:
    """Parse and validate an artifact; statuses 4 to 10, in the order of SL-1 and of section 13 (GGUF).

    The result refers to `data`, which must stay unchanged until the weights are bound.
    """
    view = memoryview(data).cast("B")
    if container_of(view, profile) == "slm1":
        from refruntime.containers.slm1 import read_slm1
        from refruntime.model.slm1.model import validate_slm1

        model = validate_slm1(read_slm1(view, profile), profile)
    else:
        from refruntime.containers.gguf import read_gguf

        return validate_file(read_gguf(view), profile)
    check_buffers(model.hyperparameters, profile)
    return model


def validate_file(file: GgufFile, profile: Profile) -> ValidatedModel:
    """Validate a GGUF file that was read already; statuses 6, 8, 9 and those of buffers."""
    from refruntime.model.gguf.model import validate_gguf

    model = validate_gguf(file, profile)
    check_buffers(model.hyperparameters, profile)
    return model


def validate_encoder(data: Buffer, profile: Profile) -> ValidatedModel:
    """Parse and validate a GGUF file that holds an encoder (GG-15); statuses 4 to 10 as `validate_model`.

    The result refers to `data`, which must stay unchanged until the weights are bound.
    """
    from refruntime.containers.gguf import read_gguf
    from refruntime.model.gguf.model import validate_gguf

    view = memoryview(data).cast("B")
    if container_of(view, profile) != "gguf":
        raise InvalidHeader("an SLM1 file holds no encoder", rule="GG-15", field="magic", expected="GGUF", found="SLM1")
    return validate_gguf(read_gguf(view), profile, encoder=True)


def read_tokenizer(data: Buffer, profile: Profile) -> Tokenizer:
    """Return the tokenizer alone; statuses as `validate_model`.

    A GGUF file needs neither tensors nor hyper-parameters for that (vocabulary-only files); an SLM1 file is validated
    as a whole.
    """
    view = memoryview(data).cast("B")
    if container_of(view, profile) == "slm1":
        return validate_model(view, profile).tokenizer
    from refruntime.containers.gguf import read_gguf
    from refruntime.model.gguf.tokenizer import read_tokenizer as tokenizer_from_metadata

    metadata = read_gguf(view).metadata
    with metadata.located():
        return tokenizer_from_metadata(metadata, profile, word_pieces=True)


def container_of(view: memoryview, profile: Profile) -> str:
    """Return `slm1` or `gguf` by the magic; InvalidModelMagic for what the profile does not accept (GG-1)."""
    magic = bytes(view[:4])
    name = {b"SLM1": "slm1", b"GGUF": "gguf"}.get(magic)
    if name is None or name not in profile.containers:
        raise InvalidModelMagic(
            "the artifact begins with no magic that this profile accepts",
            rule="GG-1",
            offset=0,
            field="magic",
            expected=" or ".join(name.upper() for name in profile.containers),
            found=", ".join(filter(None, (repr(magic), foreign(bytes(view[:HEAD]))))),
        )
    return name
