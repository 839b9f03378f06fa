"""Random sessions over the exports: whatever a host does, the module answers within the contract."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from refruntime import ExportedABI, HostMisuse, Profile, Status, Trap
from refruntime.contract import DIAGNOSTIC_NAMES
from refruntime.runtime import State
from tests.contract.models import EOS, follow, long_token_model, table_model
from tests.support.gguf_by_hand import llama_file
from tests.support.slm1_by_hand import fix_checksum

STATUSES = {
    "init_runtime": {0},
    "load_model": {0, 1, 2, 4, 5, 6, 7, 8, 9, 10},
    "set_sampling_config": {0, 2},
    "generate": {0, 1, 2, 3, 11, 12, 13, 14},
    "generate_next_token": {0, 2, 3, 11, 12, 13, 14},
    "reset_context": {0},
    "free_model": {0},
}
"""What each export may return while the lock is there (sections 2 to 7)."""

MESSAGES = {status.message for status in Status}

NAN = math.nan

numbers = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 134_217_728, 134_217_729, -1, 2**64]),
    st.floats(),
)
prompts = st.one_of(
    st.text("abcxyzé€ ", min_size=1, max_size=12).map(str.encode),
    st.binary(min_size=1, max_size=12),
    st.sampled_from([b"a", b"x", b"hi hi", b"b" * 40]),
)
floats = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, 0.5, 2.0**-149, -0.0, NAN, math.inf]))


@cache
def models() -> dict[str, bytes]:
    """Return small models: a chain, coin flips, strange logits, a long token, a GGUF file; the first six load."""
    chain = table_model({**follow(*b"abcd", EOS), **follow(ord("x"), 0xFF)}, capacity=8)
    return {
        "chain": chain,
        "coins": table_model({}, otherwise={**dict.fromkeys(b"ab\xc3\xa9", 0.0), EOS: -1.0}, capacity=24),
        "strange": table_model({97: {98: NAN, 99: 1e38}}, otherwise={97: -1e38, 100: NAN}, gain=2.0**20, capacity=5),
        "long token": long_token_model(b"y" * 30_000, capacity=6),
        "no room": table_model({}, capacity=1),
        "gguf": llama_file(),
    }


class Session(RuleBasedStateMachine):
    """One module; after every step everything that can be seen is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.trapped = False
        self.live: dict[int, int] = {}

    @initialize(strict=st.booleans(), options=st.data())
    def create(self, strict: bool, options: st.DataObject) -> None:
        chosen: dict[str, Any] = {
            switch.attribute: options.draw(st.sampled_from(switch.options), label=switch.key)
            for switch in Profile.switches()
            if not switch.key.startswith("SL-5")
        }
        self.abi = ExportedABI(Profile(**chosen), strict=strict)
        self.strict = strict
        self.load(options.draw(st.sampled_from(sorted(models())), label="first model"))

    def put(self, data: bytes) -> int:
        pointer = self.abi.alloc(len(data))
        assert pointer
        self.abi.write(pointer, data)
        self.live[pointer] = len(data)
        return pointer

    def call(self, name: str, *arguments: Any) -> int:
        """Make a status call; it may trap or be misuse only where the arguments say so."""
        status = getattr(self.abi, name)(*arguments)
        assert type(status) is int
        assert status in ({13} if self.trapped else STATUSES[name])
        if not self.trapped:
            failure = self.abi.last_failure
            assert (failure is None) == (status == 0)
            assert failure is None or int(failure.status) == status
        return status

    # Rules ---------------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["init_runtime", "init_runtime", "reset_context", "free_model"]))
    def without_parameters(self, name: str) -> None:
        self.call(name)
        if not self.trapped and name != "init_runtime":
            assert self.document()["kv_length"] == 0
            assert name == "reset_context" or self.document()["model_loaded"] is False

    @rule(name=st.sampled_from(["chain", "coins", "strange", "long token", "no room", "gguf"]))
    def load(self, name: str) -> None:
        file = models()[name]
        pointer = self.put(file)
        status = self.call("load_model", pointer, len(file))
        assert status == (13 if self.trapped else 0)
        self.abi.dealloc(pointer, self.live.pop(pointer))

    @rule(
        name=st.sampled_from(["chain", "gguf"]),
        place=st.one_of(st.integers(0, 400), st.integers(0, 30_000)),
        value=st.integers(0, 255),
        cut=st.one_of(st.none(), st.integers(4, 2000)),
    )
    def load_broken(self, name: str, place: int, value: int, cut: int | None) -> None:
        file = bytearray(models()[name])
        file[place % len(file)] = value
        if cut is not None:
            file = file[:cut]
        if name == "chain" and len(file) >= 108:
            fix_checksum(file)
        pointer = self.put(bytes(file))
        status = self.call("load_model", pointer, len(file))
        if not self.trapped:
            assert self.document()["model_loaded"] is (status == 0)  # ST-4
        self.abi.dealloc(pointer, self.live.pop(pointer))

    @rule(data=st.binary(min_size=1, max_size=300), magic=st.sampled_from([b"", b"SLM1", b"GGUF", b"GGUF\3\0\0\0"]))
    def load_rubbish(self, data: bytes, magic: bytes) -> None:
        pointer = self.put(magic + data)
        assert self.call("load_model", pointer, len(magic + data)) != 0

    @rule(temperature=floats, top_k=numbers, top_p=floats, seed=st.integers(-(2**65), 2**65))
    def configure(self, temperature: float, top_k: Any, top_p: float, seed: int) -> None:
        self.call("set_sampling_config", temperature, top_k, top_p, seed)

    @rule(temperature=st.floats(0, 4), top_k=st.integers(1, 1024), top_p=st.floats(0.01, 1), seed=st.integers(0, 9))
    def configure_well(self, temperature: float, top_k: int, top_p: float, seed: int) -> None:
        assert self.call("set_sampling_config", temperature, top_k, top_p, seed) == (13 if self.trapped else 0)

    @rule(prompt=prompts, count=st.one_of(st.integers(0, 30), st.just(2**32 - 1)))
    def generate(self, prompt: bytes, count: int) -> None:
        pointer = self.put(prompt)
        before = self.document() if not self.trapped else None
        status = self.call("generate", pointer, len(prompt), count)
        if status == 0:
            after = self.document()
            assert after["prompt_tokens"] >= 1
            assert after["generated_tokens"] <= count
            assert after["selected_token"] is not None
        elif before is not None and (status == 12 or count == 0):  # ST-8: nothing but the error has changed
            assert self.document() | {"last_error": None} == before | {"last_error": None}
        self.abi.dealloc(pointer, self.live.pop(pointer))

    @rule(call=st.sampled_from(["load_model", "generate", "dealloc", "alloc"]), pointer=numbers, length=numbers)
    def any_numbers(self, call: str, pointer: Any, length: Any) -> None:
        """Give any numbers; in strict mode a slice of somebody else's memory is misuse."""
        try:
            if call == "dealloc":
                self.abi.dealloc(pointer, length)
                assert not self.strict
            elif call == "alloc":
                assert self.abi.alloc(-abs(length)) % 16 == 0
            else:
                self.call(call, pointer, length, *([3] if call == "generate" else []))
        except Trap:
            assert not self.trapped
            self.trapped = True
        except HostMisuse:
            assert self.strict

    @rule(prompt=st.sampled_from([b"a", b"ab", b"hi", b"z"]), count=st.integers(1, 5), tokens=st.integers(0, 6))
    def generate_and_continue(self, prompt: bytes, count: int, tokens: int) -> None:
        if not self.trapped and not self.document()["model_loaded"]:
            self.load("coins")
        self.generate(prompt, count)
        for _ in range(tokens):
            self.next_token()

    @rule()
    def next_token(self) -> None:
        before = self.document() if not self.trapped else None
        status = self.call("generate_next_token")
        if before is not None and status == 0:
            after = self.document()
            grown = after["kv_length"] - before["kv_length"]
            assert grown in (0, 1)
            assert after["generated_tokens"] - before["generated_tokens"] == grown
            assert after["tokenizer_output"] == before["tokenizer_output"]
        elif before is not None and status == 11 and before["kv_length"] > 0:  # NT-3
            assert self.document() | {"last_error": None} == before | {"last_error": None}

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def deallocate(self, data: st.DataObject) -> None:
        pointer = data.draw(st.sampled_from(sorted(self.live)))
        self.abi.dealloc(pointer, self.live.pop(pointer))

    @precondition(lambda self: not self.trapped)
    @rule()
    def stale_pointer(self) -> None:
        pointer, length = self.abi.get_diagnostics_ptr(), self.abi.get_diagnostics_len()
        self.call("init_runtime")
        if self.strict:
            with pytest.raises(HostMisuse):
                self.abi.read(pointer, length)

    # Invariants ----------------------------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        pointer, length = self.abi.get_diagnostics_ptr(), self.abi.get_diagnostics_len()
        text = self.abi.read(pointer, length).decode("utf-8")
        document: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
        return document

    @invariant()
    def what_can_be_seen_is_consistent(self) -> None:
        """Check the document, the result and the state against each other."""
        if not hasattr(self, "abi"):
            return
        getters = ("last_result_ptr", "last_result_len", "get_diagnostics_ptr", "get_diagnostics_len")
        values = [getattr(self.abi, name)() for name in getters]
        if self.trapped:
            assert values == [0, 0, 0, 0]
            return
        assert values[0] != 0
        assert values[2] != 0
        document, result = self.document(), self.abi.read(values[0], values[1])
        assert tuple(document) == DIAGNOSTIC_NAMES
        result.decode("utf-8")
        assert len(result) <= 65536
        runtime = self.abi.runtime
        assert runtime is not None
        loaded = runtime.model is not None
        capacity = runtime.model.cache.capacity if runtime.model else 0
        assert document["model_loaded"] is loaded
        assert (document["quantization"] == "none") is not loaded
        assert (document["peak_scratch_bytes"] > 0) is loaded
        assert document["kv_length"] == document["prompt_tokens"] + document["generated_tokens"] <= capacity
        ids = [token for token in document["tokenizer_output"].split(",") if token]
        assert len(ids) == document["prompt_tokens"]
        sampled = document["selected_token"] is not None
        assert (document["logits_summary"] is not None) is sampled
        assert len(document["top_tokens"]) <= (5 if sampled else 0)
        assert sampled is (document["kv_length"] > 0)
        assert (document["last_error"] or "") in MESSAGES
        assert (document["last_error"] is not None) is (self.abi.state is State.RECOVERABLE_ERROR)
        if self.abi.state is State.CONTINUATION_READY:
            assert document["kv_length"] > 0
        assert 1 <= document["top_k"] <= 1024
        assert 0 < document["top_p"] <= 1
        assert document["temperature"] >= 0
        assert 0 <= int(document["seed"]) < 2**64
        assert len(self.abi.memory) % 65536 == 0


@pytest.mark.slow
def test_random_sessions() -> None:
    """ERR-1 to ERR-5, MEM-2 to MEM-8, ST-1 to ST-9, GEN-1 to GEN-11, NT-1 to NT-7, DG-1 to DG-8: always consistent."""
    run_state_machine_as_test(Session, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
