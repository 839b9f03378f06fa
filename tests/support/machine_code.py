"""Look into the machine code of compiled loops, which is compiled anew for that."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

FUSED = re.compile(r"\bv?fn?m(?:add|sub)\w*|\bfml[as]\b")


def assembly(kernel: Any, *arguments: Any) -> str:
    """Return the machine code of a kernel for arguments as these."""
    from refruntime.machine_code.compiling import intermediate
    from refruntime.machine_code.signature import kind_of

    intermediate(kernel, tuple(map(kind_of, arguments)))
    (code,) = kernel.inspect_asm().values()
    assert len(code) > 1000
    return str(code)


def fused_instructions(kernel: Any, *arguments: Any) -> list[str]:
    """Return the instructions that multiply and add in one rounding."""
    return FUSED.findall(assembly(kernel, *arguments))


def numbers(dimensions: int = 1) -> np.ndarray:
    """Return a float32 array."""
    return np.zeros((1,) * dimensions, np.float32)


def octets(dimensions: int = 1) -> np.ndarray:
    """Return an array of bytes."""
    return np.zeros((1,) * dimensions, np.uint8)
