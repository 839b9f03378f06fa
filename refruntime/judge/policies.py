"""The arithmetics that an engine may have on purpose, each with neighbours that differ by rounding alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from refruntime.model.validated import ValidatedModel
from refruntime.numerics import F64, CompiledSeq32, Fast, Numerics
from refruntime.numerics.base import Array
from refruntime.numerics.ggml32 import ORDERS, Ggml32, Reordered, Switches, Turned
from refruntime.numerics.ggml32.activations import as_half
from refruntime.numerics.ggml32.blocks import FORMS
from refruntime.numerics.ggml32.flash import TILE
from refruntime.numerics.ggml32.reordered import Requantised, moved_by_units
from refruntime.numerics.ggml32.turned import rounded_otherwise

Make = Callable[[], Numerics]

PLAIN: Final = "float32 or better"
QUANTISED: Final = "inputs of products quantised as ggml does"
KEPT: Final = "keys and values in"
WIDE: Final = "queries in f32"
"""Keys and values alone are rounded, as in WebAssembly builds of llama.cpp; others round queries and weights too."""
FLASH: Final = "flash attention"
ROUNDED: Final = "inputs of products rounded to the type of the weights, as ggml does"


@dataclass(frozen=True)
class Policy:
    """An arithmetic: `name` as `--numerics` takes it or near to that, `traits` in words, none for plain float32.

    `neighbours` are the same arithmetic with sums in other orders; how far they lie apart is what rounding explains.
    `accidents` are the same with inputs rounded to the other side at some places, as rounding may have it;
    `requantised` with inputs quantised by another formula, which turns few over, those that real engines do. `least`
    tokens at once are needed for it.
    """

    name: str
    traits: tuple[str, ...]
    make: Make
    neighbours: tuple[Make, ...]
    accidents: tuple[Make, ...] = ()
    least: int = 1
    requantised: tuple[Make, ...] = ()

    @property
    def family(self) -> str:
        """Return what arithmetics have in common that round the same inputs of products, or none; else the name."""
        if not self.traits:
            return PLAIN
        return self.traits[0] if self.traits[0] in (QUANTISED, ROUNDED) else self.name

    @property
    def says(self) -> str:
        """Return the traits as one phrase."""
        return ", ".join(self.traits) or PLAIN


class _KeptF64(F64):
    def kept(self, x: Array) -> Array:
        return as_half(x.astype(np.float32)).astype(np.float64)


class _TurnedF64(F64):
    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def kept(self, x: Array) -> Array:
        flat = x.reshape(len(x), -1)
        moved = rounded_otherwise(flat, as_half(flat.astype(np.float32)).astype(np.float64), self._random)
        return as_half(moved.astype(np.float32)).astype(np.float64).reshape(x.shape)


class _KeptSeq32(CompiledSeq32):
    def kept(self, x: Array) -> Array:
        return as_half(x)


class _KeptFast(Fast):
    def kept(self, x: Array) -> Array:
        return as_half(x)


class _MovedFast(Fast):
    """Float32 with products and powers of e up to one unit in the last place elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self._random = np.random.default_rng(2)

    def project(self, matrix: Any, x: Array) -> Array:
        return moved_by_units(super().project(matrix, x), self._random)

    def exp(self, x: Array) -> Array:
        return moved_by_units(super().exp(x), self._random)


def policies(model: ValidatedModel) -> Iterator[Policy]:
    """Yield what can be told apart on a model, the plainest first."""
    yield Policy("f64", (), F64, (CompiledSeq32, Fast, _MovedFast))
    yield Policy("seq32", (), CompiledSeq32, (F64, Fast))
    yield Policy(
        "f64 with keys and values in f16", (f"{KEPT} f16", WIDE), _KeptF64, (_KeptSeq32, _KeptFast), (_TurnedF64,)
    )
    stored = {tensor.type_name for tensor in model.tensors.values() if len(tensor.shape) > 1}
    trait: tuple[str, ...] = ()
    if model.container == "gguf" and stored & FORMS.keys():
        trait = (QUANTISED,)
    elif stored & {"f16", "bf16"}:
        trait = (ROUNDED,)
    for switches, traits in _switches(model):
        yield _ggml(switches, (*trait, *traits))
        if switches.kv == "f16" and switches.flash != "tiles" and switches.gelu == "f16":
            yield _ggml(switches, (*trait, *traits, WIDE), halves_queries=False)


def _switches(model: ValidatedModel) -> Iterator[tuple[Switches, tuple[str, ...]]]:
    yield Switches(), ()
    yield Switches(kv="f16"), (f"{KEPT} f16",)
    yield Switches(kv="f16", flash="on"), (f"{KEPT} f16", FLASH)
    yield Switches(kv="f16", flash="tiles"), (f"{KEPT} f16", f"{FLASH} in tiles")
    if model.hyperparameters.head_dim % 32 == 0:
        yield Switches(kv="q8_0"), (f"{KEPT} q8_0",)
    if model.architecture.activation == "gelu tanh":
        yield Switches(gelu="f32"), ("GELU without its table",)
        yield Switches(kv="f16", gelu="f32"), (f"{KEPT} f16", "GELU without its table")


def _ggml(switches: Switches, traits: tuple[str, ...], halves_queries: bool = True) -> Policy:
    def plain() -> Numerics:
        return _with(Ggml32(switches))

    def reordered(order: str, seed: int) -> Make:
        return lambda: _with(Reordered(switches, order, seed))

    def turned() -> Numerics:
        return _with(Turned(switches))

    def _with(numerics: Ggml32) -> Ggml32:
        numerics.halves_queries = halves_queries
        return numerics

    def requantised() -> Numerics:
        return _with(Requantised(switches, ORDERS[0], len(ORDERS)))

    name = str(switches) if halves_queries else f"{switches} with {WIDE}"
    neighbours = tuple(reordered(order, seed) for seed, order in enumerate(ORDERS))
    least = TILE if switches.flash == "tiles" else 1
    others = (requantised,) if QUANTISED in traits else ()
    return Policy(name, traits, plain, neighbours, (turned,) if traits else (), least, others)
