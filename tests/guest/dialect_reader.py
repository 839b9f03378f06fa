"""Read the diagnostics of a strange build under the keys and in the forms of the contract, by its dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.guest.dialects import INNER_KEYS, Dialect


def contract_document(document: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Return a build's diagnostics under the keys and in the forms of DG-3 and DG-6, as far as they are there."""
    found: dict[str, Any] = {}
    for key, path in dialect.fields.items():
        if path is None:
            continue
        value: Any = document
        for name in path:
            value = value[name]
        found[key] = value
    inner = {key: dialect.name(key) for key in INNER_KEYS}
    for form in dialect.all("form"):
        _undo(form, found, inner)
    if isinstance(found.get("logits_summary"), dict):
        found["logits_summary"] = {key: found["logits_summary"][inner[key]] for key in ("min", "max", "mean")}
    return found


def _undo(form: str, found: dict[str, Any], inner: Mapping[str, str]) -> None:
    """Bring one form back to that of DG-6."""
    top, ids, error = found.get("top_tokens"), found.get("tokenizer_output"), found.get("last_error")
    if form == "ids_are_an_array" and isinstance(ids, list):
        found["tokenizer_output"] = ",".join(map(str, ids))
    elif form == "ids_joined_by_spaces" and isinstance(ids, str):
        found["tokenizer_output"] = ids.replace(" ", ",")
    elif form == "top_tokens_are_objects" and top:
        found["top_tokens"] = [[item[inner["id"]], item[inner["logit"]]] for item in top]
    elif form == "top_tokens_in_two_arrays" and isinstance(top, dict):
        found["top_tokens"] = [list(pair) for pair in zip(top[inner["id"]], top[inner["logit"]], strict=True)]
    elif form == "top_tokens_without_logits" and top:
        found["top_tokens"] = [[item, None] for item in top]
    elif form == "no_top_tokens_is_null" and "top_tokens" in found:
        found["top_tokens"] = top or []
    elif form == "summary_is_an_array" and found.get("logits_summary"):
        found["logits_summary"] = dict(
            zip((inner[key] for key in ("min", "max", "mean")), found["logits_summary"], strict=True)
        )
    elif form == "seed_is_a_number" and "seed" in found:
        found["seed"] = str(found["seed"])
    elif form == "no_token_is_minus_one" and found.get("selected_token") == -1:
        found["selected_token"] = None
    elif form == "error_is_an_object" and isinstance(error, dict):
        found["last_error"] = error[inner["message"]]
    elif form == "no_error_is_empty" and error == "":
        found["last_error"] = None
    elif form == "truth_is_a_number" and "model_loaded" in found:
        found["model_loaded"] = bool(found["model_loaded"])
    elif form == "label_in_upper_case" and "quantization" in found:
        found["quantization"] = found["quantization"].lower()
