"""The careful host: it transfers, calls, reads, and gives every transfer buffer back whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.client import MAX_DOCUMENT_READ, MAX_RESULT_READ, Client, TextTooLong, TransferFailed
from refruntime.contract.status import Status
from refruntime.engines.base import EngineError, EngineLimit, EngineTrap, MemoryFault, Number
from refruntime.engines.reference import ReferenceEngine
from refruntime.memory import HostMisuse
from tests.support.synthetic import random_weights, slm1_file

TINY = {"vocab_size": 260, "hidden_size": 8, "layer_count": 1, "head_count": 2, "ffn_size": 16, "max_context": 12}
MODEL = slm1_file(random_weights(5, **TINY), **TINY)


def transfer_buffers(engine: ReferenceEngine) -> list[tuple[int, int]]:
    """Return what the host has allocated and not given back, from the strict ledger."""
    return [(region.pointer, region.length) for region in engine.abi.linear_memory.live if region.owner == "host"]


class Breaking:
    """An engine that behaves like the oracle, until one operation fails in a chosen way, once or from then on."""

    name = "reference"

    def __init__(self, operation: str, failure: Exception, *, for_good: bool = False) -> None:
        self.inner = ReferenceEngine()
        self.operation, self.failure, self.for_good = operation, failure, for_good
        self.broken = False
        self.calls: list[str] = []

    @property
    def memory_size(self) -> int:
        return self.inner.memory_size

    def _enter(self, operation: str) -> None:
        self.calls.append(operation)
        if operation == self.operation or (self.broken and self.for_good):
            failure = EngineTrap("broken by what failed before") if self.broken else self.failure
            self.broken = True
            raise failure

    def call(self, export: str, *arguments: Number) -> int | None:
        self._enter(export)
        return self.inner.call(export, *arguments)

    def read(self, pointer: int, length: int) -> bytes:
        self._enter("read")
        return self.inner.read(pointer, length)

    def write(self, pointer: int, data: bytes) -> None:
        self._enter("write")
        self.inner.write(pointer, data)


# Nothing leaks -------------------------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("load_model"), st.sampled_from([MODEL, b"", b"SLM1", MODEL[:-1], b"\0" * 70_000])),
    st.tuples(
        st.just("generate"),
        st.sampled_from([b"", b"a", b"hello", b"\xff", "\N{PILE OF POO}".encode(), b"too long for the context"]),
        st.sampled_from([0, 1, 3, 2**32 - 1]),
    ),
    st.tuples(st.just("set_sampling_config"), st.just(1.0), st.sampled_from([0, 1, 260]), st.just(1.0), st.just(7)),
    st.tuples(
        st.just("status"), st.sampled_from(["init_runtime", "generate_next_token", "reset_context", "free_model"])
    ),
    st.tuples(st.just("result")),
    st.tuples(st.just("diagnostics")),
    st.tuples(st.just("trap")),
)


@settings(deadline=None)
@given(steps=st.lists(STEPS, max_size=12))
def test_no_sequence_leaks(steps: list[tuple[Any, ...]]) -> None:
    """MEM-3, MEM-9: after any sequence of calls, failures and traps the ledger holds no region of the host."""
    engine = ReferenceEngine()
    client = Client(engine)
    for name, *arguments in steps:
        if name == "trap":
            with pytest.raises(EngineTrap):
                client.status("load_model", 2**32 - 16, 100)
            assert client.status("reset_context") == Status.GenerationFailed
            break
        getattr(client, name)(*arguments)
        assert transfer_buffers(engine) == []
    assert transfer_buffers(engine) == []


def test_calls_after_a_trap_leak_nothing_either() -> None:
    """MEM-6, MEM-3: when the lock is unavailable transfers still work, and their buffers are freed."""
    engine = ReferenceEngine()
    client = Client(engine)
    with pytest.raises(EngineTrap):
        client.status("generate", 2**32 - 16, 100, 1)
    assert client.load_model(MODEL) == client.generate(b"a", 1) == Status.GenerationFailed
    assert client.result() == client.diagnostics() == b""
    assert transfer_buffers(engine) == []


@pytest.mark.parametrize("operation", ["write", "load_model", "generate"])
@pytest.mark.parametrize(
    "failure",
    [
        EngineTrap("trapped"),
        MemoryFault("outside"),
        EngineError("other"),
        KeyboardInterrupt(),
        HostMisuse("x", 1, 1, "y"),
    ],
)
def test_failed_transfer_is_freed(operation: str, failure: Exception) -> None:
    """MEM-3: the buffer goes back when writing it or the call itself fails, and the failure is what the caller sees."""
    engine = Breaking(operation, failure)
    client = Client(engine)
    with pytest.raises(type(failure)) as caught:
        client.generate(b"hello", 1) if operation == "generate" else client.load_model(MODEL)
    assert caught.value is failure
    assert engine.calls[-1] == "dealloc"
    assert transfer_buffers(engine.inner) == []


@pytest.mark.parametrize("operation", ["write", "load_model"])
def test_first_failure_is_told_when_freeing_fails_too(operation: str) -> None:
    """MEM-3, MEM-6: what broke first explains more than what broke because of it."""
    engine = Breaking(operation, EngineTrap("first"), for_good=True)
    with pytest.raises(EngineTrap, match="first"):
        Client(engine).load_model(MODEL)
    assert engine.calls == [*["alloc", "write", "load_model"][: 2 + (operation == "load_model")], "dealloc"]


def test_failing_free_is_told() -> None:
    """MEM-3: when only `dealloc` fails, that is the failure."""
    engine = Breaking("dealloc", EngineTrap("in dealloc"))
    with pytest.raises(EngineTrap, match="in dealloc"):
        Client(engine).load_model(MODEL)


@pytest.mark.parametrize("operation", ["alloc", "write", "load_model"])
def test_no_call_after_a_limit(operation: str) -> None:
    """ABI-4: an engine that was stopped by a limit takes no more calls, so none is tried."""
    engine = Breaking(operation, EngineLimit("stopped"))
    with pytest.raises(EngineLimit):
        Client(engine).load_model(MODEL)
    assert engine.calls[-1] == operation


# What a careful host does ---------------------------------------------------------------------------------------------


def test_transfer_uses_the_exact_length_and_pointer() -> None:
    """MEM-3, MEM-9: alloc, write, call, dealloc, in this order and nothing else."""
    engine = Breaking("never", EngineError())
    assert Client(engine).load_model(MODEL) == Status.Ok
    assert engine.calls == ["alloc", "write", "load_model", "dealloc"]


@pytest.mark.parametrize(("prompt", "status"), [(b"", Status.InvalidLength), (b"a", Status.ModelNotLoaded)])
def test_empty_data_shows_the_length_rule(prompt: bytes, status: Status) -> None:
    """MEM-2, ERR-1: nothing to transfer is length 0 at a pointer that is not null, and nothing is allocated for it."""
    engine = Breaking("never", EngineError())
    assert Client(engine).generate(prompt, 1) == status
    assert ("alloc" in engine.calls) == bool(prompt)


def test_refused_allocation() -> None:
    """MEM-1: 0 from `alloc` is told with both sizes, and nothing is written to address 0."""
    engine = ReferenceEngine()
    with pytest.raises(
        TransferFailed, match=rf"alloc\({2**27 + 1}\) returned 0; memory has {engine.memory_size} bytes"
    ):
        Client(engine).load_model(bytes(2**27 + 1))


def test_result_and_diagnostics_are_read_where_the_engine_says() -> None:
    """MEM-7, DG-2, ST-3: pointer and length are asked anew for every read."""
    engine = ReferenceEngine()
    client = Client(engine)
    assert client.load_model(MODEL) == Status.Ok
    assert client.result() == b"model loaded"
    assert b'"model_loaded":true' in client.diagnostics()
    assert client.status("free_model") == Status.Ok
    assert client.result() == b""
    assert b'"model_loaded":false' in client.diagnostics()


class Claiming:
    """An engine whose getters claim a text of some length at address 16."""

    name = "reference"
    memory_size = 2**32

    def __init__(self, pointer: int | None, length: int) -> None:
        self.pointer, self.length = pointer, length
        self.read_lengths: list[int] = []

    def call(self, export: str, *arguments: Number) -> int | None:
        return self.length if export.endswith("len") else self.pointer

    def read(self, pointer: int, length: int) -> bytes:
        self.read_lengths.append(length)
        return b"x"

    def write(self, pointer: int, data: bytes) -> None:
        raise AssertionError("nothing is written")


@pytest.mark.parametrize(("read", "most"), [(Client.result, MAX_RESULT_READ), (Client.diagnostics, MAX_DOCUMENT_READ)])
def test_absurd_texts_are_not_copied(read: Any, most: int) -> None:
    """MEM-7, GEN-10: a length far beyond the contract is told and never read; a null pointer is no text at all."""
    at_limit, beyond = Claiming(16, most), Claiming(16, most + 1)
    assert read(Client(at_limit)) == b"x"
    assert at_limit.read_lengths == [most]
    with pytest.raises(TextTooLong, match=str(most + 1)):
        read(Client(beyond))
    assert beyond.read_lengths == []
    assert read(Client(Claiming(0, 2**32 - 1))) == b""


def test_engine_that_returns_nothing() -> None:
    """ABI-2: a status export without a result is an error of the engine, not status 0."""
    with pytest.raises(EngineError, match="init_runtime returned nothing"):
        Client(Claiming(None, 0)).status("init_runtime")


def test_check_names_the_failure() -> None:
    """ERR-3, ERR-4: `check` passes Ok and tells the code and the engine's own message otherwise."""
    client = Client(ReferenceEngine())
    client.check(client.status("init_runtime"))
    with pytest.raises(RuntimeError, match="status 4: invalid model magic"):
        client.check(client.load_model(b"no model at all"))
