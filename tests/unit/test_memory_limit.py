"""What a model may take: shared bytes are stored once, and what is too much is refused with its number of bytes."""

from __future__ import annotations

import math
import struct
import tracemalloc

import numpy as np
import pytest

import refruntime.memory_limit as module
from refruntime import Profile
from refruntime.cases.steps import INIT, NEXT_TOKEN, Case, Generate, Load
from refruntime.cli import main
from refruntime.containers import checksum
from refruntime.contract.status import Status
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import Verdict
from refruntime.errors import ContractError, GenerationFailed, InvalidHeader
from refruntime.exports import ExportedABI
from refruntime.memory_limit import VARIABLE, BadSetting, machine_memory, memory_limit, within_memory
from refruntime.model.binding import bind_model
from refruntime.model.layout.tree import AttentionLayout
from refruntime.numerics import F64, CompiledSeq32, Fast, Numerics
from tests.support.builds import changed_build
from tests.support.slm1_by_hand import (
    ENTRY_FIELDS,
    F32,
    Q4_0,
    Q8_0,
    Tensor,
    build,
    entry_offset,
    entry_value,
    fix_checksum,
    model_tensors,
)

PROFILE = Profile()
SIZES = {"vocab": 260, "hidden": 16, "ffn": 16}
HEADER = {"hidden_size": 16, "head_dim": 16, "ffn_size": 16}


def overlapping(dtype: int, layers: int) -> tuple[bytes, bytes]:
    """Make two files of one model: in the first all tensors of one shape name the same bytes, in the second copies."""
    tensors = model_tensors(dtype, layers=layers, **SIZES)
    first: dict[tuple[int, ...], Tensor] = {}
    for tensor in tensors:
        first.setdefault(tensor.dims, tensor)
    copies = [
        Tensor(t.name, t.dtype, t.dims, first[t.dims].payload, first[t.dims].scales, t.block_size) for t in tensors
    ]
    own = build(copies, layer_count=layers, **HEADER)
    shared = bytearray(own)
    for tensor in tensors:
        for field in ("byte_offset", "scale_offset"):
            patch_entry_unsealed(shared, tensor.name, field, entry_value(own, first[tensor.dims].name, field))
    return bytes(fix_checksum(shared)), bytes(own)


def patch_entry_unsealed(file: bytearray, name: str, field: str, value: int) -> None:
    """Replace one field and leave the checksum for later."""
    offset, code = ENTRY_FIELDS[field]
    struct.pack_into(code, file, entry_offset(file, name) + offset, value)


@pytest.mark.parametrize("dtype", [F32, Q8_0, Q4_0])
@pytest.mark.parametrize("product", ["(q*scale)*x", "(q*x)*scale", "sum times scale"])
def test_shared_bytes_give_the_bits_of_copies(dtype: int, product: str) -> None:
    """CL-slm1, FW-4: payloads may overlap; a file that names bytes twice is the model of a file that repeats them."""
    shared, own = overlapping(dtype, 2)
    profile = Profile(quantized_product=product)  # type: ignore[arg-type]
    logits = []
    for file in (shared, own):
        transformer = bind_model(file, profile, CompiledSeq32(1)).transformer
        logits.append(transformer.forward([256, 65, 66], transformer.new_cache(), first_logit=0))
    assert np.array_equal(logits[0].view(np.uint32), logits[1].view(np.uint32))


@pytest.mark.parametrize("numerics", [CompiledSeq32(1), F64(), Fast()], ids=lambda numerics: str(numerics.name))
def test_shared_bytes_are_stored_once(numerics: Numerics, monkeypatch: pytest.MonkeyPatch) -> None:
    """CL-slm1: twenty layers over the bytes of one take the memory of one."""
    # A checksum that turns to compiled loops in the middle of a bind loads a compiler, many times what is measured.
    monkeypatch.setattr(checksum, "_SUMMING", checksum.Summing(math.inf))
    shared, own = overlapping(Q4_0, 20)
    bind_model(shared, PROFILE, numerics)  # what is imported and kept at the first time is no memory of a model
    needed = []
    for file in (shared, own):
        tracemalloc.start()
        try:
            bound = bind_model(file, PROFILE, numerics)
            needed.append((bound.memory, tracemalloc.get_traced_memory()[0]))
        finally:
            tracemalloc.stop()
    cache = 2 * 20 * 8 * 16 * np.dtype(numerics.dtype).itemsize
    norm, square, embedding = 16, 16 * 16 * 4, 260 * 16 * 4
    assert needed[0][0] == cache + norm * np.dtype(numerics.dtype).itemsize + square + embedding
    assert needed[1][0] == cache + 41 * norm * np.dtype(numerics.dtype).itemsize + 140 * square + 2 * embedding
    assert needed[0][1] < needed[1][1] - 100 * square  # 140 matrices against one


def test_same_bytes_are_one_array() -> None:
    """CL-slm1: queries, keys, values and outputs of all layers are one array where the file names one payload."""
    weights = bind_model(overlapping(Q8_0, 2)[0], PROFILE, CompiledSeq32(1)).transformer.weights
    mixers = [layer.mixer for layer in weights.model.layers]
    arrays = [m for mixer in mixers if isinstance(mixer, AttentionLayout) for m in mixer.qkv.matrices]
    assert len(arrays) == 6
    assert {id(array) for array in arrays} == {id(arrays[0])}
    assert weights.model.embedding is weights.model.output.matrices[0]


def load(abi: ExportedABI, file: bytes) -> int:
    """Transfer and load."""
    pointer = abi.alloc(len(file))
    abi.write(pointer, file)
    status = abi.load_model(pointer, len(file))
    abi.dealloc(pointer, len(file))
    return status


def test_a_load_beyond_the_limit_names_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """CL-statuses: what this machine cannot hold ends as a buffer that cannot exist, and the next load goes on."""
    file = overlapping(F32, 1)[1]
    needed = bind_model(file, PROFILE, CompiledSeq32(1)).memory
    abi = ExportedABI()
    monkeypatch.setenv(VARIABLE, str(needed - 1))
    assert load(abi, file) == Status.InvalidHeader
    failure = abi.last_failure
    assert failure is not None
    assert failure.limit
    assert (failure.field, failure.found) == ("memory", f"{needed} bytes")
    assert f"at most {needed - 1} bytes" in str(failure)
    monkeypatch.setenv(VARIABLE, str(needed))
    assert load(abi, file) == Status.Ok


@pytest.mark.parametrize("name", ["matrix", "array"])
def test_no_memory_left_is_the_same_failure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CL-statuses: MemoryError never leaves a load."""
    numerics = CompiledSeq32(1)

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(numerics, name, exhausted)
    with pytest.raises(InvalidHeader, match="no more than this machine has left") as caught:
        bind_model(overlapping(F32, 1)[1], PROFILE, numerics)
    assert caught.value.limit


def test_a_context_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """FW-9, ST-7: a context that grows beyond the limit fails its generation; the model and its memory stay whole."""
    file = bytes(build(model_tensors(), max_context=2000))
    bound = bind_model(file, PROFILE, CompiledSeq32(1))
    cache = bound.transformer.new_cache()
    each = cache.keys.nbytes // 256 * 2
    monkeypatch.setenv(VARIABLE, str(each * (256 + 512) - 1))
    with pytest.raises(GenerationFailed) as caught:
        bound.transformer.forward([65] * 257, cache)
    assert caught.value.found == f"{each * (256 + 512)} bytes"
    monkeypatch.setenv(VARIABLE, str(each * (256 + 512)))
    cache.length = 0
    expected = bound.transformer.forward([65] * 257, bound.transformer.new_cache())
    assert np.array_equal(bound.transformer.forward([65] * 257, cache), expected)


def test_diff_does_not_judge_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """CL-statuses: a case that the oracle cannot hold here is UNSUPPORTED(limit): no mismatch and no crash."""
    models = {"large": overlapping(F32, 2)[1]}
    case = Case("family/large", (INIT, Load("large"), Generate(b"a", 2), NEXT_TOKEN), models)
    monkeypatch.setenv(VARIABLE, "1K")
    build_engine = changed_build()

    def fresh():  # type: ignore[no-untyped-def]  # the limit is the oracle's, not the build's
        engine = build_engine()
        call = engine.call

        def unlimited(export: str, *arguments: object) -> object:
            with monkeypatch.context() as patch:
                patch.delenv(VARIABLE)
                return call(export, *arguments)  # type: ignore[arg-type]

        engine.call = unlimited
        return engine

    suite = Suite(fresh, Oracle()).run([case, Case("family/small", (INIT, NEXT_TOKEN))])
    assert [result.verdict for result in suite.cases] == [Verdict.UNSUPPORTED, Verdict.BOTH_FAILED]
    assert suite.cases[0].reason.startswith("limit: InvalidHeader (6): the model would need more memory")
    assert "found" in suite.cases[0].reason
    assert suite.exit_code == 0


@pytest.mark.parametrize(
    ("text", "found"), [("1", 1), ("5000000000", 5_000_000_000), ("3K", 3072), (" 2m ", 2**21), ("7G", 7 * 2**30)]
)
def test_setting(text: str, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is a number of bytes, with or without a unit."""
    monkeypatch.setenv(VARIABLE, text)
    assert memory_limit() == found


@pytest.mark.parametrize("text", ["0", "-1", "much", "1.5G", "G", "8GB", "\u0665"])
def test_setting_that_is_no_size(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be read is refused by name, not ignored."""
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(BadSetting, match=VARIABLE):
        memory_limit()


def test_command_with_a_setting_that_is_no_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line tells it before any work: exit code 2."""
    monkeypatch.setenv(VARIABLE, "much")
    assert main(["contract"]) == 2
    assert capsys.readouterr().err == (
        f"refruntime: {VARIABLE}: expected a number of bytes above 0, such as 8000000000 or 8G, found 'MUCH'\n"
    )


def test_default_is_half_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a setting the machine decides; where it tells nothing, 4 GiB are taken for its memory."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert memory_limit() == machine_memory() // 2 > 2**28
    monkeypatch.setattr(module.os, "sysconf", lambda _: (_ for _ in ()).throw(ValueError("unknown")))
    assert machine_memory() <= 4 * 2**30


def test_other_errors_go_through() -> None:
    """What goes wrong inside for another reason stays what it is."""
    with pytest.raises(ZeroDivisionError), within_memory(1, "nothing", InvalidHeader):
        _ = 1 // 0
    with pytest.raises(ContractError), within_memory(1, "nothing", InvalidHeader):
        raise GenerationFailed("else")
