"""A hypothesis: one thing that a build may do differently, as data and one override of the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.model.binding import BoundModel
from refruntime.model.forward import Transformer
from refruntime.model.load import Buffer, validate_model
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import Numerics
from refruntime.runtime import Machine, Runtime
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import Tracer


@dataclass(frozen=True)
class Changes:
    """What is exchanged in the oracle; a part that is None stays as it is. One hypothesis changes one part.

    `artifact` changes the bytes of a model before they are validated, `model` what validation made of them. A changed
    `profile` is a whole profile. `machine` makes a varied machine, `runtime` is for what no machine decides.
    """

    profile: Profile | None = None
    numerics: Callable[[], Numerics] | None = None
    artifact: Callable[[bytes, Profile], bytes] | None = None
    model: Callable[[ValidatedModel], ValidatedModel] | None = None
    transformer: type[Transformer] | None = None
    tokenizer: Callable[[Tokenizer], Tokenizer] | None = None
    machine: Callable[[Profile], Machine] | None = None
    runtime: type[Runtime] | None = None
    abi: type[ExportedABI] | None = None


@dataclass(frozen=True)
class Hypothesis:
    """A possible cause of a divergence.

    `text` completes the sentence "the build differs if ..."; `rule` is the contract rule that it breaks. `option` is
    (profile key, value) where the change is a declared choice of the contract and no fault. `forwards` says that it
    shows only after a forward pass.
    """

    name: str
    family: str
    text: str
    rule: str
    changes: Changes = field(compare=False)
    option: tuple[str, Any] | None = None
    forwards: bool = False

    @property
    def changes_logits(self) -> bool:
        """Say whether it changes what a forward pass gives, and nothing behind that."""
        return self.forwards and self.changes.machine is None


def varied_engine(changes: Changes, oracle: Oracle, tracer: Tracer | None = None) -> ReferenceEngine:
    """Return a fresh engine that is the oracle with these changes."""
    profile = changes.profile or oracle.profile
    numerics = oracle.numerics if changes.numerics is None else changes.numerics()
    machine = changes.machine or Machine.fresh
    runtime = partial(changes.runtime or Runtime, bind=varied_binder(changes, oracle), machine=machine)
    abi_type = changes.abi or ExportedABI
    return ReferenceEngine(abi_type(profile, numerics=numerics, tracer=tracer, runtime_type=runtime))


def varied_binder(changes: Changes, oracle: Oracle) -> Callable[[Buffer, Profile, Numerics], BoundModel]:
    """Return the binder of a varied oracle; it shares models with the oracle unless the change concerns them."""
    own = changes.numerics or changes.model or changes.transformer or changes.artifact

    def bind(data: Buffer, profile: Profile, numerics: Numerics) -> BoundModel:
        if own is None:
            bound = oracle.bind(data, profile, numerics)
        else:
            if changes.artifact is not None:
                data = changes.artifact(bytes(data), profile)
            model = validate_model(data, profile)
            if changes.model is not None:
                model = changes.model(model)
            transformer = (changes.transformer or Transformer)(model, profile, numerics)
            bound = BoundModel(transformer, model.tokenizer, model.quantization)
        return bound if changes.tokenizer is None else bound._replace(tokenizer=changes.tokenizer(bound.tokenizer))

    return bind
