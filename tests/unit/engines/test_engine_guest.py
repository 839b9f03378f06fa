"""The engine with a real build: the guest, compiled from Rust, answers through it as the contract says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from refruntime.client import Client, TransferFailed
from refruntime.contract.status import Status
from refruntime.engines.base import EngineLimit, EngineTrap, Limits
from refruntime.engines.declaration import read_declaration, resolve_contract
from refruntime.engines.reference import ReferenceEngine
from refruntime.engines.wasm import WasmEngine, WasmModule
from tests.support.synthetic import random_weights, slm1_file

GUEST = Path(__file__).resolve().parent.parent.parent / "guest" / "guest.wasm"
TINY = {"vocab_size": 260, "hidden_size": 16, "layer_count": 2, "head_count": 2, "ffn_size": 24, "max_context": 40}
MODEL = slm1_file(random_weights(11, **TINY), **TINY)
SEEDS = [index * 0x9E3779B97F4A7C15 % 2**64 for index in range(60)]
"""Spread over all 64 bits: the first draw of a small seed is nearly 0 (PR-1, PR-3)."""


@pytest.fixture(scope="module")
def guest() -> WasmModule:
    return WasmModule(GUEST.read_bytes())


def test_surface_and_declaration(guest: WasmModule) -> None:
    """ABI-1, ABI-5: the build has the surface of the contract; what it declares, if anything, resolves."""
    assert guest.size == GUEST.stat().st_size
    assert resolve_contract(read_declaration(GUEST.read_bytes())).profile.fingerprint


def test_session_agrees_with_the_oracle(guest: WasmModule) -> None:
    """ABI-1, ABI-3, ST-3, GEN-8, NT-4: one session, step by step, gives the same statuses, texts and documents."""
    clients = Client(WasmEngine(guest)), Client(ReferenceEngine())
    steps = [
        lambda client: client.status("init_runtime"),
        lambda client: client.generate(b"hello", 3),
        lambda client: client.load_model(MODEL[:50]),
        lambda client: client.load_model(MODEL),
        lambda client: client.set_sampling_config(0.7, 5, 0.9, 2**64 - 1),
        lambda client: client.set_sampling_config(-1.0, 5, 0.9, 1),
        lambda client: client.generate(b"", 1),
        lambda client: client.generate(b"\xff", 1),
        *[lambda client, seed=seed: seed_and_generate(client, seed) for seed in SEEDS],
        *[lambda client: client.status("generate_next_token")] * 4,
        lambda client: client.generate(b"x" * 40, 1),
        lambda client: client.status("reset_context"),
        lambda client: client.status("free_model"),
    ]
    statuses, texts = set(), set()
    for step in steps:
        build, oracle = (step(client) for client in clients)
        assert build == oracle
        statuses.add(build)
        texts.add(clients[0].result())
        assert clients[0].result() == clients[1].result()
        assert json.loads(clients[0].diagnostics()) == json.loads(clients[1].diagnostics())
    assert {Status.Ok, Status.InvalidLength, Status.InvalidUtf8, Status.ContextExceeded} <= statuses
    assert len({text for text in texts if len(text) == 1}) > 10, "too few seeds gave a character of ASCII"


def seed_and_generate(client: Client, seed: int) -> int:
    assert client.set_sampling_config(1.0, 260, 1.0, seed) == Status.Ok
    return client.generate(b"once", 1)


def test_instances_are_fresh(guest: WasmModule) -> None:
    """ABI-4: a model that was loaded in one instance is not there in the next."""
    first = Client(WasmEngine(guest))
    assert first.load_model(MODEL) == Status.Ok
    assert first.generate(b"a", 1) != Status.ModelNotLoaded
    assert Client(WasmEngine(guest)).generate(b"a", 1) == Status.ModelNotLoaded


def test_trap_leaves_the_lock_unavailable(guest: WasmModule) -> None:
    """MEM-6: a slice past the end of memory traps; later every status is 13 and every getter 0, as with the oracle."""
    for engine in (WasmEngine(guest), ReferenceEngine()):
        client = Client(engine)
        assert client.load_model(MODEL) == Status.Ok
        with pytest.raises(EngineTrap, match=r"trap|past the end"):
            client.status("generate", engine.memory_size - 4, 8, 1)
        assert client.status("init_runtime") == client.load_model(MODEL) == Status.GenerationFailed
        assert client.generate(b"a", 1) == client.status("free_model") == Status.GenerationFailed
        getters = ("last_result_ptr", "last_result_len", "get_diagnostics_ptr", "get_diagnostics_len")
        assert [client.status(getter) for getter in getters] == [0, 0, 0, 0]
        assert client.result() == client.diagnostics() == b""


def test_memory_limit_shows_as_failed_load(guest: WasmModule) -> None:
    """MEM-1, MEM-5: a build that gets no more memory cannot take the model, and says so in one way or another."""
    client = Client(WasmEngine(guest, Limits(memory_bytes=2**21)))
    with pytest.raises((TransferFailed, EngineTrap), match=r"returned 0|trapped"):
        client.load_model(MODEL + bytes(2**22))


def test_time_limit_stops_a_long_generation(guest: WasmModule) -> None:
    """ABI-4, GEN-5: a generation that takes longer than its time is stopped, and the engine takes no more calls."""
    dimensions = TINY | {"hidden_size": 128, "ffn_size": 512, "max_context": 4000}
    model = slm1_file(random_weights(1, **dimensions), **dimensions)
    client = Client(WasmEngine(guest, Limits(seconds=0.3)))
    assert client.load_model(model) == Status.Ok
    with pytest.raises(EngineLimit, match="generate was stopped"):
        client.generate(b"a" * 3000, 900)
    with pytest.raises(EngineLimit):
        client.result()
