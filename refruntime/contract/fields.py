"""The fields of the diagnostics document as data: names, kinds, and which tell of the model's numbers (DG-3, DG-6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["count", "float", "boolean", "string", "decimal", "pairs", "summary"]
"""What a field holds: an integer from 0 on; a float32, null where it is not finite; true or false; text; an integer as
decimal text; a list of [id, float]; an object of the floats `SUMMARY_KEYS`."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

SUMMARY_KEYS: Final = ("min", "max", "mean")
"""Members of a `summary`."""


@dataclass(frozen=True)
class DiagnosticsField:
    """One field: may it be null (DG-6), and does it tell of the model's numbers rather than of the state.

    `rule` says what it holds.
    """

    name: str
    kind: Kind
    nullable: bool = False
    of_model: bool = False
    rule: str = "DG-3"

    @property
    def has_logits(self) -> bool:
        """Say whether the field shows logits."""
        return self.kind in ("pairs", "summary")


FIELDS: Final = (
    DiagnosticsField("model_load_ms", "count", rule="DG-4"),
    DiagnosticsField("prompt_tokens", "count", rule="DG-8"),
    DiagnosticsField("generated_tokens", "count", rule="DG-8"),
    DiagnosticsField("tokens_per_second", "count", rule="DG-4"),
    DiagnosticsField("peak_scratch_bytes", "count", rule="DG-5"),
    DiagnosticsField("kv_length", "count", rule="DG-8"),
    DiagnosticsField("quantization", "string", rule="DG-6"),
    DiagnosticsField("last_error", "string", nullable=True),
    DiagnosticsField("model_loaded", "boolean"),
    DiagnosticsField("tokenizer_output", "string", of_model=True, rule="DG-6"),
    DiagnosticsField("logits_summary", "summary", nullable=True, of_model=True, rule="DG-6"),
    DiagnosticsField("selected_token", "count", nullable=True, of_model=True, rule="DG-6"),
    DiagnosticsField("top_tokens", "pairs", of_model=True, rule="DG-4"),
    DiagnosticsField("temperature", "float"),
    DiagnosticsField("top_k", "count"),
    DiagnosticsField("top_p", "float"),
    DiagnosticsField("seed", "decimal", rule="DG-6"),
)
"""The 17 fields in the order of the document (DG-3)."""

OF_LOGITS: Final = tuple(field.name for field in FIELDS if field.has_logits)
"""The fields that show logits."""

FIELDS_BY_NAME: Final = {field.name: field for field in FIELDS}

_MODEL_NUMBERS: Final = ("tokenizer_output", "selected_token", "top_tokens", "logits_summary")

COMPARED_FIELDS: Final = (
    *(field for field in FIELDS if not field.of_model),
    *(FIELDS_BY_NAME[name] for name in _MODEL_NUMBERS),
)
"""The fields in the order in which they are compared: the state as in DG-3, then the numbers of the model."""

DIAGNOSTIC_NAMES: Final = tuple(field.name for field in FIELDS)
"""Keys of the diagnostics document, in order (DG-3)."""
