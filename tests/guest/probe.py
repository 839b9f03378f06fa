"""Compare the tensors that a guest built with a probe recorded with those of the oracle: which one is first wrong?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.api import open_model
from refruntime.trace import Event, TensorEvent
from tests.guest.host import Host

BY_HEAD = ("attn.scores", "attn.weights")
"""Tensors that are recorded head by head: [A, n, T] in the oracle's trace."""


@dataclass
class Tensors:
    """A tracer that keeps the last array of every name."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent):
            self.arrays[event.name] = np.array(event.values())


@dataclass(frozen=True)
class Difference:
    """A wrong tensor: what was expected and found at one position, for one head where it has heads."""

    tensor: str
    position: int
    head: int | None
    expected: NDArray[np.float32]
    found: NDArray[np.float32]


def record_of(module: Path, model: bytes, prompt: bytes) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Prefill a prompt in a build with a probe: name and values of every tensor, in the order of their making."""
    host = Host(module)
    if host.load(model) or host.generate(prompt, 1) not in (0, 3):  # the one token may be half a character
        raise RuntimeError(f"{module.name}: {host.result().decode()}")
    record = host.read("probe_ptr", "probe_len")
    at = 0
    while at < len(record):
        end = record.index(b"\0", at)
        count = int.from_bytes(record[end + 1 : end + 5], "little")
        yield record[at:end].decode(), np.frombuffer(record, "<f4", count, end + 5)
        at = end + 5 + 4 * count


def differences(module: Path, model: bytes, prompt: bytes) -> Iterator[Difference | None]:
    """Compare tensor by tensor, bit by bit: a difference or None for each, in the order of their making."""
    oracle = open_model(model)
    ids = oracle.prompt_ids(prompt)
    trace = Tensors()
    logits = oracle.logits(ids, trace)
    trace.arrays["logits"] = logits
    seen: Counter[str] = Counter()
    for name, found in record_of(module, model, prompt):
        expected = trace.arrays[name]
        heads = len(expected) if name.endswith(BY_HEAD) else 1
        position, head = divmod(seen[name], heads)
        seen[name] += 1
        if position >= len(ids):  # the one token that was sampled
            return
        row = expected[head, position, : position + 1] if heads > 1 else expected[position].reshape(-1)
        if np.array_equal(row.view(np.uint32), found.view(np.uint32)):
            yield None
        else:
            yield Difference(name, position, head if heads > 1 else None, row, found)
