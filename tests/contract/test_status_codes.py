"""Every status code is reached through the exports, with its fixed message (section 2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from refruntime import ContractError, Profile, Status, Trap
from tests.contract.host import Host
from tests.contract.models import long_token_model, story_model
from tests.support.slm1_by_hand import build, entry_offset, fix_checksum, model_tensors, patch_entry

MESSAGES = {
    1: "null pointer",
    2: "invalid length",
    3: "invalid utf-8",
    4: "invalid model magic",
    5: "unsupported model version",
    6: "invalid header",
    7: "invalid tensor directory",
    8: "missing tensor",
    9: "shape mismatch",
    10: "unsupported dtype",
    11: "context exceeded",
    12: "model not loaded",
    13: "generation failed",
    14: "output buffer exceeded",
}
"""The fixed texts, copied from the contract by hand (ERR-3)."""

NAMES = [
    "Ok",
    "NullPointer",
    "InvalidLength",
    "InvalidUtf8",
    "InvalidModelMagic",
    "UnsupportedModelVersion",
    "InvalidHeader",
    "InvalidTensorDirectory",
    "MissingTensor",
    "ShapeMismatch",
    "UnsupportedDType",
    "ContextExceeded",
    "ModelNotLoaded",
    "GenerationFailed",
    "OutputBufferExceeded",
]

MEBIBYTES_128 = 134_217_728

Scenario = Callable[[Host], int]


def load(file: bytes | bytearray) -> Scenario:
    return lambda host: host.load(bytes(file))


def broken_checksum() -> bytearray:
    file = build()
    file[-1] ^= 1
    return file


def without_norm() -> bytearray:
    return build([tensor for tensor in model_tensors() if tensor.name != "norm.weight"])


def unusable_scale() -> bytearray:
    file = build(model_tensors(dtype=2))
    start = entry_offset(file, "norm.weight")
    scale_at = int.from_bytes(file[start + 48 : start + 56], "little")
    file[scale_at : scale_at + 4] = b"\0\0\0\0"
    return fix_checksum(file)


LOAD_FAILURES: dict[str, tuple[int, Scenario]] = {
    "load: pointer 0": (1, lambda host: host.abi.load_model(0, 10)),
    "load: pointer 0 and length 0": (1, lambda host: host.abi.load_model(0, 0)),
    "load: length 0": (2, lambda host: host.abi.load_model(host.put(b"x"), 0)),
    "load: length over 128 MiB": (2, lambda host: host.abi.load_model(host.put(b"x"), MEBIBYTES_128 + 1)),
    "load: length -1": (2, lambda host: host.abi.load_model(host.put(b"x"), -1)),
    "load: three bytes": (4, load(b"SLM")),
    "load: other magic": (4, load(b"GGML" + bytes(200))),
    "load: SLM1 version 2": (5, load(build(version=2))),
    "load: GGUF version 4": (5, load(b"GGUF\4\0\0\0" + bytes(16))),
    "load: half a header": (6, load(build()[:107])),
    "load: wrong checksum": (6, load(broken_checksum())),
    "load: rank 5": (7, load(patch_entry(build(), "norm.weight", rank=5))),
    "load: payload outside the file": (7, load(patch_entry(build(), "norm.weight", byte_offset=2**40))),
    "load: no final norm": (8, load(without_norm())),
    "load: wrong shape": (9, load(patch_entry(build(), "norm.weight", dim0=3))),
    "load: scale 0": (9, load(unusable_scale())),
    "load: dtype 4": (10, load(patch_entry(build(), "norm.weight", dtype=4))),
}

GENERATION_FAILURES: dict[str, tuple[int, Scenario]] = {
    "generate: pointer 0": (1, lambda host: host.abi.generate(0, 1, 1)),
    "generate: pointer 0 before every other fault": (1, lambda host: host.abi.generate(0, 0, 0)),
    "generate: length 0": (2, lambda host: host.abi.generate(host.put(b"a"), 0, 1)),
    "generate: length over 128 MiB": (2, lambda host: host.abi.generate(host.put(b"a"), MEBIBYTES_128 + 1, 1)),
    "generate: max_new_tokens 0": (2, lambda host: host.generate(b"a", 0)),
    "generate: max_new_tokens 2^32 is 0": (2, lambda host: host.generate(b"a", 2**32)),
    "generate: prompt not UTF-8": (3, lambda host: host.generate(b"a\xff", 1)),
    "generate: prompt is a surrogate": (3, lambda host: host.generate(b"\xed\xa0\x80", 1)),
    "generate: prompt fills the context": (11, lambda host: host.generate(b"1234567", 1)),
    "generate: output not UTF-8": (3, lambda host: host.generate(b"x", 1)),
    "next token: no context": (13, lambda host: host.abi.generate_next_token()),
    "sampling: temperature < 0": (2, lambda host: host.abi.set_sampling_config(-1, 1, 1, 1)),
    "sampling: temperature not a number": (2, lambda host: host.abi.set_sampling_config(math.nan, 1, 1, 1)),
    "sampling: top_k 0": (2, lambda host: host.abi.set_sampling_config(1, 0, 1, 1)),
    "sampling: top_k 1025": (2, lambda host: host.abi.set_sampling_config(1, 1025, 1, 1)),
    "sampling: top_p 0": (2, lambda host: host.abi.set_sampling_config(1, 1, 0, 1)),
    "sampling: top_p > 1": (2, lambda host: host.abi.set_sampling_config(1, 1, 1.01, 1)),
}


def full_context(host: Host) -> int:
    """Fill the story model's 8 positions, then ask for one more token."""
    assert host.generate(b"e", 100) == 0
    return host.abi.generate_next_token()


def assert_failure(host: Host, status: int, expected: int) -> None:
    """Check everything that a failed call leaves behind (ERR-3, ERR-4)."""
    message = MESSAGES[expected]
    assert status == expected
    assert host.result == message.encode()
    assert host.diagnostics["last_error"] == message
    failure = host.abi.last_failure
    assert isinstance(failure, ContractError)
    assert int(failure.status) == expected
    assert failure.rule
    assert str(failure).startswith(f"{NAMES[expected]} ({expected}): ")


@pytest.mark.parametrize("name", LOAD_FAILURES)
def test_load_failures(name: str) -> None:
    """ERR-3, ERR-4, MEM-2, SL-1: each fault of load_model gives its code, message, result and last_error."""
    expected, scenario = LOAD_FAILURES[name]
    host = Host()
    assert_failure(host, scenario(host), expected)
    assert host.diagnostics["model_loaded"] is False


@pytest.mark.parametrize("name", GENERATION_FAILURES)
def test_generation_and_sampling_failures(name: str) -> None:
    """ERR-1, ERR-3, ERR-4, MEM-2, SC-2, GEN-1, GEN-3, GEN-9, NT-2: each fault gives its code; the model stays."""
    expected, scenario = GENERATION_FAILURES[name]
    host = Host(model=story_model())
    assert_failure(host, scenario(host), expected)
    assert host.diagnostics["model_loaded"] is True


def test_context_exceeded_by_continuation() -> None:
    """NT-3: a full context gives 11."""
    host = Host(model=story_model())
    assert_failure(host, full_context(host), 11)


@pytest.mark.parametrize("call", ["generate", "generate_next_token"])
def test_model_not_loaded(call: str) -> None:
    """NT-1, GEN-1: generation without a model gives 12."""
    host = Host()
    status = host.generate(b"a", 1) if call == "generate" else host.abi.generate_next_token()
    assert_failure(host, status, 12)


def test_output_buffer_exceeded() -> None:
    """GEN-10: 65536 bytes fit, one more gives 14."""
    host = Host(model=long_token_model(b"y" * 1024))
    assert host.generate(b"a", 64) == 0
    assert host.result == b"y" * 65536
    host = Host(model=long_token_model(b"y" * 1024 + b"z"))
    assert host.generate(b"a", 63) == 0
    assert len(host.result) == 63 * 1025
    assert_failure(host, host.generate(b"a", 64), 14)


def test_unavailable_lock() -> None:
    """ERR-2, MEM-6: after a trap the lock is unavailable; the answer is 13 and there is no result to read."""
    host = Host()
    with pytest.raises(Trap):
        host.abi.load_model(len(host.abi.memory) - 4, 5)
    assert host.abi.reset_context() == 13
    assert host.abi.last_result_len() == 0


def test_ok_clears_the_error() -> None:
    """ERR-5: a successful status call gives 0 and sets last_error to null."""
    host = Host()
    assert host.abi.generate_next_token() == 12
    assert host.diagnostics["last_error"] == "model not loaded"
    assert host.abi.set_sampling_config(0, 1, 1, 1) == 0
    assert host.diagnostics["last_error"] is None
    assert host.abi.last_failure is None


def test_every_code_is_reached() -> None:
    """ERR-3: the codes and names are those of the published table, and the tests above reach each of them."""
    assert [(status.value, status.name) for status in Status] == list(enumerate(NAMES))
    assert {status.value: status.message for status in Status if status} == MESSAGES
    reached = {expected for table in (LOAD_FAILURES, GENERATION_FAILURES) for expected, _ in table.values()}
    assert reached | {0, 12, 14} == set(range(15))  # 0, 12 and 14 have functions of their own


@pytest.mark.parametrize(
    ("option", "expected"), [("message", b"invalid length"), ("empty", b""), ("unchanged", b"model loaded")]
)
def test_result_after_a_failure_by_profile(option: str, expected: bytes) -> None:
    """ERR-4: the profile says what a failed call leaves as the result; last_error is the message in every case."""
    host = Host(Profile(failed_call_result=option), model=story_model())  # type: ignore[arg-type]
    assert host.generate(b"a", 0) == 2
    assert host.result == expected
    assert host.diagnostics["last_error"] == "invalid length"
