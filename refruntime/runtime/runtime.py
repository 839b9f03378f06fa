"""The runtime behind the lock: one machine, the resident model with its KV cache, and what was computed ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.errors import ContractError, GenerationFailed
from refruntime.model.binding import Binder, bind_model
from refruntime.model.forward import Transformer
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.model.kv_cache import KVCache, scratch_bytes
from refruntime.model.load import Buffer
from refruntime.model.lookahead import Lookahead
from refruntime.numerics import CompiledSeq32, Numerics
from refruntime.runtime.machine import Machine
from refruntime.runtime.parts import Resident, State
from refruntime.sampling import SamplingConfig
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import ChoiceEvent, Event, LoadEvent, TokensEvent, Tracer
from refruntime.utf8 import checked_prompt


@dataclass
class LoadedModel:
    """A resident model with its KV cache; both live and die together (ST-3, ST-6)."""

    transformer: Transformer
    tokenizer: Tokenizer
    quantization: str
    cache: KVCache
    lookahead: Lookahead

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Return the dimensions of the model."""
        return self.transformer.hyperparameters


class Runtime:
    """Answer status operations: `machine` decides what they do, this forwards what it asks for.

    Methods raise leaves of `ContractError`; `fail` and `succeed` record the outcome. No transfer limit applies here:
    that one belongs to the ABI (MEM-2). `bind` may remember models between runtimes; `machine` makes the machine to
    begin with, which may be a variation.
    """

    def __init__(
        self,
        profile: Profile | None = None,
        numerics: Numerics | None = None,
        tracer: Tracer | None = None,
        *,
        bind: Binder = bind_model,
        machine: Callable[[Profile], Machine] = Machine.fresh,
    ) -> None:
        self.profile = profile if profile is not None else Profile()
        self.numerics: Numerics = numerics if numerics is not None else CompiledSeq32()
        self.tracer = tracer
        self.machine = machine(self.profile)
        self.model: LoadedModel | None = None
        self._logits: NDArray[np.float32] | None = None  # [V], those of the last position that was forwarded
        self._bind = bind

    # What the exports show ---------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Return the state that the outcome of the last call and the model leave (contract section 4)."""
        return self.machine.state

    @property
    def result(self) -> bytes:
        """Return the result text."""
        return self.machine.result

    @property
    def result_version(self) -> int:
        """Return a number that changes with every result."""
        return self.machine.result_version

    def diagnostics(self) -> bytes:
        """Return the diagnostics document of this moment (DG-1 .. DG-8)."""
        return self.machine.diagnostics()

    def succeed(self) -> None:
        """Record a successful status call (ERR-5)."""
        self.machine = self.machine.succeed()

    def fail(self, error: ContractError) -> None:
        """Record a failed status call (ERR-3, ERR-4)."""
        self.machine = self.machine.fail(error)

    # Status operations -------------------------------------------------------------------------------------------

    def init_runtime(self) -> None:
        """Create the runtime; on a live one a no-op or a fresh start, as the profile says (ST-1, ST-2)."""
        self.machine = self.machine.init()
        if self.machine.resident is None:
            self._release()

    def load_model(self, data: Buffer) -> None:
        """Install a model as one transaction; a failure drops any resident model (ST-3, ST-4). Statuses 4 to 10."""
        self._release()
        self.machine = self.machine.unload()
        self._tell(LoadEvent(data))
        bound = self._bind(data, self.profile, self.numerics)
        cache = bound.transformer.new_cache()
        lookahead = Lookahead(bound.transformer, cache)
        self.model = LoadedModel(bound.transformer, bound.tokenizer, bound.quantization, cache, lookahead)
        scratch = scratch_bytes(bound.transformer.hyperparameters)
        self.machine = self.machine.load(Resident(bound.tokenizer, cache.capacity, bound.quantization, scratch))

    def set_sampling_config(self, temperature: float, top_k: int, top_p: float, seed: int) -> None:
        """Replace the sampling configuration (SC-1 .. SC-3); a bad value gives InvalidLength and changes nothing."""
        self.machine = self.machine.configure(SamplingConfig.validated(temperature, top_k, top_p, seed))

    def generate(self, prompt: bytes, max_new_tokens: int) -> None:
        """Generate from a prompt (GEN-1 .. GEN-11): statuses 2, 3, 11, 12, 13, 14."""
        text = checked_prompt(prompt)
        self._generate(lambda machine: machine.encode(text), max_new_tokens)

    def generate_from_ids(self, ids: Sequence[int], max_new_tokens: int) -> None:
        """Generate from ids below V, taken as they are, as `generate` does from encoded text: statuses 2, 3, 11 to 14.

        No export does this; it is for comparisons with software that shares no tokenizer.
        """
        self._generate(lambda machine: machine.checked(ids), max_new_tokens)

    def _generate(self, prompt_of: Callable[[Machine], list[int]], max_new_tokens: int) -> None:
        self.machine = self.machine.accept(max_new_tokens)
        try:
            self.prefill(prompt_of(self.machine))
            while not self.machine.complete:
                self._take()
            self._become(self.machine.finish())
        except ContractError:
            self.machine = self.machine.discard()
            raise

    def generate_next_token(self) -> None:
        """Continue by one token with the runtime-owned generator (NT-1 .. NT-7): statuses 2, 3, 11, 12, 13, 14."""
        self.machine = self.machine.proceed()
        try:
            self._take()
            self._become(self.machine.finish())
        except ContractError:
            self.machine = self.machine.discard()
            raise

    def reset_context(self) -> None:
        """Clear the context and keep model, buffers and sampling configuration (ST-5)."""
        self.machine = self.machine.reset()

    def free_model(self) -> None:
        """Release the model with everything that depends on it; the sampling configuration stays (ST-6)."""
        self._release()
        self.machine = self.machine.free()

    def _release(self) -> None:
        self.model, self._logits = None, None

    # Parts of a generation ---------------------------------------------------------------------------------------

    def resident(self) -> LoadedModel:
        """Return the resident model: status 12 without one (ST-6)."""
        _ = self.machine.model
        if self.model is None:
            raise RuntimeError("the machine knows a model that is not there")
        return self.model

    def expect(self, tokens: Sequence[int]) -> None:
        """Guess the tokens that follow the next prompt; a right guess saves time, none changes an answer (GEN-4)."""
        if self.model is not None:
            self.model.lookahead.expect(tokens)

    def prefill(self, ids: Sequence[int]) -> None:
        """Forward the prompt ids; positions go through together, with the bits of one after the other (GEN-4)."""
        self._become(self.machine.begin(ids), TokensEvent("prompt", tuple(ids)))

    def _take(self) -> None:
        """Sample a token and forward it unless it stops (GEN-5)."""
        if self._logits is None:
            raise GenerationFailed("there are no logits to sample from", rule="NT-2")
        machine = self.machine.take(self._logits)
        if self.tracer is None:  # nobody listens, and the ids of a long context take time
            self._become(machine)
            return
        ids, taken = (*self.machine.prompt_ids, *self.machine.generated_ids), machine.last
        self._become(machine, ChoiceEvent(taken.position, taken.choice, taken.logits, taken.sampling, ids))

    def _become(self, machine: Machine, *events: Event) -> None:
        """Take over what a transition gave, tell of it, and forward what it left unread."""
        self.machine = machine
        for event in events:
            self._tell(event)
        if machine.unread:
            model = self.resident()
            model.cache.length = machine.kv_length - len(machine.unread)
            logits: NDArray[Any] = model.lookahead.forward(machine.unread, self.tracer)  # [V]
            with np.errstate(over="ignore"):
                self._logits = logits.astype(np.float32)
            self.machine = machine.read()

    def _tell(self, event: Event) -> None:
        if self.tracer is not None:
            self.tracer.event(event)
