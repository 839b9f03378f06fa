"""Compare the imports and exports of a module with the surface of the contract (ABI-1, ABI-2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from refruntime.contract.exports import EXPORTS
from refruntime.engines.base import InterfaceProblem

SHOWN_CHARACTERS: Final = 120

MEMORY: Final = "memory"
"""Description of the memory that a wasm32 module exports: 32-bit, not shared, with pages of 64 KiB."""

GLOBAL: Final = "global"
"""Description of any global; exported globals are ignored (ABI-1)."""

EXPECTED: Final[dict[str, str]] = {
    "memory": MEMORY,
    **{export.name: f"function {export.wasm_signature}" for export in EXPORTS},
}


def visible(text: str) -> str:
    """Return text that a module chose in a form that is safe to show: printable and not long."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[: SHOWN_CHARACTERS - 3] + "..."


def describe_function(parameters: Sequence[str], results: Sequence[str]) -> str:
    """Describe a function type in the words of `Export.wasm_signature`."""
    result = results[0] if len(results) == 1 else f"({', '.join(results)})"
    return f"function ({', '.join(parameters)}) -> {result}"


def interface_problems(imports: Iterable[tuple[str, str]], exports: Mapping[str, str]) -> tuple[InterfaceProblem, ...]:
    """Return every import, and every export that is missing, mistyped or extra; each is a name with a description."""
    problems = [InterfaceProblem("import", visible(name), "no imports", found) for name, found in imports]
    for name, expected in EXPECTED.items():
        if name not in exports:
            problems.append(InterfaceProblem("missing", name, expected, "nothing"))
        elif exports[name] != expected:
            problems.append(InterfaceProblem("mistyped", name, expected, exports[name]))
    problems += [
        InterfaceProblem("extra", visible(name), "no other export", found)
        for name, found in exports.items()
        if name not in EXPECTED and found != GLOBAL
    ]
    return tuple(problems)
