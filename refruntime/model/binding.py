"""Bind an artifact: bytes in, a model out that can be forwarded; and remember such models by their content."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import Buffer, stays, validate_model
from refruntime.model.weights import memory_needed
from refruntime.numerics import Numerics
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.unknown_bytes import with_unknown_bytes


class BoundModel(NamedTuple):
    """A validated model with its weights in memory. Nothing in it changes after it was made."""

    transformer: Transformer
    tokenizer: Tokenizer
    quantization: str
    memory: int = 0  # bytes of its weights, with those of one fresh cache


BESIDE: Final = 1 << 24
"""Bytes of a file from which the compiled loops that its weights may need are loaded beside it."""

Binder = Callable[[Buffer, Profile, Numerics], BoundModel]
"""Turn an artifact into a bound model; statuses 4 to 10."""


def bind_model(data: Buffer, profile: Profile, numerics: Numerics) -> BoundModel:
    """Validate an artifact and decode its weights (SL-1, section 13 "GGUF"); statuses 4 to 10.

    Those of a mapped file are decoded when they are first used.
    """
    if numerics.resident != "float32" and len(data) >= BESIDE:
        threading.Thread(target=numerics.prepare, daemon=True).start()  # while the file is checked
    validated = validate_model(data, profile)
    transformer = Transformer(validated, profile, numerics, later=stays(data))
    memory = memory_needed(validated, profile, transformer.numerics)
    return BoundModel(transformer, validated.tokenizer, validated.quantization, memory)


def binder(unknown_bytes: str) -> Binder:
    """Return what binds models whose tokenizers refuse or drop the bytes that their vocabularies lack."""

    def bind(data: Buffer, profile: Profile, numerics: Numerics) -> BoundModel:
        bound = bind_model(data, profile, numerics)
        return bound._replace(tokenizer=with_unknown_bytes(bound.tokenizer, unknown_bytes))

    return bind


class BoundModels:
    """A `Binder` that remembers the models it bound last, for callers that load the same bytes again and again.

    The key is all that the result depends on: the SHA-256 of the bytes, the profile and the numeric profile. So no
    answer changes, only the time. Failures are not remembered. `most_bytes` bounds the memory of all but the newest.
    """

    def __init__(self, most: int = 32, most_bytes: int = 1 << 30) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._known: dict[tuple[bytes, Profile, Numerics], BoundModel] = {}  # oldest use first

    def __call__(self, data: Buffer, profile: Profile, numerics: Numerics) -> BoundModel:
        """Return the model of these bytes, bound now or before; statuses 4 to 10."""
        key = (hashlib.sha256(data).digest(), profile, numerics)
        known = self._known.pop(key, None)
        model = known if known is not None else bind_model(data, profile, numerics)
        self._known[key] = model
        while len(self._known) > 1 and (
            len(self._known) > self._most or sum(kept.memory for kept in self._known.values()) > self._most_bytes
        ):
            del self._known[next(iter(self._known))]
        return model
