"""The sampler trace of a golden: what every stage saw, for each sampled token (golden/FORMAT.md, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.golden.reading import GoldenError, JsonNode
from refruntime.golden.values import ARRAY_TYPES, hex_float, npy_bytes, parse_hex_float
from refruntime.sampling import Choice
from refruntime.sampling.stages import select

FLOATS: Final = ("total", "threshold", "mass", "unit", "point")
WORDS: Final = ("state_before", "output", "state_after")
COUNTS: Final = ("retained", "kept", "index", "first")


class SampleTrace:
    """Collect the sampler trace of a case: one document for each sampled token, and the arrays beside them."""

    def __init__(self, profile: Profile) -> None:
        self.documents: list[dict[str, Any]] = []
        self._profile = profile
        self._ids: list[NDArray[np.int64]] = []
        self._weights: list[NDArray[np.float32]] = []
        self._length = 0

    def add(self, step: int, choice: Choice, logits: NDArray[np.float32]) -> None:
        """Write down one choice; `logits` float32 [V] are those it was made from."""
        best = select(logits, 2, self._profile)
        top = [[int(token), hex_float(logit)] for token, logit in zip(best.ids, best.logits, strict=True)]
        document: dict[str, Any] = {"step": step, "token": choice.token, "top": top}
        drawn = choice.drawn
        if drawn is None:
            self.documents.append({**document, "greedy": choice.greedy_reason})
            return
        selection, weighing, cut, draw, pick = drawn.selection, drawn.weighing, drawn.cut, drawn.draw, drawn.pick
        numbers = (weighing.total, cut.threshold, cut.mass, draw.unit, pick.point)
        document |= {name: hex_float(number) for name, number in zip(FLOATS, numbers, strict=True)}
        states = (draw.before, draw.output, draw.after)
        document |= {name: f"{word:016x}" for name, word in zip(WORDS, states, strict=True)}
        counts = (selection.ids.size, cut.kept, pick.index, self._length)
        document |= {name: int(count) for name, count in zip(COUNTS, counts, strict=True)}
        self.documents.append(document)
        self._ids.append(selection.ids[: cut.kept])
        self._weights.append(weighing.weights[: cut.kept])
        self._length += cut.kept

    def arrays(self) -> dict[str, bytes]:
        """Return the array files; none where no token was drawn."""
        if not self._ids:
            return {}
        values: dict[str, NDArray[Any]] = {
            "ids.npy": np.concatenate(self._ids),
            "weights.npy": np.concatenate(self._weights),
        }
        return {name: npy_bytes(values[name], type_) for name, type_ in ARRAY_TYPES.items()}


def read_sample(node: JsonNode, steps: int) -> Mapping[str, Any]:
    """Read one entry of the sampler trace; the entry itself is returned, with its comments. GoldenError."""
    kept = ("greedy",) if "greedy" in node.members() else (*FLOATS, *WORDS, *COUNTS)
    fields = node.object(("step", "token", "top", *kept))
    fields["step"].count(steps - 1)
    fields["token"].count()
    for pair in fields["top"].items():
        items = pair.items()
        if len(items) != 2:
            pair.fail("a pair of an id and a logit")
        items[0].count()
        items[1].float32()
    if "greedy" in fields:
        fields["greedy"].string()
        return dict(node.value)
    for name in FLOATS:
        fields[name].float32()
    for name in WORDS:
        fields[name].string(r"[0-9a-f]{16}", "16 lower-case hex digits")
    for name in COUNTS:
        fields[name].count()
    if not fields["index"].value < fields["kept"].value <= fields["retained"].value:
        node.fail("index < kept <= retained")
    return dict(node.value)


def check_samples(file: str, samples: Sequence[Mapping[str, Any]], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Recompute what follows from the arrays: places, masses and points, and which candidate won. GoldenError."""
    length = 0
    for number, sample in enumerate(samples):
        if "greedy" in sample:
            continue
        place = f"$.samples[{number}]"
        first, kept, index = sample["first"], sample["kept"], sample["index"]
        if first != length:
            raise GoldenError(file, f"{place}.first", str(length), str(first))
        length += kept
        for name in ARRAY_TYPES:
            if name not in arrays or arrays[name].size < length:
                found = arrays[name].size if name in arrays else 0
                raise GoldenError(file, place, f"{length} numbers in {name}", str(found))
        ids, weights = arrays["ids.npy"][first:length], arrays["weights.npy"][first:length]
        if int(ids[index]) != sample["token"]:
            raise GoldenError(file, f"{place}.token", f"{int(ids[index])}, as ids.npy says", str(sample["token"]))
        with np.errstate(all="ignore"):
            mass = np.add.accumulate(weights, dtype=np.float32)[-1]
            point = np.float32(np.float32(_number(sample["unit"])) * mass)
        for name, number_ in (("mass", mass), ("point", point)):
            if hex_float(number_) != sample[name]:
                raise GoldenError(file, f"{place}.{name}", hex_float(number_), str(sample[name]))
    for name, array in arrays.items():
        if array.size != length:
            raise GoldenError(file, "$.samples", f"kept candidates that use up {name}", f"{length} of {array.size}")


def _number(text: str) -> float:
    number = parse_hex_float(text)
    return 0.0 if number is None else number
