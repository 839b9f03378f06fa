"""What no rule of the contract fixes in a build, chosen by name: `group=name`, listed in `dialects.json`.

Standard library only, and nothing of the oracle. A choice becomes compile-time switches (`cfg`) and environment
variables of the guest, and a truth that a test can hold against what a tool found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

GUEST = Path(__file__).resolve().parent
KEYS = (
    "model_load_ms",
    "prompt_tokens",
    "generated_tokens",
    "tokens_per_second",
    "peak_scratch_bytes",
    "kv_length",
    "quantization",
    "last_error",
    "model_loaded",
    "tokenizer_output",
    "logits_summary",
    "selected_token",
    "top_tokens",
    "temperature",
    "top_k",
    "top_p",
    "seed",
)
INNER_KEYS = ("min", "max", "mean", "id", "logit", "code", "message")
ARITHMETIC = (
    "sum",
    "tail",
    "reduction",
    "product",
    "reach",
    "vector",
    "reciprocal",
    "exp",
    "sine",
    "power",
    "root",
)
"""Groups that give other bits: orders of additions and forms of elementary functions, never a mistake."""
SWITCHES = ("formula", "comparison", "form", "without", "behaviour", "architecture", *ARITHMETIC)
"""Groups whose names are compile-time switches of the guest."""
CHECKSUM_GROUPS = ("formula", "start", "rotation")
"""Groups that make another checksum formula of a build."""
SEVERAL = ("form", "extra", "without", "missing", "reach", "reciprocal", "architecture")
"""Groups of which several names can hold at once."""
PUBLISHED_START = 0xCBF29CE484222325
PUBLISHED_ROTATION = 5
PRIME = 0x100000001B3
MASK = (1 << 64) - 1


class DialectError(ValueError):
    """A choice does not exist, or two choices exclude each other."""


@cache
def load_dialects() -> dict[str, dict[str, Any]]:
    """Return group -> name -> what it means; `form` has one level more, the field that it is a form of."""
    table: dict[str, dict[str, Any]] = json.loads((GUEST / "dialects.json").read_text("utf-8"))
    return {**table, "missing": {key: f"no member {key}" for key in KEYS}}


def names_of(group: str) -> list[str]:
    """Return the names of a group, in the order of the table."""
    table = load_dialects()
    if group not in table:
        raise DialectError(f"unknown group {group!r}; known: {', '.join(table)}")
    if group == "form":
        return [name for forms in table["form"].values() for name in forms]
    return list(table[group])


@dataclass(frozen=True)
class Dialect:
    """A legal set of choices, in the order of the table."""

    choices: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Dialect:
        """Make a dialect of `group=name` texts; DialectError."""
        chosen = [(group, name) for group, _, name in (text.partition("=") for text in texts)]
        for group, name in chosen:
            if name not in names_of(group):
                raise DialectError(f"unknown {group} {name!r}; known: {', '.join(names_of(group))}")
        order = [(group, name) for group in load_dialects() for name in names_of(group)]
        dialect = cls(tuple(sorted(set(chosen), key=order.index)))
        dialect._check()
        return dialect

    def all(self, group: str) -> list[str]:
        """Return the chosen names of a group."""
        return [name for other, name in self.choices if other == group]

    def one(self, group: str) -> str | None:
        """Return the chosen name of a group of which one can hold."""
        return next(iter(self.all(group)), None)

    @property
    def texts(self) -> list[str]:
        """Return the choices as `group=name`."""
        return [f"{group}={name}" for group, name in self.choices]

    @property
    def switches(self) -> list[str]:
        """Return the compile-time switches, as `group="name"`."""
        named = [f'{group}="{name}"' for group, name in self.choices if group in SWITCHES]
        return named + ["architectures"] * bool(self.all("architecture"))

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables of the compiler; what has its published value is left out."""
        variables = {}
        if any(self.all(group) for group in ("names", "nesting", "order", "extra", "missing")):
            variables["GUEST_FIELDS"] = "\n".join(f"{'.'.join(path)}\t{key}" for path, key in self._members())
        if self.all("names"):
            variables["GUEST_INNER_NAMES"] = "\n".join(self.name(key) for key in INNER_KEYS)
        if self.all("messages"):
            variables["GUEST_MESSAGES"] = "\n".join(self.messages or [])
        if self.all("start"):
            variables["GUEST_CHECKSUM_START"] = str(self.start)
        if self.all("rotation"):
            variables["GUEST_CHECKSUM_ROTATION"] = str(self.rotation)
        return variables

    @property
    def start(self) -> int:
        """Return the start of the checksum."""
        name = self.one("start")
        return PUBLISHED_START if name is None else int(load_dialects()["start"][name], 16)

    @property
    def rotation(self) -> int:
        """Return the left rotation of the checksum in bits."""
        name = self.one("rotation")
        return PUBLISHED_ROTATION if name is None else int(load_dialects()["rotation"][name])

    @property
    def messages(self) -> list[str] | None:
        """Return the texts of the codes 1 to 14, or None for those of ERR-3."""
        name = self.one("messages")
        return None if name is None else list(load_dialects()["messages"][name])

    @property
    def fields(self) -> dict[str, list[str] | None]:
        """Return key of DG-3 -> path in the document, None where it is missing."""
        paths = {key: list(path) for path, key in self._members()}
        return {key: paths.get(key) for key in KEYS}

    def with_architectures_of(self, rules: Iterable[str]) -> Dialect:
        """Return a dialect that also has the architectures in which alone the options of these rules show."""
        brought = [name for name, rule in load_dialects()["architecture"].items() if rule in rules]
        return Dialect.of([*self.texts, *(f"architecture={name}" for name in brought)])

    def truth(self) -> dict[str, Any]:
        """Return all that a test may hold against what a tool found out."""
        architectures = {name: load_dialects()["architecture"][name] for name in self.all("architecture")}
        return {
            "choices": self.texts,
            "fields": self.fields,
            "inner_names": {key: self.name(key) for key in INNER_KEYS},
            "forms": self.all("form"),
            "other_members": [[*path, key[1:]] for path, key in self._members() if key.startswith("=")],
            "messages": self.messages,
            "without": self.all("without"),
            "behaviour": self.one("behaviour"),
            "arithmetic": {group: self.all(group) for group in ARITHMETIC if self.all(group)},
            **({"architectures": architectures} if architectures else {}),
            "checksum": {
                "formula": self.one("formula") or "published",
                "start": f"{self.start:#018x}",
                "rotation": self.rotation,
                "comparison": self.one("comparison") or "equal",
            },
        }

    def _check(self) -> None:
        for group in load_dialects():
            if group not in SEVERAL and len(self.all(group)) > 1:
                raise DialectError(f"{group}: only one name can hold, got {', '.join(self.all(group))}")
        for field, forms in load_dialects()["form"].items():
            active = [name for name in self.all("form") if name in forms]
            if len(active) > 1 and not (field == "last_error"):
                raise DialectError(f"form of {field}: only one can hold, got {', '.join(active)}")
        lanes = (self.one("sum") or "").startswith("lanes")
        if not lanes and any(self.all(group) for group in ("tail", "reduction", "vector")):
            raise DialectError("tail, reduction and vector need a sum in lanes")
        if self.all("vector") and self.all("product"):
            raise DialectError("vector instructions have no fused product")
        paths = [path for path, _ in self._members()]
        for path in paths:
            if paths.count(path) > 1 or any(path != other and other[: len(path)] == path for other in paths):
                raise DialectError(f"two members are called {'.'.join(path)}")

    def name(self, key: str) -> str:
        scheme = self.one("names")
        return key if scheme is None else str(load_dialects()["names"][scheme].get(key, key))

    def _members(self) -> list[tuple[tuple[str, ...], str]]:
        """Return (path, key or constant) of every member, those of one object together."""
        table = load_dialects()
        nesting = self.one("nesting")
        places = {} if nesting is None else table["nesting"][nesting]
        place_of = {key: tuple(place.split(".")) for place, keys in places.items() for key in keys}
        missing = self.all("missing")
        members = [((*place_of.get(key, ()), self.name(key)), key) for key in KEYS if key not in missing]
        for name in self.all("extra"):
            members += [((member,), f"={constant}") for member, constant in table["extra"][name].items()]
        if self.one("order") == "alphabetical":
            return sorted(members)
        if self.one("order") == "reversed":
            members.reverse()
        return _gathered(members)


PUBLISHED = Dialect()
"""Nothing chosen: what the contract says where it says something."""


def _gathered(members: Sequence[tuple[tuple[str, ...], str]], depth: int = 0) -> list[tuple[tuple[str, ...], str]]:
    """Put members of one object together, where the first of them stands."""
    heads: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for path, key in members:
        heads.setdefault(path[depth], []).append((path, key))
    gathered = []
    for group in heads.values():
        inner = [member for member in group if len(member[0]) > depth + 1]
        gathered += _gathered(inner, depth + 1) if inner else group
    return gathered


def checksum(file: bytes, dialect: Dialect) -> int:
    """Return the checksum of a whole SLM1 file under the formula of a dialect, plainly and slowly (SL-5)."""
    formula, rotation, state = dialect.one("formula"), dialect.rotation, dialect.start

    def rotate(value: int, count: int) -> int:
        return (value << count | value >> (64 - count)) & MASK if count else value

    for index, stored in enumerate(file):
        byte = 0 if 100 <= index < 108 else stored
        match formula:
            case "multiply_before_rotate":
                state = rotate((state ^ byte ^ index) * PRIME & MASK, rotation)
            case "rotate_before_mix":
                state = (rotate(state, rotation) ^ byte ^ index) * PRIME & MASK
            case "index_added":
                state = rotate((state ^ byte) + index & MASK, rotation) * PRIME & MASK
            case "sum_of_byte_and_index":
                state = rotate(state ^ (byte + index), rotation) * PRIME & MASK
            case "two_rounds":
                state = rotate(state ^ byte, rotation) * PRIME & MASK
                state = rotate(state ^ index, rotation) * PRIME & MASK
            case "rotate_by_index":
                state = rotate(state ^ byte ^ index, index % 64) * PRIME & MASK
            case "byte_in_lane":
                state = rotate(state ^ byte << (index % 8 * 8) ^ index, rotation) * PRIME & MASK
            case "index_times_prime":
                state = rotate(state ^ byte ^ index * PRIME & MASK, rotation) * PRIME & MASK
            case _:
                state = rotate(state ^ byte ^ index, rotation) * PRIME & MASK
    return state
