"""Turn artifact bytes into a validated model, whatever the container (GG-1)."""

from __future__ import annotations

from refruntime.contract.profile import Profile
from refruntime.errors import InvalidModelMagic
from refruntime.model.kv_cache import check_buffers
from refruntime.model.validated import ValidatedModel

Buffer = bytes | bytearray | memoryview


def validate_model(data: Buffer, profile: Profile) -> ValidatedModel:
    """Parse and validate an artifact; statuses 4 to 10, in the order of SL-1 and of section 13 (GGUF).

    The result refers to `data`, which must stay unchanged until the weights are bound.
    """
    view = memoryview(data).cast("B")
    magic = bytes(view[:4])
    if magic == b"SLM1" and "slm1" in profile.containers:
        from refruntime.containers.slm1 import read_slm1
        from refruntime.model.slm1 import validate_slm1

        model = validate_slm1(read_slm1(view, profile), profile)
    elif magic == b"GGUF" and "gguf" in profile.containers:
        from refruntime.containers.gguf import read_gguf
        from refruntime.model.gguf import validate_gguf

        model = validate_gguf(read_gguf(view), profile)
    else:
        raise InvalidModelMagic(
            "the artifact begins with no magic that this profile accepts",
            rule="GG-1",
            offset=0,
            field="magic",
            expected=" or ".join(name.upper() for name in profile.containers),
            found=repr(magic),
        )
    check_buffers(model.hyperparameters)
    return model
