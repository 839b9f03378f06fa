"""Embed texts with an encoder: bert, nomic-bert (GG-15).

encoder = open_encoder("nomic-embed-text.gguf")
encoder.embed(["search_query: a word"], normalize=True)[0].values
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from refruntime.api import Artifact, artifact_bytes, check_count, checked_ids, raw_bytes
from refruntime.contract.profile import Profile
from refruntime.model.encoder import TextEncoder, normalised, pooled
from refruntime.model.hyperparameters import Hyperparameters, needed
from refruntime.model.load import Buffer, stays, validate_encoder
from refruntime.numerics import Numerics, numerics_named
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import Tracer
from refruntime.utf8 import checked_prompt

POOLINGS: Final = ("none", "mean", "cls", "last")


@dataclass(frozen=True)
class Embedding:
    """What an encoder gives for one text: `ids` [n], and `values` [H], or [n, H] without pooling."""

    ids: tuple[int, ...]
    values: NDArray[Any]


class EncoderModel:
    """An open encoder; made by `open_encoder`. Texts do not influence each other."""

    def __init__(self, data: Buffer, profile: Profile, numerics: Numerics) -> None:
        validated = validate_encoder(data, profile)
        self.tokenizer: Tokenizer = validated.tokenizer
        self.quantization = validated.quantization
        self.encoder = TextEncoder(validated, profile, numerics, later=stays(data))

    def __repr__(self) -> str:
        """Say what the encoder is in one line."""
        sizes = self.hyperparameters
        return (
            f"<EncoderModel {sizes.architecture} {self.quantization}: {sizes.layer_count} layers of "
            f"{sizes.hidden_size}, pooling {self.pooling}, numerics {self.encoder.numerics.name}>"
        )

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Return the dimensions of the model."""
        return self.encoder.hyperparameters

    @property
    def pooling(self) -> str:
        """Return how the file says that rows are pooled."""
        return needed(self.hyperparameters.encoder).pooling

    def tokenize(self, text: str | bytes, add_special: bool = True) -> list[int]:
        """Encode text; `add_special` adds the tokens around it. Status: InvalidUtf8."""
        return self.tokenizer.encode(checked_prompt(raw_bytes(text)), add_special=add_special)

    def ids_of(self, text: str | bytes | Sequence[int]) -> list[int]:
        """Return the ids of a text, or the ids as given, once they are known to fit.

        Statuses: InvalidUtf8, InvalidLength for no ids, ContextExceeded; ValueError for an id outside 0 .. V - 1.
        """
        sizes = self.hyperparameters
        ids = self.tokenize(text) if isinstance(text, str | bytes) else checked_ids(text, sizes.vocab_size)
        check_count(len(ids), sizes.max_context, "GG-15")
        return ids

    def rows(self, text: str | bytes | Sequence[int], tracer: Tracer | None = None) -> NDArray[Any]:
        """Return the row of each token of a text [n, H]. Failures as `ids_of`."""
        return self.encoder.forward(self.ids_of(text), tracer)

    def embed(
        self, texts: Sequence[str | bytes | Sequence[int]], *, pooling: str | None = None, normalize: bool = False
    ) -> list[Embedding]:
        """Embed each text, or its ids, on its own; without `pooling` as the file says.

        Failures as `ids_of`, before the first text is computed; ValueError for a pooling that there is not.
        """
        pooling = self.pooling if pooling is None else pooling
        if pooling not in POOLINGS:
            raise ValueError(f"no pooling {pooling!r}; expected one of {', '.join(POOLINGS)}")
        prepared, numerics, found = [self.ids_of(text) for text in texts], self.encoder.numerics, []
        for ids in prepared:
            values = pooled(numerics, self.encoder.forward(ids), pooling)
            found.append(Embedding(tuple(ids), normalised(numerics, values) if normalize else values))
        return found


def open_encoder(
    artifact: Artifact, profile: Profile | None = None, numerics: str | Numerics = "seq32"
) -> EncoderModel:
    """Open an encoder from a path or its bytes. Statuses 4 to 10 as for `open_model`; OSError for a path."""
    made = numerics_named(numerics) if isinstance(numerics, str) else numerics
    return EncoderModel(artifact_bytes(artifact), profile or Profile(), made)
