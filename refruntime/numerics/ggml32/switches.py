"""What differs between builds and settings of ggml without being an error: the switches of `ggml32`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal, get_args, get_type_hints

NAME: Final = "ggml32"


@dataclass(frozen=True)
class Switches:
    """What may differ; the defaults are llama.cpp on Linux with a float32 cache and without flash attention.

    `kv`: type of stored keys and values; `flash`: attention in one pass, `tiles` as prompts of 64 tokens and more go
    through it; `gelu`: by a table of half-precision numbers,
    or evaluated; `libm`: whose. Stock llama.cpp has kv f16 and flash attention, which reads keys and values in f16 also
    where they are kept in f32. With several `threads`, flash attention has single tokens only, which these share where
    there are 512 cells and more; nothing else depends on their number.
    """

    kv: Literal["f32", "f16", "q8_0"] = "f32"
    flash: Literal["off", "on", "tiles"] = "off"
    gelu: Literal["f16", "f32"] = "f16"
    libm: Literal["glibc", "musl"] = "glibc"
    threads: int = 1

    def __str__(self) -> str:
        """Write the name of the profile with the switches that differ from the defaults."""
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ",".join([NAME, *changed])


CHOICES: Final[dict[str, tuple[str, ...]]] = {name: get_args(kind) for name, kind in get_type_hints(Switches).items()}
"""What a switch may be; `threads` is any number from 1 to MOST_THREADS."""
MOST_THREADS: Final = 512


def read_switches(text: str) -> Switches:
    """Read `ggml32` or `ggml32,kv=f16,...`. What is unknown, or said twice: ValueError."""
    name, *assignments = text.split(",")
    if name != NAME:
        raise ValueError(f"unknown numeric profile {name!r}; expected {NAME}")
    values: dict[str, str | int] = {}
    for assignment in assignments:
        switch, _, value = assignment.partition("=")
        if switch not in CHOICES:
            raise ValueError(f"{NAME} has no switch {switch!r}; expected one of {', '.join(CHOICES)}")
        if switch in values:
            raise ValueError(f"the switch {switch} is given twice")
        if switch == "threads":
            if not (value.isascii() and value.isdigit() and len(value) < 4 and 1 <= int(value) <= MOST_THREADS):
                raise ValueError(f"{NAME} has no {switch}={value}; expected a number from 1 to {MOST_THREADS}")
            values[switch] = int(value)
            continue
        if value not in CHOICES[switch]:
            raise ValueError(f"{NAME} has no {switch}={value}; expected one of {', '.join(CHOICES[switch])}")
        values[switch] = value
    return Switches(**values)  # type: ignore[arg-type]  # each value was looked up in its choices
