"""What a witness has to report, as plain data: the document of `refruntime witness --json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from refruntime.witness.build import PositionLook, Witness
from refruntime.witness.expected import Float32
from refruntime.witness.kv_map import CacheMap
from refruntime.witness.locate import bits
from refruntime.witness.looking import Look, WrongArray
from refruntime.witness.recording import Int
from refruntime.witness.sightings import Sighting

SHOWN_NUMBERS: Final = 6


def document(witness: Witness, seen: PositionLook) -> dict[str, Any]:
    """Return verdict, first wrong array, events of the position, and the map of the cache."""
    return {
        "verdict": seen.look.verdict,
        "first": None if seen.look.first is None else _first(seen.look, seen.look.first, seen.position),
        "position": seen.position,
        "positions": len(witness.ids),
        "prompt_ids": witness.ids[: witness.oracle.prompt_length],
        "events": list(events(seen)),
        "cache": {"keys": _cache(witness.keys), "values": _cache(witness.values)},
        "fuel": witness.fuel,
        "pauses": len(seen.look.log.fuel),
    }


def sentence(document: dict[str, Any]) -> str:
    """Return the verdict of a document in one line."""
    first = document["first"]
    if first is not None:
        return f"{first['tensor']} at position {first['position']}: {first['text']}"
    where = f"position {document['position']} of {document['positions']}"
    equal = sum(event["state"] == "equal" for event in document["events"])
    if document["verdict"] == "clean":
        return f"no number is wrong: {equal} of {len(document['events'])} tensors of {where} are in memory bit by bit"
    return f"too little was seen: {equal} of {len(document['events'])} tensors of {where} are in memory"


def _first(look: Look, finding: WrongArray, position: int) -> dict[str, Any]:
    sighting, pattern = finding.sighting, finding.pattern
    expected = sighting.expected.values
    result: dict[str, Any] = {
        "tensor": finding.name,
        "position": position,
        "pattern": pattern.kind,
        "where": pattern.where,
        "text": pattern.text,
        "shape": list(expected.shape) if expected.size else None,
    }
    if sighting.image is None or pattern.differing is None:
        return result
    differing = int(pattern.differing.sum())
    return {**result, "differing": differing, **_numbers(look, sighting.image.words, sighting, sighting.image.values)}


def numbers(look: Look, name: str) -> dict[str, Any] | None:
    """Return where a tensor lies and some of its numbers on both sides; None if nowhere."""
    sighting = next(each for each in look.sightings if each.name == name)
    values = sighting.expected.values
    if sighting.image is not None:
        return _numbers(look, sighting.image.words, sighting, sighting.image.values)
    if sighting.state != "equal" or not all(sighting.places):
        return None
    words = np.concatenate([place.words for place in sighting.places if place is not None]).reshape(values.shape)
    return _numbers(look, words, sighting, values)


def _numbers(look: Look, words: Int, sighting: Sighting, found: Float32) -> dict[str, Any]:
    expected = sighting.expected.values
    differing = np.flatnonzero(bits(expected) != bits(found))
    places = differing if len(differing) else np.arange(expected.size)
    chosen = np.unravel_index(places[:SHOWN_NUMBERS], expected.shape)
    return {
        "shape": list(expected.shape),
        "address": 4 * int(look.log.address[words.reshape(-1)[0]]),
        "elements": np.stack(chosen, axis=1).tolist(),
        "expected": [float(x) for x in expected[chosen]],
        "found": [float(x) for x in found[chosen]],
    }


def events(seen: PositionLook) -> Iterator[dict[str, Any]]:
    """Yield one event for each array of a position, in the order of their dependencies."""
    look = seen.look
    for sighting in look.sightings:
        pause = sighting.pause
        word = _word(sighting)
        yield {
            "tensor": sighting.name,
            "position": seen.position,
            "state": sighting.state,
            "reason": _reason(look, sighting),
            "address": None if word is None else 4 * int(look.log.address[word]),
            "fuel": None if pause < 0 else int(look.log.fuel[min(pause, len(look.log.fuel) - 1)]),
            "seen": sighting.elements_seen,
            "of": int(sighting.expected.values.size),
        }


def _reason(look: Look, sighting: Sighting) -> str:
    if sighting.state != "not seen" or sighting.reason:
        return sighting.reason
    if look.first is not None:
        return "behind the first wrong one"
    return "it was in memory at no pause, and nothing that needs it was either"


def _word(sighting: Sighting) -> int | None:
    if sighting.image is not None:
        return int(sighting.image.words.reshape(-1)[0])
    return next((place.word for place in sighting.places if place is not None), None)


def _cache(part: CacheMap | None) -> dict[str, Any] | None:
    """Return a grid of layers by positions: `=` equal, `x` wrong, `?` at no known place."""
    if part is None:
        return None
    known, wrong = part.known.all(axis=2), part.wrong
    rows = np.where(wrong, "x", np.where(known, "=", "?"))
    return {"layers": ["".join(row) for row in rows.tolist()], "address": 4 * int(part.word.reshape(-1)[0])}
