"""The part of `refruntime run` that draws by the sampler chain of llama.cpp instead of the contract's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click
import numpy as np

from refruntime.api import Generation, Model
from refruntime.commands.generating import Follower
from refruntime.contract.status import Status
from refruntime.samplers.chain import SamplerError
from refruntime.samplers.llama_cpp_chain import KINDS, LlamaSettings
from refruntime.samplers.llama_cpp_draws import LlamaSampler
from refruntime.trace import TokensEvent

CHAINS_OF_RUN: Final = ("llama.cpp",)


def read_settings(assignments: Sequence[str]) -> LlamaSettings:
    """Return the settings of `NAME=VALUE`s; exit code 2 for a name or a value that is none."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        if name not in KINDS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(KINDS)}", param_hint="--set")
        try:
            values[name] = KINDS[name](value)
        except ValueError as error:
            kind = "a whole number" if KINDS[name] is int else "a number"
            raise click.BadParameter(f"{name}={value}: expected {kind}", param_hint="--set") from error
    return LlamaSettings(**values)


def generate_by_chain(
    model: Model, source: str | bytes | list[int], most: int, settings: LlamaSettings, seed: int, follower: Follower
) -> Generation:
    """Generate at most so many tokens; the prompt counts for penalties. Statuses as of `Model.logits`.

    Exit code 1 where logits have no order.
    """
    ids = model.prompt_ids(source)
    follower.event(TokensEvent("prompt", tuple(ids)))
    cache, sampler = model.transformer.new_cache(), LlamaSampler(settings, seed, ids)
    generated: list[int] = []
    logits = model.transformer.forward(ids, cache)
    while len(generated) < most:
        try:
            token = sampler.draw(logits[0].astype(np.float32))
        except SamplerError as error:
            raise click.ClickException(str(error)) from error
        follower.token(token)
        if token in model.tokenizer.stop_ids:
            break
        generated.append(token)
        if cache.length >= cache.capacity or len(generated) == most:
            break
        logits = model.transformer.forward([token], cache)
    return Generation(Status.Ok, None, tuple(ids), tuple(generated), model.detokenize(generated))
