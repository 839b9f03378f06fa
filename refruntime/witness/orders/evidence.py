"""One generation of a build, its memory written down, and the tensors of the oracle under any variation."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.engines.base import Limits
from refruntime.engines.wasm.pauses import PausableInstance, PausableModule
from refruntime.model.binding import bind_model
from refruntime.model.forward import Transformer
from refruntime.numerics.varied import PLAIN, Variation, Varied
from refruntime.trace import Event, TensorEvent
from refruntime.witness.build import EXPORT, CannotLook
from refruntime.witness.locate import bits
from refruntime.witness.recording import WatchedCall, changed_pages, record

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

INTERVAL: Final = 200
"""Units of fuel between two pauses: attention scores, which live shortest, are there for longer."""

MOST_PAUSES: Final = 600_000

AT_EACH_END: Final = 4
"""So many of the first and of the last positions are watched closely."""

SELDOM: Final = 6
"""The positions between are watched so much less; it is enough for norms, of which each tells but one number."""

SHORTEST: Final = 3
"""Rows with fewer numbers are no evidence."""


class OrderEvidence:
    """What a build did while it generated one token after a prompt; `fit` makes the model one of the build's (ID-2).

    ContractError when the oracle refuses the model; CannotLook when the build does; EngineError as `PausableInstance`.
    """

    def __init__(
        self,
        module: bytes,
        artifact: bytes,
        prompt: bytes,
        profile: Profile | None = None,
        limits: Limits | None = None,
        fit: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        profile = profile or Profile()
        bound = bind_model(artifact, profile, Varied(PLAIN, 1, "numpy"))
        self.transformer: Transformer = bound.transformer
        self.ids = bound.tokenizer.encode(prompt, add_special=True)
        ends = bound.tokenizer.encode(b"", add_special=True)
        if len(ends) > 1 and self.ids[-1] == ends[-1]:  # what ends a text is not forwarded (GEN-2)
            self.ids = self.ids[:-1]
        self._artifact, self._prompt = fit(artifact), prompt
        call = WatchedCall(PausableModule(module, limits or Limits()), self._perform, EXPORT)
        fuel = call.run().fuel_of_watched
        interval = max(INTERVAL, fuel // MOST_PAUSES)
        pages = changed_pages(call, 0, fuel)
        count = len(self.ids)
        self.first = range(min(AT_EACH_END, count))
        self.last = range(max(AT_EACH_END, count - AT_EACH_END), count)
        held = []
        for part, often in ((self.first, 1), (range(self.first.stop, self.last.start), SELDOM), (self.last, 1)):
            if part:  # work is spread over positions nearly evenly; one more on either side is room enough
                begin, end = fuel * max(0, part.start - 1) // count, min(fuel, fuel * (part.stop + 1) // count)
                log = record(call, begin, end, often * interval, pages)
                held += [log.first, log.value]
        self._values = np.unique(np.concatenate(held))

    def _perform(self, instance: PausableInstance) -> None:
        client = Client(instance)
        for what, status in (
            ("load_model", client.load_model(self._artifact)),
            ("set_sampling_config", client.set_sampling_config(0.0, 1, 1.0, 1)),
            ("generate", client.generate(self._prompt, 1)),
        ):
            if status != Status.Ok:
                raise CannotLook(f"{what} of the build gave status {status}: {client.result()!r}")

    # What a variation gives ------------------------------------------------------------------------------------------

    def rows(
        self, variation: Variation, names: Sequence[str], only: Sequence[int] | None = None
    ) -> list[tuple[int, Float32]]:
        """Compute the rows [n] of named tensors at the positions that were watched, or at some: each with its position.

        Tensors that do not exist are left out; the work ends with the last of them.
        """
        numerics = Varied(variation, 1, "numpy")
        transformer = copy.copy(self.transformer)
        transformer.numerics = numerics
        dimensions, weights = transformer.hyperparameters, transformer.weights
        with np.errstate(all="ignore"):
            plain = weights.rotary
            if variation.changes().keys() & {"power", "frequency"} and plain.stretch is None:
                size = 2 * plain.frequencies.shape[0]
                rotary = numerics.rotary(dimensions.rope.theta, size, plain.factors, None)
                transformer.weights = replace(weights, rotary=rotary, window_rotary=rotary)
            lasting = all(name.endswith("_norm") for name in names)
            positions = [*range(len(self.ids))] if lasting else [*self.first, *self.last]
            positions = positions if only is None else sorted(only)
            listener = _Listener(frozenset(names), positions)
            with contextlib.suppress(_Done):
                transformer.forward(self.ids[: positions[-1] + 1], transformer.new_cache(), tracer=listener)
        return [each for name in names for each in listener.rows.get(name, ()) if len(each[1]) >= SHORTEST]

    # What is in memory -----------------------------------------------------------------------------------------------

    def known(self, row: Float32) -> Mask:
        """Say which numbers of a row [n] were anywhere in memory at any time."""
        wanted = bits(row)
        place = np.minimum(np.searchsorted(self._values, wanted), len(self._values) - 1)
        return np.asarray(self._values[place] == wanted)


class _Done(Exception):
    """All that was asked for has been seen."""


@dataclass
class _Listener:
    names: frozenset[str]
    positions: list[int]

    def __post_init__(self) -> None:
        self.rows: dict[str, list[tuple[int, Float32]]] = {}

    def event(self, event: Event) -> None:
        """Take the rows of a tensor that was asked for."""
        if not isinstance(event, TensorEvent) or event.name not in self.names:
            return
        values: Any = np.asarray(event.values())
        if event.name.endswith(("attn.scores", "attn.weights")):  # [A, n, T]: the row of a position sees its own t
            rows = [(t, values[head, t, : t + 1]) for t in self.positions for head in range(values.shape[0])]
        else:
            rows = [(t, row) for t in self.positions for row in values[t].reshape(-1, values.shape[-1])]
        self.rows[event.name] = [(t, np.ascontiguousarray(row)) for t, row in rows]
        if len(self.rows) == len(self.names):
            raise _Done
