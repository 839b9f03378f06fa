"""The 13 exports over a linear memory: raw numbers in, ints out (contract sections 1 to 3)."""

from __future__ import annotations

from collections.abc import Callable

from refruntime.contract.limits import MAX_TRANSFER_BYTES
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.errors import ContractError, InvalidLength, NullPointer
from refruntime.host_numbers import Number, to_f32, to_u32, to_u64
from refruntime.memory import LinearMemory, RuntimeBuffer, Trap
from refruntime.numerics import Numerics
from refruntime.runtime import Runtime, State
from refruntime.trace import Tracer

RuntimeFactory = Callable[[Profile, Numerics | None, Tracer | None], Runtime]
"""The class `Runtime`, or anything else that makes one."""


class ExportedABI:
    """Answer the 13 exports as the module does; every integer result has its unsigned meaning (ABI-2).

    `profile` chooses the options of declared rules, `numerics` the numeric profile (default seq32), `tracer` receives
    events, `runtime_type` may be a variation of the runtime (an experiment, never the oracle). With `strict` the ledger
    reports undefined host behaviour as `HostMisuse` (MEM-4). A trap raises `Trap` and leaves the lock unavailable
    (MEM-6).

    Beyond the exports: `memory` is what a wasm host sees; `read` and `write` are checked host accesses; `state`,
    `last_failure` and `runtime` are for people and tools.
    """

    def __init__(
        self,
        profile: Profile | None = None,
        *,
        numerics: Numerics | None = None,
        strict: bool = True,
        tracer: Tracer | None = None,
        runtime_type: RuntimeFactory = Runtime,
    ) -> None:
        self.profile = profile if profile is not None else Profile()
        self.last_failure: ContractError | None = None
        self._numerics = numerics
        self._runtime_type = runtime_type
        self._tracer = tracer
        self._memory = LinearMemory(strict=strict)
        self._runtime: Runtime | None = None
        self._lock_unavailable = False
        self._result = RuntimeBuffer(self._memory)
        self._result_version = -1
        self._diagnostics = RuntimeBuffer(self._memory)

    def __repr__(self) -> str:
        """Say in one line where the state machine stands, which model is resident, and what the memory holds."""
        runtime, live = self._runtime, self._memory.live
        parts = [self.state.value]
        if runtime is not None and runtime.model is not None:
            sizes = runtime.model.hyperparameters
            parts.append(f"{sizes.architecture} {runtime.model.quantization}, {sizes.vocab_size} tokens")
            parts.append(f"{runtime.machine.kv_length} of {sizes.max_context} positions")
        if self._lock_unavailable:
            parts.append("trapped: every status is 13 (MEM-6)")
        parts.append(f"{len(live)} allocations in {self._memory.size} bytes of memory")
        return f"<ExportedABI {'; '.join(parts)}>"

    # What a host sees besides the functions ------------------------------------------------------------------------

    @property
    def memory(self) -> memoryview:
        """Return the exported memory as a view; it becomes stale when memory grows (MEM-5)."""
        return self._memory.view

    @property
    def linear_memory(self) -> LinearMemory:
        """Return the memory with its allocator and ledger."""
        return self._memory

    def read(self, pointer: Number, length: Number) -> bytes:
        """Copy bytes out as a careful host does; HostMisuse outside live allocations when strict (MEM-4)."""
        return self._memory.read(to_u32(pointer), to_u32(length))

    def write(self, pointer: Number, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes in as a careful host does; HostMisuse outside live allocations when strict (MEM-4)."""
        self._memory.write(to_u32(pointer), data)

    @property
    def runtime(self) -> Runtime | None:
        """Return the runtime behind the lock, None before the first export created it (ST-1)."""
        return self._runtime

    @property
    def state(self) -> State:
        """Return the state of the published state machine."""
        return State.UNINITIALIZED if self._runtime is None else self._runtime.state

    # The 13 exports ------------------------------------------------------------------------------------------------

    def alloc(self, length: Number) -> int:
        """Return a writable region, or 0 for length 0 or > 134217728 (MEM-1). Takes no lock."""
        size = to_u32(length)
        return self._memory.allocate(size) if 1 <= size <= MAX_TRANSFER_BYTES else 0

    def dealloc(self, pointer: Number, length: Number) -> None:
        """Free a region of `alloc`, given the original pointer and the exact length (MEM-3). Takes no lock."""
        self._memory.free(to_u32(pointer), to_u32(length))

    def init_runtime(self) -> int:
        """Create the runtime if there is none (ST-1, ST-2)."""
        return self._status_call(lambda runtime: runtime.init_runtime())

    def load_model(self, pointer: Number, length: Number) -> int:
        """Load an SLM1 or GGUF artifact from memory (ST-3, ST-4): statuses 0, 1, 2, 4 to 10, 13."""
        start, size = to_u32(pointer), to_u32(length)
        return self._status_call(lambda runtime: runtime.load_model(self._model_bytes(runtime, start, size)))

    def set_sampling_config(self, temperature: Number, top_k: Number, top_p: Number, seed: Number) -> int:
        """Replace the sampling configuration (SC-1 .. SC-3): statuses 0, 2, 13."""
        values = to_f32(temperature), to_u32(top_k), to_f32(top_p), to_u64(seed)
        return self._status_call(
            lambda runtime: runtime.set_sampling_config(float(values[0]), values[1], float(values[2]), values[3])
        )

    def generate(self, pointer: Number, length: Number, max_new_tokens: Number) -> int:
        """Generate text from a UTF-8 prompt in memory (GEN-1 .. GEN-11): statuses 0 to 3, 11 to 14."""
        start, size, count = to_u32(pointer), to_u32(length), to_u32(max_new_tokens)
        return self._status_call(lambda runtime: runtime.generate(bytes(self._slice(start, size)), count))

    def generate_next_token(self) -> int:
        """Continue by one token (NT-1 .. NT-7): statuses 0, 3, 11 to 14."""
        return self._status_call(lambda runtime: runtime.generate_next_token())

    def last_result_ptr(self) -> int:
        """Return the pointer of the result text, 0 when the lock is unavailable (MEM-6, MEM-7)."""
        return self._getter(lambda: self._result.pointer)

    def last_result_len(self) -> int:
        """Return the length of the result text in bytes, 0 when the lock is unavailable (MEM-6, MEM-7)."""
        return self._getter(lambda: self._result.length)

    def get_diagnostics_ptr(self) -> int:
        """Return the pointer of the diagnostics document, 0 when the lock is unavailable (DG-2, MEM-6)."""
        return self._getter(lambda: self._diagnostics.pointer)

    def get_diagnostics_len(self) -> int:
        """Return the length of the diagnostics document in bytes, 0 when the lock is unavailable (DG-2, MEM-6)."""
        return self._getter(lambda: self._diagnostics.length)

    def reset_context(self) -> int:
        """Clear the context, keep model and configuration (ST-5): status 0 or 13."""
        return self._status_call(lambda runtime: runtime.reset_context())

    def free_model(self) -> int:
        """Release the model (ST-6): status 0 or 13."""
        return self._status_call(lambda runtime: runtime.free_model())

    # Behind the exports --------------------------------------------------------------------------------------------

    def _status_call(self, operation: Callable[[Runtime], None]) -> int:
        """Run one operation under the lock and record its outcome (ERR-2 .. ERR-5, DG-2)."""
        if self._lock_unavailable:
            return int(Status.GenerationFailed)
        runtime = self._live_runtime()
        self.last_failure = None
        try:
            operation(runtime)
            runtime.succeed()
        except ContractError as error:
            self.last_failure = error
            runtime.fail(error)
        except Trap:
            self._lock_unavailable = True
            raise
        self._publish(runtime)
        return int(Status.Ok if self.last_failure is None else self.last_failure.status)

    def _getter(self, value: Callable[[], int]) -> int:
        if self._lock_unavailable:
            return 0
        self._live_runtime()
        return value()

    def _live_runtime(self) -> Runtime:
        """Return the runtime, created on first use (ST-1); its diagnostics are those of a fresh runtime until then."""
        if self._runtime is None:
            self._runtime = self._runtime_type(self.profile, self._numerics, self._tracer)
            self._publish(self._runtime)
        return self._runtime

    def _publish(self, runtime: Runtime) -> None:
        """Rebuild the diagnostics (DG-2); store the result when it changed."""
        try:
            self._diagnostics.store(runtime.diagnostics())
            if runtime.result_version != self._result_version:
                self._result.store(runtime.result)
                self._result_version = runtime.result_version
        except Trap:
            self._lock_unavailable = True
            raise

    def _model_bytes(self, runtime: Runtime, pointer: int, length: int) -> memoryview | bytes:
        """Return the bytes of a model (MEM-2), copied where the weights may stay in them (MEM-9)."""
        data = self._slice(pointer, length)
        return data if runtime.numerics.resident == "float32" else bytes(data)

    def _slice(self, pointer: int, length: int) -> memoryview:
        """Return host bytes (MEM-2): pointer 0 gives 1, length 0 or too long gives 2, past the end traps (MEM-6)."""
        if pointer == 0:
            raise NullPointer("the pointer is zero", rule="MEM-2", field="pointer", expected="non-zero", found=0)
        if not 1 <= length <= MAX_TRANSFER_BYTES:
            raise InvalidLength(
                "the slice length is out of range",
                rule="MEM-2",
                field="length",
                expected=f"1 .. {MAX_TRANSFER_BYTES}",
                found=length,
            )
        if pointer + length > self._memory.size:
            raise Trap(f"slice {pointer:#x} + {length} reaches past the end of memory ({self._memory.size} bytes)")
        self._memory.check(pointer, length, "read")
        return self._memory.view[pointer : pointer + length]
