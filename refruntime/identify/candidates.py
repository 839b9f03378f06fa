"""Forms in which the values of a field might be what a contract value means; only those that can fit are proposed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from refruntime.contract.dialect import NULLABLE
from refruntime.contract.forms import MISSING, Form

COUNTS: Final = ("prompt_tokens", "generated_tokens", "peak_scratch_bytes", "kv_length", "top_k")
LABELLED: Final = ("quantization", "model_loaded")


def forms_for(name: str, expected: Sequence[Any], values: Sequence[Any]) -> Iterator[str]:
    """Yield the words of forms of a field, the contract's own (no words) first, judged by the build's values."""
    if name in LABELLED:
        yield from _labels(name, expected, values)
        return
    none = _none(name, expected, values)
    yield from _distinct([Form(**none, **kind).text for kind in _kinds(name, values)])


def _distinct(forms: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(forms))


def _none(name: str, expected: Sequence[Any], values: Sequence[Any]) -> dict[str, Any]:
    """Return what stands for "there is none", where the contract has a value for that and the build another."""
    own = {"top_tokens": [], "tokenizer_output": ""}.get(name)
    if name not in (*NULLABLE, "top_tokens", "tokenizer_output"):
        return {}
    theirs = [value for mine, value in zip(expected, values, strict=True) if mine == own and mine is not False]
    if not theirs:
        return {}
    usual = _usual(theirs)
    if type(usual) is type(own) and usual == own:
        return {}
    return {"has_none": True, "none": usual}


def _usual(values: Sequence[Any]) -> Any:
    """Return the value that is there most often: a bug of the build may have put another into some documents."""
    counted = Counter("" if value is MISSING else json.dumps(value) for value in values)
    text, _ = counted.most_common(1)[0]
    return MISSING if not text else json.loads(text)


def _kinds(name: str, values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    there = [value for value in values if value is not MISSING and value is not None]
    kinds = {type(value) for value in there}
    sample: Any = max(there, key=lambda value: len(value) if isinstance(value, list | dict | str) else 0, default=None)
    yield {}
    if name in (*COUNTS, "temperature", "top_p", "selected_token") or name.startswith("logits_summary."):
        if str in kinds:
            yield {"kind": "text"}
    elif name == "seed":
        if str in kinds:
            yield {"kind": "hex"}
        else:
            yield {"kind": "number"}
    elif name == "tokenizer_output":
        yield from _id_lists(sample)
    elif name == "top_tokens":
        yield from _rankings(sample)


def _id_lists(sample: Any) -> Iterator[dict[str, Any]]:
    if isinstance(sample, list) and sample:
        yield {"kind": "list"}
        if isinstance(sample[0], Mapping):
            for key in sample[0]:
                yield {"kind": "objects", "id": key}
    if isinstance(sample, str):
        for separator in (" ", ", ", ";", "|", ":", "-", "/", "\t"):
            if separator in sample:
                yield {"kind": "joined", "separator": separator}


def _rankings(sample: Any) -> Iterator[dict[str, Any]]:
    if isinstance(sample, list) and sample:
        if isinstance(sample[0], Mapping):
            for key in sample[0]:
                yield from ({"kind": "objects", "id": key, "logit": other} for other in sample[0] if other != key)
                yield {"kind": "objects", "id": key}
        elif isinstance(sample[0], int):
            yield {"kind": "ids"}
            yield {"kind": "flat"}
    if isinstance(sample, Mapping):
        yield {"kind": "map"}
        for key in sample:
            yield from ({"kind": "parallel", "id": key, "logit": other} for other in sample if other != key)


def _labels(name: str, expected: Sequence[Any], values: Sequence[Any]) -> Iterator[str]:
    """Yield the contract's own labels, and the build's where each contract label always goes with one of its own."""
    yield ""
    met: dict[str, list[Any]] = {}
    for mine, theirs in zip(expected, values, strict=True):
        if theirs is MISSING or isinstance(theirs, list | Mapping):
            return
        met.setdefault(str(mine).lower() if isinstance(mine, bool) else str(mine), []).append(theirs)
    pairs = {label: json.dumps(_usual(theirs)) for label, theirs in met.items()}
    if len(set(pairs.values())) < len(pairs):
        return
    changed = {label: text for label, text in pairs.items() if text != json.dumps(_own(name, label))}
    if changed and name == "quantization" and all(json.loads(text) == label.upper() for label, text in pairs.items()):
        yield Form(kind="upper").text
    elif changed:
        yield Form(labels=tuple((label, json.loads(text)) for label, text in changed.items())).text


def _own(name: str, label: str) -> Any:
    return label == "true" if name == "model_loaded" else label
