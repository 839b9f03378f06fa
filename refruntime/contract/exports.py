"""Describe the 13 function exports as data: names, parameters and wasm types (ABI-1, ABI-2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

WasmType = Literal["i32", "i64", "f32"]
ValueIs = Literal["exact", "zero or not"]


@dataclass(frozen=True)
class ExportParameter:
    """One parameter of an export: its name, the type in the Rust signature and the wasm type."""

    name: str
    rust_type: str
    wasm_type: WasmType


@dataclass(frozen=True)
class Export:
    """One function export: `result` is the Rust result type, empty for none.

    `value_is` says what the contract defines of the value: every bit, or only whether it is 0. An address is of no
    meaning (MEM-5), nor is the length of the diagnostics, which are compared by meaning (DG-3).
    """

    name: str
    parameters: tuple[ExportParameter, ...]
    result: str
    returns_status: bool
    value_is: ValueIs = "exact"

    def defined(self, value: int) -> int:
        """Return what is defined of a value: the value itself, or 1 for any but 0."""
        return value if self.value_is == "exact" else int(value != 0)

    @property
    def is_address(self) -> bool:
        """Say whether the result is a place in linear memory."""
        return "*" in self.result

    @property
    def wasm_parameters(self) -> tuple[WasmType, ...]:
        """Return the wasm parameter types (ABI-2)."""
        return tuple(parameter.wasm_type for parameter in self.parameters)

    @property
    def wasm_results(self) -> tuple[WasmType, ...]:
        """Return the wasm result types (ABI-2)."""
        return ("i32",) if self.result else ()

    @property
    def signature(self) -> str:
        """Return the Rust signature as published, for people."""
        inside = ", ".join(f"{parameter.name}: {parameter.rust_type}" for parameter in self.parameters)
        return f"{self.name}({inside})" + (f" -> {self.result}" if self.result else "")

    @property
    def wasm_signature(self) -> str:
        """Return the wasm signature, for people."""
        return f"({', '.join(self.wasm_parameters)}) -> {self.wasm_results[0] if self.wasm_results else '()'}"


_POINTER = ExportParameter("pointer", "*const u8", "i32")
_LENGTH = ExportParameter("length", "usize", "i32")


def _status(name: str, *parameters: ExportParameter) -> Export:
    return Export(name, parameters, "u32", returns_status=True)


def _getter(name: str, result: str, value_is: ValueIs) -> Export:
    return Export(name, (), result, returns_status=False, value_is=value_is)


EXPORTS: Final[tuple[Export, ...]] = (
    Export("alloc", (_LENGTH,), "*mut u8", returns_status=False, value_is="zero or not"),
    Export("dealloc", (ExportParameter("pointer", "*mut u8", "i32"), _LENGTH), "", returns_status=False),
    _status("init_runtime"),
    _status("load_model", _POINTER, _LENGTH),
    _status(
        "set_sampling_config",
        ExportParameter("temperature", "f32", "f32"),
        ExportParameter("top_k", "u32", "i32"),
        ExportParameter("top_p", "f32", "f32"),
        ExportParameter("seed", "u64", "i64"),
    ),
    _status("generate", _POINTER, _LENGTH, ExportParameter("max_new_tokens", "u32", "i32")),
    _status("generate_next_token"),
    _getter("last_result_ptr", "*const u8", "zero or not"),
    _getter("last_result_len", "usize", "exact"),
    _getter("get_diagnostics_ptr", "*const u8", "zero or not"),
    _getter("get_diagnostics_len", "usize", "zero or not"),
    _status("reset_context"),
    _status("free_model"),
)
"""The 13 exports in published order."""

EXPORTS_BY_NAME: Final[dict[str, Export]] = {export.name: export for export in EXPORTS}
