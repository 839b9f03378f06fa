"""Valid WebAssembly modules from a seed: every family of instructions, imports, wide numbers, sections nobody knows.

The generator writes bytes by the binary format of the core specification and shares nothing with the package. Each
statement leaves the stack as it was, so any sequence of them is valid. It counts the opcodes that it writes.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

I, L, F, D, V = "i32", "i64", "f32", "f64", "v128"
TYPES = {I: 0x7F, L: 0x7E, F: 0x7D, D: 0x7C, V: 0x7B}


def _spread(first: int, last: int, takes: tuple[str, ...], gives: str) -> dict[int, tuple[tuple[str, ...], str]]:
    return dict.fromkeys(range(first, last + 1), (takes, gives))


NUMERIC = {
    0x45: ((I,), I),
    **_spread(0x46, 0x4F, (I, I), I),
    0x50: ((L,), I),
    **_spread(0x51, 0x5A, (L, L), I),
    **_spread(0x5B, 0x60, (F, F), I),
    **_spread(0x61, 0x66, (D, D), I),
    **_spread(0x67, 0x69, (I,), I),
    **_spread(0x6A, 0x78, (I, I), I),
    **_spread(0x79, 0x7B, (L,), L),
    **_spread(0x7C, 0x8A, (L, L), L),
    **_spread(0x8B, 0x91, (F,), F),
    **_spread(0x92, 0x98, (F, F), F),
    **_spread(0x99, 0x9F, (D,), D),
    **_spread(0xA0, 0xA6, (D, D), D),
    **dict(zip(range(0xA7, 0xC0), (((a,), b) for a, b in (
        (L, I), (F, I), (F, I), (D, I), (D, I), (I, L), (I, L), (F, L), (F, L), (D, L), (D, L), (I, F), (I, F), (L, F),
        (L, F), (D, F), (I, D), (I, D), (L, D), (L, D), (F, D), (F, I), (D, L), (I, F), (L, D))), strict=True)),
    **_spread(0xC0, 0xC1, (I,), I),
    **_spread(0xC2, 0xC4, (L,), L),
}  # fmt: skip
SATURATING = {
    0: ((F,), I),
    1: ((F,), I),
    2: ((D,), I),
    3: ((D,), I),
    4: ((F,), L),
    5: ((F,), L),
    6: ((D,), L),
    7: ((D,), L),
}
LOADS = dict(zip(range(0x28, 0x36), (I, L, F, D, I, I, I, I, L, L, L, L, L, L), strict=True))
STORES = dict(zip(range(0x36, 0x3F), (I, L, F, D, I, I, L, L, L), strict=True))
VECTORS = {
    14: ((V, V), V),
    **{15 + place: ((kind,), V) for place, kind in enumerate((I, I, I, L, F, D))},
    **_spread(35, 76, (V, V), V),
    77: ((V,), V),
    **_spread(78, 81, (V, V), V),
    82: ((V, V, V), V),
    83: ((V,), I),
    **_spread(94, 98, (V,), V),
    99: ((V,), I),
    **_spread(107, 109, (V, I), V),
    **_spread(110, 115, (V, V), V),
    **_spread(206, 206, (V, V), V),
    **_spread(228, 235, (V, V), V),
    **_spread(240, 247, (V, V), V),
    0x100: ((V, V), V),
}
LANES = {21: (I, 16), 24: (I, 8), 27: (I, 4), 29: (L, 2), 31: (F, 4), 33: (D, 2)}


@dataclass
class Generated:
    """A module, and how often each opcode is in its code (prefix << 16 | number behind a prefix)."""

    data: bytes
    counts: Counter[int]


def generate(seed: int, statements: int = 40, functions: int = 6) -> Generated:
    """Return a module that is valid under WebAssembly 2.0 with tail calls and relaxed SIMD."""
    return _Generator(random.Random(seed), statements, functions).module()


@dataclass
class _Generator:
    random: random.Random
    statements: int
    functions: int
    counts: Counter[int] = field(default_factory=Counter)

    def number(self, value: int, most: int = 5) -> bytes:
        """Unsigned LEB128, now and then wider than needed, as linkers write it."""
        groups = [value & 0x7F]
        while value := value >> 7:
            groups.append(value & 0x7F)
        while len(groups) < most and self.random.random() < 0.05:
            groups.append(0)
        return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])

    def signed(self, value: int) -> bytes:
        groups = []
        while True:
            groups.append(value & 0x7F)
            value >>= 7
            if value == (-1 if groups[-1] & 0x40 else 0):
                return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])

    def vector(self, items: list[bytes]) -> bytes:
        return self.number(len(items)) + b"".join(items)

    def section(self, identifier: int, content: bytes) -> bytes:
        return bytes([identifier]) + self.number(len(content)) + content

    def name(self, text: str) -> bytes:
        return self.number(len(text)) + text.encode()

    def custom(self) -> bytes:
        if self.random.random() < 0.7:
            return b""
        return self.section(0, self.name("note") + self.random.randbytes(self.random.randrange(40)))

    def module(self) -> Generated:
        chance = self.random
        imported = chance.random() < 0.5
        self.first_function = 1 if imported else 0
        self.first_global = 1 if imported else 0
        kinds = [b"\x60\0\0", b"\x60\2\x7f\x7e\1\x7d", b"\x60\0\2\x7f\x7e"]  # (), (i32 i64) -> f32, () -> (i32 i64)
        self.kinds = [chance.randrange(3) for _ in range(self.functions)]
        imports = [self.name("m") + self.name("f") + b"\0\0", self.name("m") + self.name("g") + b"\3\x7f\0"]
        bodies = [self.body(kind) for kind in self.kinds]
        parts = [
            self.section(1, self.vector(kinds)),
            self.section(2, self.vector(imports)) if imported else b"",
            self.section(3, self.vector([self.number(kind) for kind in self.kinds])),
            self.section(4, self.vector([b"\x70\0\4"])),
            self.section(5, self.vector([b"\1\1\4"])),
            self.section(6, self.vector([b"\x7f\1\x41\5\x0b", b"\x7e\1\x42\7\x0b"])),
            self.section(7, self.vector([self.name("memory") + b"\2\0"])) if chance.random() < 0.8 else b"",
            self.section(9, self.vector([b"\0\x41\0\x0b" + self.vector([self.number(self.first_function)])])),
            self.section(12, self.number(1)),
            self.section(10, self.vector([self.number(len(body)) + body for body in bodies])),
            self.section(11, self.vector([b"\1" + self.vector([b"x", b"y"])])),
        ]
        data = b"\0asm\1\0\0\0" + b"".join(self.custom() + part for part in parts) + self.custom()
        return Generated(data, self.counts)

    def body(self, kind: int) -> bytes:
        parameters = 2 if kind == 1 else 0
        self.locals = {I: parameters, L: parameters + 1, F: parameters + 2, D: parameters + 3, V: parameters + 4}
        groups = self.vector([self.number(1) + bytes([TYPES[each]]) for each in self.locals])
        code = b"".join(self.statement(2) for _ in range(self.random.randrange(self.statements)))
        code += b"".join(map(self.push, ((), (F,), (I, L))[kind]))
        same = [place for place, other in enumerate(self.kinds) if other == kind == 0]
        if same and self.random.random() < 0.3:
            code += self.op(0x12) + self.number(self.first_function + self.random.choice(same))
        return groups + code + self.op(0x0B)

    def op(self, code: int) -> bytes:
        self.counts[code] += 1
        return bytes([code]) if code < 0x100 else bytes([code >> 16]) + self.prefixed(code & 0xFFFF)

    def prefixed(self, number: int) -> bytes:
        """The number behind a prefix, which compilers write as short as it can be."""
        return bytes([number]) if number < 128 else bytes([number & 0x7F | 0x80, number >> 7])

    def push(self, kind: str) -> bytes:
        chance = self.random
        if chance.random() < 0.4:
            return self.op(0x20) + self.number(self.locals[kind])
        if kind == I:
            return self.op(0x41) + self.signed(chance.choice((0, -1, chance.getrandbits(31), chance.randrange(200))))
        if kind == L:
            return self.op(0x42) + self.signed(chance.choice((0, -1, chance.getrandbits(63), -chance.getrandbits(60))))
        if kind == V:
            return self.op(0xFD000C) + chance.randbytes(16)
        return self.op(0x43 if kind == F else 0x44) + chance.randbytes(4 if kind == F else 8)

    def drop(self) -> bytes:
        return self.op(0x1A)

    def memory(self) -> bytes:
        return b"\0" + self.number(self.random.choice((0, 5, 300, 70_000)))

    def applied(self, code: int, takes: tuple[str, ...], immediates: bytes = b"") -> bytes:
        return b"".join(map(self.push, takes)) + self.op(code) + immediates

    def statement(self, depth: int) -> bytes:
        makers = [self.numeric, self.variable, self.load_or_store, self.bulk, self.vectors, self.calls, self.references]
        if depth:
            makers.append(lambda: self.control(depth))
        return self.random.choice(makers)()

    def numeric(self) -> bytes:
        chance = self.random
        if chance.random() < 0.2:
            code = chance.choice(list(SATURATING))
            return self.applied(0xFC0000 | code, SATURATING[code][0]) + self.drop()
        code = chance.choice(list(NUMERIC))
        return self.applied(code, NUMERIC[code][0]) + self.drop()

    def variable(self) -> bytes:
        kind = self.random.choice(list(TYPES))
        place = self.number(self.locals[kind])
        index = self.number(self.first_global + self.random.randrange(2))
        return self.random.choice(
            (
                lambda: self.push(kind) + self.op(0x21) + place,
                lambda: self.push(kind) + self.op(0x22) + place + self.drop(),
                lambda: self.op(0x23) + index + self.drop(),
                lambda: self.push(I) + self.op(0x24) + self.number(self.first_global),
                lambda: self.applied(0x1B, (I, I, I)) + self.drop(),
                lambda: self.applied(0x1C, (L, L, I), b"\1\x7e") + self.drop(),
                lambda: self.op(0x01),
            )
        )()

    def load_or_store(self) -> bytes:
        if self.random.random() < 0.5:
            code = self.random.choice(list(LOADS))
            return self.applied(code, (I,), self.memory()) + self.drop()
        code = self.random.choice(list(STORES))
        return self.applied(code, (I, STORES[code]), self.memory())

    def bulk(self) -> bytes:
        return self.random.choice(
            (
                lambda: self.applied(0xFC0008, (I, I, I), self.number(0) + b"\0"),
                lambda: self.op(0xFC0009) + self.number(0),
                lambda: self.applied(0xFC000A, (I, I, I), b"\0\0"),
                lambda: self.applied(0xFC000B, (I, I, I), b"\0"),
                lambda: self.applied(0xFC000C, (I, I, I), self.number(0) + self.number(0)),
                lambda: self.op(0xFC000D) + self.number(0),
                lambda: self.applied(0xFC000E, (I, I, I), self.number(0) + self.number(0)),
                lambda: self.op(0x3F) + b"\0" + self.drop(),
                lambda: self.applied(0x40, (I,), b"\0") + self.drop(),
            )
        )()

    def references(self) -> bytes:
        return self.random.choice(
            (
                lambda: self.op(0xD0) + b"\x70" + self.op(0xD1) + self.drop(),
                lambda: self.op(0xD2) + self.number(self.first_function) + self.drop(),
                lambda: self.applied(0x25, (I,), self.number(0)) + self.drop(),
                lambda: self.push(I) + self.op(0xD0) + b"\x70" + self.op(0x26) + self.number(0),
                lambda: self.op(0xFC0010) + self.number(0) + self.drop(),
                lambda: self.op(0xD0) + b"\x70" + self.push(I) + self.op(0xFC000F) + self.number(0) + self.drop(),
            )
        )()

    def vectors(self) -> bytes:
        chance = self.random
        shape = chance.randrange(5)
        if shape == 0:
            return self.applied(0xFD0000 | chance.choice((*range(11), 92, 93)), (I,), self.memory()) + self.drop()
        if shape == 1:
            return self.applied(0xFD000B, (I, V), self.memory())
        if shape == 2:
            code = chance.choice(list(LANES))
            return self.applied(0xFD0000 | code, (V,), bytes([chance.randrange(LANES[code][1])])) + self.drop()
        if shape == 3:
            lane = bytes([chance.randrange(2)])
            if chance.random() < 0.5:
                return self.applied(0xFD0000 | chance.randrange(84, 88), (I, V), self.memory() + lane) + self.drop()
            return self.applied(0xFD000D, (V, V), bytes(chance.randrange(32) for _ in range(16))) + self.drop()
        code = chance.choice(list(VECTORS))
        return self.applied(0xFD0000 | code, VECTORS[code][0]) + self.drop()

    def calls(self) -> bytes:
        target = self.random.randrange(len(self.kinds))
        kind = self.kinds[target]
        arguments = self.push(I) + self.push(L) if kind == 1 else b""
        results = b"".join(self.drop() for _ in range(kind))  # type 1 has one result, type 2 has two
        if self.random.random() < 0.5:
            return arguments + self.op(0x10) + self.number(self.first_function + target) + results
        return arguments + self.push(I) + self.op(0x11) + self.number(kind) + self.number(0) + results

    def control(self, depth: int) -> bytes:
        inner = b"".join(self.statement(depth - 1) for _ in range(self.random.randrange(4)))
        shape = self.random.randrange(5)
        if shape == 0:
            return self.op(0x02) + b"\x40" + inner + self.push(I) + self.op(0x0D) + self.number(0) + self.op(0x0B)
        if shape == 1:
            return self.op(0x03) + b"\x40" + inner + self.op(0x0B)
        if shape == 2:
            other = self.statement(depth - 1)
            return self.push(I) + self.op(0x04) + b"\x40" + inner + self.op(0x05) + other + self.op(0x0B)
        if shape == 3:
            labels = [self.number(0) for _ in range(self.random.choice((0, 1, 3, 200)))]
            table = self.push(I) + self.op(0x0E) + self.vector(labels) + self.number(0)
            return self.op(0x02) + b"\x40" + inner + table + self.op(0x0B)
        pair = self.push(I) + self.push(L)
        return self.op(0x02) + self.number(2) + inner + pair + self.op(0x0B) + self.drop() + self.drop()
