"""The float32 functions of Rust's libm on wasm32, bit for bit, as NumPy expressions (FW-8).

A WASM build of the runtime has no `exp` instruction: `f32::exp` and its relatives become calls into the libm inside
Rust's compiler-builtins, a descendant of musl's and FreeBSD msun's `e_expf.c`, `s_sinf.c`, `s_cosf.c`, `e_powf.c`,
`s_tanhf.c`. None of them is correctly rounded, so "compute in float64 and round once" differs in about every tenth
`expf` and every twenty-fifth `tanhf`. These functions repeat the same operations on the same constants in the same
order instead. They use only operations whose result IEEE 754 fixes (+ - * /, square root, conversions, comparisons,
bits): the result does not depend on the machine, its SIMD level or the shape of the array.

One thing is outside these functions: a compiler may replace a call whose base or exponent is a literal constant
(`powf(2.0, y)` may become `exp2f(y)`). Arguments that are known only at run time, as in the contract, are safe.
"""

from __future__ import annotations

from refruntime.numerics.libm.exponential import expf, tanhf
from refruntime.numerics.libm.power import powf
from refruntime.numerics.libm.trigonometric import cosf, sinf

__all__ = ["cosf", "expf", "powf", "sinf", "tanhf"]
