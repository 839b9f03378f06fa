"""What a build computes otherwise than seq32: one form for each operation, with a name and a file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from refruntime.numerics.varied.elementary import EXP, INVERSE_ROOT, POWER, ROOT, SINE
from refruntime.numerics.varied.sums import SEQUENTIAL, SumOrder, sum_orders


class VariationError(ValueError):
    """A name or a file that is no variation; the message says what was expected."""


def _form(meaning: str, *options: str) -> Any:
    return field(default=options[0], metadata={"meaning": meaning, "options": options})


@dataclass(frozen=True)
class Variation:
    """One form for each operation; the default of every field is seq32's."""

    matrices: SumOrder = field(default=SEQUENTIAL, metadata={"meaning": "products of weights and activations (FW-4)"})
    squares: SumOrder = field(default=SEQUENTIAL, metadata={"meaning": "squares of a norm (FW-3)"})
    scores: SumOrder = field(default=SEQUENTIAL, metadata={"meaning": "products of a query and a key (FW-6)"})
    weights: SumOrder = field(default=SEQUENTIAL, metadata={"meaning": "exponentials of a softmax (FW-6)"})
    mixed: SumOrder = field(default=SEQUENTIAL, metadata={"meaning": "values times attention weights (FW-6)"})
    mean: str = _form("mean of the squares (FW-3)", "divide by the count", "multiply by the reciprocal", "float64")
    inverse: str = _form("inverse root of a norm (FW-3)", *INVERSE_ROOT, "divide by root")
    normal: str = _form(
        "order of the product of a norm (FW-3)",
        "value, inverse, weight",
        "inverse times weight first",
        "value times weight first",
    )
    scaling: str = _form(
        "scale of attention (FW-6)",
        "multiply by the reciprocal",
        "divide by root",
        "queries first",
        "queries divided first",
        "reciprocal from float64",
    )
    softmax: str = _form("division of a softmax (FW-6)", "divide", "multiply by the reciprocal")
    silu: str = _form("silu (FW-7)", "divide", "multiply by the reciprocal", "float64")
    frequency: str = _form(
        "frequencies of rotation (FW-5)", "one divided by power", "power of the negative", "float64", "float64 angles"
    )
    rotation: str = _form("products of a rotation (FW-5)", "rounded", "fused second", "fused first")
    exp: str = _form("exp (FW-8)", *EXP)
    sine: str = _form("sine and cosine (FW-8)", *SINE)
    power: str = _form("power (FW-8)", *POWER)
    root: str = _form("root (FW-8)", *ROOT)

    def __post_init__(self) -> None:
        for item in fields(self):
            value, options = getattr(self, item.name), item.metadata.get("options")
            if options is not None and value not in options:
                raise VariationError(f"{item.name} is {value!r}; expected one of {', '.join(options)}")

    @property
    def name(self) -> str:
        """Return what makes this variation another one than seq32."""
        changed = self.changes()
        order = changed.get("matrices", "")
        if order and all(changed.get(name) == order for name in SUMS):
            changed = {"sums": order} | {name: value for name, value in changed.items() if name not in SUMS}
        return "; ".join(f"{name}: {value}" for name, value in changed.items()) or "seq32"

    def changes(self) -> dict[str, str]:
        """Return the fields that differ from seq32."""
        return {item.name: str(getattr(self, item.name)) for item in fields(self) if self.differs(item.name)}

    def differs(self, name: str) -> bool:
        """Say whether an operation has another form than in seq32."""
        return bool(getattr(self, name) != getattr(PLAIN, name))

    @classmethod
    def options(cls, name: str) -> tuple[Any, ...]:
        """Return every form of an operation that is tried, the simple ones first."""
        options: tuple[Any, ...] | None = cls.__dataclass_fields__[name].metadata.get("options")
        return sum_orders() if options is None else options

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Return what each field is about."""
        return {item.name: item.metadata["meaning"] for item in fields(cls)}

    @classmethod
    def read(cls, name: str) -> Self:
        """Return the variation of a name: `matrices: 8 lanes; exp: Cephes`, `sums: ...`, or an order of all matrices.

        VariationError.
        """
        chosen: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in name.split(";"))):
            key, colon, value = part.partition(":")
            if not colon:
                key, value = ("", "") if part == "seq32" else ("matrices", part)
            keys = SUMS if key.strip() == "sums" else (key.strip(),)
            chosen |= {key: value.strip() for key in keys if key}
        return cls.of(chosen)

    @classmethod
    def of(cls, chosen: Mapping[str, object]) -> Self:
        """Return the variation with these fields by their texts; VariationError."""
        values: dict[str, Any] = {}
        for key, value in chosen.items():
            if key not in cls.meanings():
                raise VariationError(f"unknown operation {key!r}; expected one of {', '.join(cls.meanings())}")
            if not isinstance(value, str):
                raise VariationError(f"{key} is {value!r}; expected the name of an order or form in quotes")
            try:
                values[key] = SumOrder.read(value) if key in SUMS else value
            except ValueError as error:
                raise VariationError(f"{key}: {error}") from None
        return replace(cls(), **values)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read the table `[numerics]` of a file; absent keys are as in seq32. VariationError."""
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise VariationError(f"not TOML: {error}") from error
        table = document.pop("numerics", None)
        if document or not isinstance(table, dict):
            raise VariationError("expected the table [numerics] and nothing else")
        if table.pop("base", "seq32") != "seq32":
            raise VariationError('expected base = "seq32"')
        return cls.of(table)

    def to_toml(self, comments: Mapping[str, str] | None = None) -> str:
        """Write the file that `from_toml` reads, with a comment for some fields."""
        notes = comments or {}
        lines = [
            "# How a build computes, where it differs from seq32 (ID-4). This is no part of the contract.",
            "# Use it with `refruntime diff BUILD --numerics-variation FILE`.",
            "[numerics]",
            'base = "seq32"',
        ]
        for name, value in self.changes().items():
            lines += [f"# {line}" for line in notes.get(name, "").splitlines()]
            lines.append(f'{name} = "{value}"')
        return "\n".join(lines) + "\n"


SUMS: Final = ("matrices", "squares", "scores", "weights", "mixed")
PLAIN: Final = Variation()
