"""Ask whether a build reads a model from the host's transfer buffer, which may be freed after the load (MEM-9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from refruntime.cases.steps import Call, Load, Step, Write
from refruntime.differential.run import PairRun
from refruntime.identify.shortest import Shortener
from refruntime.memory import HostMisuse

KEPT_BUFFER: Final = (
    "answers are right while the host keeps the buffer of the model, and wrong when it is freed and used again"
)


def needs_the_buffer(run: PairRun, shortener: Shortener) -> bool:
    """Say whether a session that differs agrees where the host frees no transfer buffer of a model."""
    steps = tuple(each for index, step in enumerate(run.case.steps) for each in _kept(index, step, run))
    if steps == run.case.steps:
        return False
    try:
        kept = shortener.run(replace(run.case, name=run.case.name + "-buffer-kept", steps=steps))
    except HostMisuse:
        return False
    return kept.comparison.first is None and len(kept.build) == len(steps)


def _kept(index: int, step: Step, run: PairRun) -> Iterator[Step]:
    if not isinstance(step, Load):
        yield step
        return
    name, data = f"kept-{index}", run.case.models[step.model]
    yield Call("alloc", (len(data),), name)
    yield Write(name, data)
    yield Call("load_model", (name, len(data)))
