"""Say what went wrong in a module, in a line that is safe to show; wasmtime's own words about itself are cut off."""

from __future__ import annotations

from typing import Any

from refruntime.engines.interface import visible


def trap_code(trap: Any) -> str:
    """Return the name of a trap's code, empty for one that the binding does not know."""
    try:
        code = trap.trap_code
    except ValueError:  # a code that is newer than the binding
        return ""
    return "" if code is None else str(code.name)


def trap_message(trap: Any) -> str:
    """Return the last line of wasmtime's message: those before it repeat the backtrace."""
    return visible(_own_words(trap.message).splitlines()[-1].strip().removeprefix("wasm trap: "))


def backtrace(trap: Any) -> str:
    """Return the functions in which a trap happened, the innermost first."""
    frames = (
        f"{visible(frame.func_name or 'unnamed')} (function {frame.func_index}, offset {frame.module_offset:#x})"
        for frame in trap.frames
    )
    return ", called by ".join(frames)


def one_line(error: Exception) -> str:
    """Return the message of an error in one line that is safe to show."""
    return visible(" ".join(_own_words(str(error)).split()))


def _own_words(message: str) -> str:
    """Cut off the stack of wasmtime itself, which some versions append."""
    return message.partition("Stack backtrace:")[0].strip()
