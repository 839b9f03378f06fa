"""Build the diagnostics document: a hand-written JSON object (contract section 9)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.limits import TOP_TOKENS
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.sampling.config import SamplingConfig
from refruntime.sampling.stages import select


@dataclass(frozen=True)
class Report:
    """Everything that the document tells (DG-6, DG-8); `logits` [V] are those that were sampled last."""

    sampling: SamplingConfig
    prompt_ids: Sequence[int] = ()
    generated_tokens: int = 0
    peak_scratch_bytes: int = 0
    kv_length: int = 0
    quantization: str = "none"
    last_error: str | None = None
    model_loaded: bool = False
    logits: NDArray[np.float32] | None = None
    selected_token: int | None = None


def build_diagnostics(report: Report, profile: Profile) -> bytes:
    """Return the document as UTF-8 (DG-1, DG-3, DG-6), as the profile's build writes it."""
    values = {
        "model_load_ms": "0",
        "prompt_tokens": str(len(report.prompt_ids)),
        "generated_tokens": str(report.generated_tokens),
        "tokens_per_second": "0",
        "peak_scratch_bytes": str(report.peak_scratch_bytes),
        "kv_length": str(report.kv_length),
        "quantization": json_string(report.quantization),
        "last_error": "null" if report.last_error is None else json_string(report.last_error),
        "model_loaded": "true" if report.model_loaded else "false",
        "tokenizer_output": json_string(",".join(str(token) for token in report.prompt_ids)),
        "logits_summary": "null" if report.logits is None else _summary(report.logits),
        "selected_token": "null" if report.selected_token is None else str(report.selected_token),
        "top_tokens": "[]" if report.logits is None else _top_tokens(report.logits, profile),
        "temperature": json_f32(report.sampling.temperature),
        "top_k": str(report.sampling.top_k),
        "top_p": json_f32(report.sampling.top_p),
        "seed": json_string(str(report.sampling.seed)),
    }
    dialect = profile.dialect
    if dialect.plain:
        return ("{" + ",".join(f"{json_string(name)}:{values[name]}" for name in DIAGNOSTIC_NAMES) + "}").encode()
    own = {name: json.loads(text, parse_int=_Number, parse_float=_Number) for name, text in values.items()}
    return _json(dialect.write(own)).encode()


class _Number(str):
    """A number as it was written, so that no digit of it changes when it is put elsewhere."""

    __slots__ = ()


def _json(value: Any) -> str:
    """Write a document whose numbers are texts of numbers; strings are escaped as everywhere (DG-1)."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        return json_string(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_string(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return json.dumps(value)


def json_string(text: str) -> str:
    """Quote a string; quote, backslash, control characters and U+2028/U+2029 are escaped (DG-1)."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


_ESCAPED: Final = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029]')


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return "\\" + character if character in '"\\' else f"\\u{ord(character):04x}"


def json_f32(value: np.float32) -> str:
    """Return the shortest decimal that reads back to the same float32; null for a non-finite value (DG-7)."""
    if not np.isfinite(value):
        return "null"
    magnitude = abs(value)
    if magnitude != 0 and not 1e-5 <= magnitude < 1e16:
        return np.format_float_scientific(value, unique=True, trim="-")
    return np.format_float_positional(value, unique=True, trim="-")


def _summary(logits: NDArray[np.float32]) -> str:
    """Return min and max without NaN, and the mean as the sequential float32 sum divided by V (DG-6, DG-7)."""
    numbers = logits[~np.isnan(logits)]
    low, high = (numbers.min(), numbers.max()) if numbers.size else (np.float32(np.nan), np.float32(np.nan))
    with np.errstate(all="ignore"):
        # + 0.0 because the sum starts there: it matters only if every logit is -0.0.
        total = np.add.accumulate(logits, dtype=np.float32)[-1] + np.float32(0)
        mean = total / np.float32(logits.size)
    return f'{{"min":{json_f32(low)},"max":{json_f32(high)},"mean":{json_f32(mean)}}}'


def _top_tokens(logits: NDArray[np.float32], profile: Profile) -> str:
    """Return the five best candidates as [id, logit], whatever top_k says (DG-4)."""
    best = select(logits, TOP_TOKENS, profile)
    pairs = zip(best.ids, best.logits, strict=True)
    return "[" + ",".join(f"[{int(token)},{json_f32(logit)}]" for token, logit in pairs) + "]"
