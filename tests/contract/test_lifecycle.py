"""Section 4 of the contract, sentence by sentence: init, load, reset, free."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from refruntime import ExportedABI, HostMisuse, Profile, Trap
from refruntime.runtime import State
from tests.contract.host import Host
from tests.contract.models import story_model
from tests.support.slm1_by_hand import Q4_0, Q8_0, build, model_tensors, patch_entry

STATUS_CALLS: dict[str, Callable[[ExportedABI], int]] = {
    "init_runtime": lambda abi: abi.init_runtime(),
    "load_model": lambda abi: abi.load_model(0, 1),
    "set_sampling_config": lambda abi: abi.set_sampling_config(0, 1, 1, 1),
    "generate": lambda abi: abi.generate(0, 1, 1),
    "generate_next_token": lambda abi: abi.generate_next_token(),
    "last_result_ptr": lambda abi: abi.last_result_ptr(),
    "last_result_len": lambda abi: abi.last_result_len(),
    "get_diagnostics_ptr": lambda abi: abi.get_diagnostics_ptr(),
    "get_diagnostics_len": lambda abi: abi.get_diagnostics_len(),
    "reset_context": lambda abi: abi.reset_context(),
    "free_model": lambda abi: abi.free_model(),
}


@pytest.mark.parametrize("name", STATUS_CALLS)
def test_exports_create_the_runtime(name: str) -> None:
    """ST-1: each export but alloc and dealloc creates the runtime."""
    abi = ExportedABI()
    STATUS_CALLS[name](abi)
    assert abi.runtime is not None
    assert abi.state is not State.UNINITIALIZED


def test_alloc_and_dealloc_do_not_create_the_runtime() -> None:
    """ST-1: memory is there before any runtime."""
    abi = ExportedABI()
    abi.dealloc(abi.alloc(8), 8)
    assert abi.runtime is None
    assert abi.state is State.UNINITIALIZED


def test_fresh_runtime() -> None:
    """ST-9, CL-state, DG-6: the result is empty with a pointer that is not 0, the document that of a fresh runtime."""
    host = Host()
    assert host.abi.last_result_ptr() != 0
    assert host.result == b""
    before = host.diagnostics
    assert host.abi.init_runtime() == 0
    assert host.diagnostics == before
    assert before == {
        "model_load_ms": 0,
        "prompt_tokens": 0,
        "generated_tokens": 0,
        "tokens_per_second": 0,
        "peak_scratch_bytes": 0,
        "kv_length": 0,
        "quantization": "none",
        "last_error": None,
        "model_loaded": False,
        "tokenizer_output": "",
        "logits_summary": None,
        "selected_token": None,
        "top_tokens": [],
        "temperature": 0,
        "top_k": 1,
        "top_p": 1,
        "seed": "1",
    }


@pytest.mark.parametrize("strict", [True, False])
def test_the_pointer_of_an_empty_result(strict: bool) -> None:
    """CL-state: an empty result has a pointer too, of a fresh runtime as after a longer result."""
    host = Host(strict=strict)
    assert (host.result, host.abi.last_result_ptr() != 0) == (b"", True)
    assert host.abi.generate(0, 1, 1) == 1
    assert host.abi.reset_context() == 0
    assert (host.result, host.abi.last_result_ptr() != 0) == (b"", True)


def test_init_on_a_live_runtime_changes_nothing() -> None:
    """ST-2: model, context, configuration, result and diagnostics survive."""
    host = Host(model=story_model())
    assert host.abi.set_sampling_config(0.0, 7, 0.5, 3) == 0
    assert host.generate(b"a", 1) == 0
    before = (host.result, host.document)
    assert host.abi.init_runtime() == 0
    assert (host.result, host.document) == before
    assert host.abi.generate_next_token() == 0
    assert host.result == b"c"


def test_recreating_init() -> None:
    """ST-2: with option recreate the runtime is as new: no model, no result, default configuration, seed 1."""
    fresh = Host()
    assert fresh.abi.init_runtime() == 0
    host = Host(Profile(init_on_live_runtime="recreate"), model=story_model())
    assert host.abi.set_sampling_config(0.0, 7, 0.5, 3) == 0
    assert host.generate(b"a", 1) == 0
    assert host.abi.init_runtime() == 0
    assert (host.result, host.document) == (b"", fresh.document)
    assert host.generate(b"a", 1) == 12


def test_load_installs_a_model() -> None:
    """ST-3, DG-5, FW-9: the result becomes `model loaded`; the label and the scratch size are reported."""
    host = Host()
    assert host.load(story_model()) == 0
    assert host.result == b"model loaded"
    document = host.diagnostics
    assert (document["model_loaded"], document["quantization"]) == (True, "f32")
    assert document["peak_scratch_bytes"] == 4 * (10 * 16 + 3 * 2 + 8)


@pytest.mark.parametrize(("dtype", "label"), [(1, "f32"), (Q8_0, "q8_0"), (Q4_0, "q4_0")])
def test_load_reports_the_quantization(dtype: int, label: str) -> None:
    """ST-3, DG-6: the label is that of the stored type."""
    host = Host(model=bytes(build(model_tensors(dtype=dtype))))
    assert host.diagnostics["quantization"] == label


def test_load_clears_tokens_and_generation_state() -> None:
    """ST-3: a new model starts without a context; the sampling configuration stays."""
    host = Host(model=story_model())
    assert host.abi.set_sampling_config(0.25, 9, 0.5, 11) == 0
    assert host.generate(b"e", 2) == 0
    assert host.load(story_model()) == 0
    document = host.diagnostics
    assert (document["kv_length"], document["prompt_tokens"], document["generated_tokens"]) == (0, 0, 0)
    assert (document["tokenizer_output"], document["selected_token"], document["logits_summary"]) == ("", None, None)
    assert (document["temperature"], document["top_k"], document["top_p"], document["seed"]) == (0.25, 9, 0.5, "11")
    assert host.abi.generate_next_token() == 13


FAULTS = [
    (4, b"nothing at all"),
    (5, bytes(build(version=7))),
    (6, bytes(build(checksum=1))),
    (7, bytes(patch_entry(build(), "norm.weight", rank=0))),
    (8, bytes(build(model_tensors()[:-1]))),
    (9, bytes(build(kv_head_count=2))),
    (10, bytes(patch_entry(build(), "norm.weight", dtype=9))),
]


@pytest.mark.parametrize(("status", "file"), FAULTS, ids=[str(status) for status, _ in FAULTS])
def test_failed_load_drops_the_model(status: int, file: bytes) -> None:
    """ST-4, CL-state: whatever is wrong with the file, the old model, its tokens and its diagnostics are gone."""
    host = Host(model=story_model())
    assert host.abi.set_sampling_config(0.0, 9, 0.5, 11) == 0
    assert host.generate(b"a", 2) == 0
    assert host.load(file) == status
    document = host.diagnostics
    assert (document["model_loaded"], document["quantization"], document["peak_scratch_bytes"]) == (False, "none", 0)
    assert (document["kv_length"], document["prompt_tokens"], document["generated_tokens"]) == (0, 0, 0)
    assert (document["tokenizer_output"], document["selected_token"], document["top_tokens"]) == ("", None, [])
    assert (document["top_k"], document["seed"]) == (9, "11")
    assert host.abi.generate_next_token() == 12
    assert host.load(story_model()) == 0


def test_slice_error_of_load_keeps_the_model() -> None:
    """ST-4, CL-state, MEM-2: null, empty and too long slices come before the transaction; the context goes on."""
    host = Host(model=story_model())
    assert host.generate(b"a", 1) == 0
    before = host.diagnostics
    for pointer, length, status in ((0, 8, 1), (16, 0, 2), (16, 134_217_729, 2)):
        assert host.abi.load_model(pointer, length) == status
        after = host.diagnostics
        assert after["last_error"] == ("null pointer" if status == 1 else "invalid length")
        assert after | {"last_error": None} == before
    assert host.abi.generate_next_token() == 0
    assert host.result == b"c"


def test_misuse_and_trap_of_load_keep_the_model() -> None:
    """ST-4, MEM-4, MEM-6: a slice that the host does not own is reported before the runtime is touched."""
    host = Host(model=story_model())
    with pytest.raises(HostMisuse):
        host.abi.load_model(host.put(b"SLM1"), 5000)
    assert host.diagnostics["model_loaded"] is True
    with pytest.raises(Trap):
        host.abi.load_model(len(host.abi.memory) - 1, 2)
    assert host.abi.runtime is not None
    assert host.abi.runtime.model is not None


def test_reset_is_idempotent_and_keeps_the_rest() -> None:
    """ST-5: tokens, KV length and generation diagnostics go; model, tokenizer and configuration stay."""
    host = Host(model=story_model())
    assert host.abi.set_sampling_config(0.0, 9, 0.5, 11) == 0
    assert host.generate(b"a", 2) == 0
    assert host.abi.reset_context() == 0
    once = host.document
    assert host.result == b""
    document = host.diagnostics
    assert (document["model_loaded"], document["quantization"]) == (True, "f32")
    assert (document["kv_length"], document["prompt_tokens"], document["generated_tokens"]) == (0, 0, 0)
    assert (document["tokenizer_output"], document["selected_token"], document["logits_summary"]) == ("", None, None)
    assert document["top_tokens"] == []
    assert (document["top_k"], document["top_p"], document["seed"]) == (9, 0.5, "11")
    assert host.abi.reset_context() == 0
    assert host.document == once
    assert host.generate(b"a", 2) == 0
    assert host.result == b"bc"


def test_reset_without_a_model() -> None:
    """ST-5: 0 also without a model; the result becomes empty, or stays if the profile says so."""
    for option, result in (("empty", b""), ("unchanged", b"model not loaded")):
        host = Host(Profile(reset_result=option))  # type: ignore[arg-type]
        assert host.abi.generate_next_token() == 12
        assert host.abi.reset_context() == 0
        assert host.result == result
        assert host.diagnostics["last_error"] is None


def test_free_releases_everything_but_the_configuration() -> None:
    """ST-6: model, context and label go, the configuration stays; 0 as often as asked; loading works again."""
    host = Host(model=story_model())
    assert host.abi.set_sampling_config(0.0, 9, 0.5, 11) == 0
    assert host.generate(b"a", 2) == 0
    for _ in range(2):
        assert host.abi.free_model() == 0
        assert host.result == b""
        document = host.diagnostics
        assert (document["model_loaded"], document["quantization"]) == (False, "none")
        assert (document["peak_scratch_bytes"], document["kv_length"], document["prompt_tokens"]) == (0, 0, 0)
        assert (document["generated_tokens"], document["selected_token"], document["top_tokens"]) == (0, None, [])
        assert (document["top_k"], document["top_p"], document["seed"]) == (9, 0.5, "11")
        assert host.generate(b"a", 2) == 12
    assert host.load(story_model()) == 0
    assert host.generate(b"a", 2) == 0
