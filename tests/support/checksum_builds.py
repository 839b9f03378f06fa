"""Builds of a few lines that know nothing but a checksum: `load_model` sums the file, compares, and says 0 or 6.

They are written in the text format of WebAssembly, so they share nothing with what they test. `step` is what happens to
the local `$h` (i64) for the byte `$b` (i64) at the index `$i` (i64); `$n` is the length of the file, `$p` its address.
"""

from __future__ import annotations

from tests.support.wat_modules import build

FNV_PRIME = 0x100000001B3
FNV_START = 0xCBF29CE484222325

PUBLISHED = f"""
    (local.set $h (i64.xor (local.get $h) (i64.xor (local.get $b) (local.get $i))))
    (local.set $h (i64.rotl (local.get $h) (i64.const 5)))
    (local.set $h (i64.mul (local.get $h) (i64.const {FNV_PRIME})))
"""
"""SL-5 as it reads."""

STORED = "(i64.load (i32.add (local.get $p) (i32.const 100)))"

COMPARISONS = {
    "i64.eq": f"(i64.eq (local.get $h) {STORED})",
    "i64.eq, field first": f"(i64.eq {STORED} (local.get $h))",
    "i64.ne": f"(i32.eqz (i64.ne (local.get $h) {STORED}))",
    "i64.xor": f"(i64.eqz (i64.xor {STORED} (local.get $h)))",
    "i64.sub": f"(i64.eqz (i64.sub (local.get $h) {STORED}))",
    "halves, both at once": f"""(i32.eqz (i32.or
        (i32.xor (i32.wrap_i64 (local.get $h)) (i32.wrap_i64 {STORED}))
        (i32.sub (i32.wrap_i64 (i64.shr_u {STORED} (i64.const 32)))
                 (i32.wrap_i64 (i64.shr_u (local.get $h) (i64.const 32))))))""",
    "halves, low first": f"""(if (result i32)
        (i32.eq (i32.wrap_i64 (local.get $h)) (i32.wrap_i64 {STORED}))
        (then (i32.eq (i32.wrap_i64 (i64.shr_u {STORED} (i64.const 32)))
                      (i32.wrap_i64 (i64.shr_u (local.get $h) (i64.const 32)))))
        (else (i32.const 0)))""",
    "halves, high first": f"""(if (result i32)
        (i32.ne (i32.load (i32.add (local.get $p) (i32.const 104)))
                (i32.wrap_i64 (i64.shr_u (local.get $h) (i64.const 32))))
        (then (i32.const 0))
        (else (i32.eq (i32.wrap_i64 (local.get $h)) (i32.wrap_i64 {STORED}))))""",
}
"""Comparisons of the whole sum with the stored number, as compilers write them: 1 when they are equal."""

TRUNCATED = {
    "low half as i32": f"(i32.eq (i32.wrap_i64 (local.get $h)) (i32.wrap_i64 {STORED}))",
    "high half as i32": """(i32.eq (i32.wrap_i64 (i64.shr_u (local.get $h) (i64.const 32)))
                                    (i32.load (i32.add (local.get $p) (i32.const 104))))""",
    "low half as i64": f"""(i64.eq (i64.and (local.get $h) (i64.const 0xFFFFFFFF))
                                   (i64.and {STORED} (i64.const 0xFFFFFFFF)))""",
    "48 bits": f"""(i64.eq (i64.and (local.get $h) (i64.const 0xFFFFFFFFFFFF))
                           (i64.and {STORED} (i64.const 0xFFFFFFFFFFFF)))""",
    "high half shifted": f"(i64.eq (i64.shr_u (local.get $h) (i64.const 32)) (i64.shr_u {STORED} (i64.const 32)))",
}
"""Comparisons that leave bits of the sum out."""


def _pair(place: int) -> str:
    """Byte number `place` of the field, and the same byte of the sum."""
    sum_byte = f"(i32.and (i32.const 255) (i32.wrap_i64 (i64.shr_u (local.get $h) (i64.const {8 * place}))))"
    return f"(i32.load8_u offset={100 + place} (local.get $p)) {sum_byte}"


def _all_bytes() -> str:
    equal = "(i32.const 1)"
    for place in range(8):
        equal = f"(i32.and {equal} (i32.eqz (i32.xor {_pair(place)})))"
    return equal


def _bytes_in_order() -> str:
    steps = [f"(drop (br_if $done (i32.const 0) (i32.ne {_pair(place)})))" for place in range(8)]
    return f"(block $done (result i32) {' '.join(steps)} (i32.const 1))"


BYTE_BY_BYTE = {"until one differs": _bytes_in_order(), "all of them": _all_bytes()}
"""Comparisons of single bytes."""


def summing_build(
    step: str = PUBLISHED,
    *,
    start: int = FNV_START,
    equal: str = COMPARISONS["i64.ne"],
    byte: str = "(i64.load8_u (i32.add (local.get $p) (i32.wrap_i64 (local.get $i))))",
    masked: str = "(i32.lt_u (i32.sub (i32.wrap_i64 (local.get $i)) (i32.const 100)) (i32.const 8))",
    before: str = "",
    finish: str = "",
    after: str = "",
    more: str = "",
) -> bytes:
    """Return a build. `before`, `finish` and `after` are instructions before and after the sum, and at the end."""
    load_model = f"""
        (local $h i64) (local $b i64) (local $i i64)
        {before}
        (if (i32.lt_u (local.get $n) (i32.const 108)) (then (return (i32.const 6))))
        (if (i32.ne (i32.load (local.get $p)) (i32.const 0x314D4C53)) (then (return (i32.const 4))))
        (if (i32.ne (i32.load offset=4 (local.get $p)) (i32.const 1)) (then (return (i32.const 5))))
        (local.set $h (i64.const {start}))
        (loop $next
            (local.set $b {byte})
            (if {masked} (then (local.set $b (i64.const 0))))
            {step}
            (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $next (i64.lt_u (local.get $i) (i64.extend_i32_u (local.get $n)))))
        {finish}
        (if (i32.eqz {equal}) (then {after} (return (i32.const 6))))
        (i32.const 0)
    """
    signature = "(param $p i32) (param $n i32) (result i32)"
    return build(load_model=load_model, signatures={"load_model": signature}, more=more)
