"""A topic collects its faults in the order in which they are written; each carries its row beside it.

    FAULTS = Topic("state")

    @FAULTS.fault("reset-does-nothing", "reset_context does nothing", "ST-5", as_machine)
    class _ResetDoesNothing(Machine): ...

What may be varied is public where it is defined: the transitions of `Machine`, the operations of `Runtime` and of the
exports, the formulas of a numeric profile, the steps of `Transformer`, stages of the sampler, tables of tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from refruntime.exports import ExportedABI
from refruntime.hypotheses.hypothesis import Changes, Hypothesis
from refruntime.model.forward import Transformer
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import Numerics
from refruntime.runtime import Machine, Runtime
from refruntime.sampling import STAGES
from refruntime.tokenizers.base import Tokenizer

T = TypeVar("T")


class Topic:
    """The faults of one module, the likely ones first."""

    def __init__(self, family: str, *, forwards: bool = False) -> None:
        self._family, self._forwards = family, forwards
        self._faults: list[Hypothesis] = []

    def __iter__(self) -> Iterator[Hypothesis]:
        """Yield the faults in the order in which they are written."""
        return iter(self._faults)

    def add(self, name: str, text: str, rule: str, changes: Changes, family: str = "") -> None:
        """Add a fault; `text` completes the sentence "the build differs if ..."."""
        self._faults.append(Hypothesis(name, family or self._family, text, rule, changes, forwards=self._forwards))

    def fault(
        self, name: str, text: str, rule: str, changes: Callable[[T], Changes], family: str = ""
    ) -> Callable[[T], T]:
        """Say what the decorated class or function is; `changes` puts it into the oracle."""

        def kept(varied: T) -> T:
            self.add(name, text, rule, changes(varied), family)
            return varied

        return kept


def as_machine(machine: type[Machine]) -> Changes:
    """Vary transitions."""
    return Changes(machine=machine.fresh)


def as_runtime(runtime: type[Runtime]) -> Changes:
    """Vary what no machine decides."""
    return Changes(runtime=runtime)


def as_abi(abi: type[ExportedABI]) -> Changes:
    """Vary an export."""
    return Changes(abi=abi)


def as_numerics(numerics: Callable[[], Numerics]) -> Changes:
    """Vary formulas."""
    return Changes(numerics=numerics)


def as_transformer(transformer: type[Transformer]) -> Changes:
    """Vary steps of the forward pass."""
    return Changes(transformer=transformer)


def as_model(change: Callable[[ValidatedModel], ValidatedModel]) -> Changes:
    """Vary the tensors of a validated model."""
    return Changes(model=change)


def as_tokenizer(change: Callable[[Tokenizer], Any]) -> Changes:
    """Vary the tokenizer of a model."""
    return Changes(tokenizer=change)


def as_stage(name: str) -> Callable[[Callable[..., Any]], Changes]:
    """Vary one stage of the sampler or its generator."""
    return lambda function: Changes(machine=partial(Machine.fresh, stages=STAGES._replace(**{name: function})))
