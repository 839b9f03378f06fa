"""Models whose weights stay where the file has them: the bits of seq32, the ABI's rules, what is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refruntime import open_model
from refruntime.battery.models.gguf import U32, value
from refruntime.battery.models.plain import plain_gguf
from refruntime.contract import Status
from refruntime.contract.profile import Profile
from refruntime.exports import ExportedABI
from refruntime.model.kv_cache import first_cache_bytes
from refruntime.model.load import validate_model
from refruntime.model.weights import memory_needed
from refruntime.numerics import CompiledSeq32, Fast, numerics_named
from refruntime.numerics.blas import one_blas_thread
from refruntime.numerics.in_place import InPlaceMatrix
from refruntime.resources import model_path
from tests.support.command_line import command
from tests.support.ggml_blocks import BY_NAME, HALF_SCALES, random_blocks

pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")

IDS = [1, *range(260, 263), 70, 71, 72, 261, 80]
TYPES = ("q4_k", "q8_0", "q5_0", "q6_k", "q4_1")


@pytest.fixture(scope="module")
def quantised() -> bytes:
    """A llama of 256 numbers and one layer, its matrices in five block types."""
    file = plain_gguf(
        llama__embedding_length=value(U32, 256),
        llama__rope__dimension_count=value(U32, 128),
        llama__feed_forward_length=value(U32, 512),
    )
    matrices = [tensor for tensor in file.tensors if len(tensor.dimensions) > 1 and tensor.dimensions[0] % 256 == 0]
    for index, tensor in enumerate(matrices):
        kind = BY_NAME[TYPES[index % len(TYPES)]]
        blocks = random_blocks(kind.name, int(np.prod(tensor.dimensions)) // kind.block_size, index)
        for place in HALF_SCALES[kind.name]:
            blocks[:, place : place + 2] = np.array([2**-10], np.float16).view(np.uint8)
        file = file.with_tensor(tensor.name.decode(), type=kind.number, payload=blocks.tobytes())
    assert len(matrices) >= 8
    return file.data


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is worth leaving its weights in place."""
    monkeypatch.setattr("refruntime.numerics.in_place.STORED_PAYS", 1)


def test_every_split_has_the_bits_of_float32(quantised: bytes) -> None:
    """GEN-4, FW-4: a model with weights in place, in one pass, one by one, without numba, and decoded first."""
    expected = open_model(quantised, numerics=CompiledSeq32(1, "numpy")).logits(IDS)
    assert np.isfinite(expected).all()
    assert expected.std() > 0.01
    for numerics in (CompiledSeq32(2, "numba", resident="stored"), CompiledSeq32(1, "numpy", resident="stored")):
        transformer = open_model(quantised, numerics=numerics).transformer
        assert isinstance(transformer.weights.model.output.matrices[0], InPlaceMatrix)
        cache, apart = transformer.new_cache(), transformer.new_cache()
        together = transformer.forward(IDS, cache, first_logit=0)
        single = np.concatenate([transformer.forward([token], apart) for token in IDS])
        np.testing.assert_array_equal(together.view(np.uint32), expected.view(np.uint32))
        np.testing.assert_array_equal(single.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_numbers_in_two_bytes_stay_where_they_are(name: str) -> None:
    """FW-4, GG-8: a model in half precision or bfloat16 has the bits of decoding first, in one pass and one by one."""
    ids = [1, 70, 71, 72, 80, 100, 7]
    path = model_path(Path(f"small.{name}.gguf"))
    expected = open_model(path, numerics=CompiledSeq32(1, "numpy")).logits(ids)
    numerics = CompiledSeq32(1, "numba", resident="stored")
    transformer = open_model(path, numerics=numerics).transformer
    (part,) = transformer.weights.model.output.matrices[0].parts
    assert part.blocks is not None
    assert (part.blocks.type.name, part.blocks.type.block_size) == (name, 32)
    cache = transformer.new_cache()
    single = np.concatenate([transformer.forward([token], cache) for token in ids])
    together = transformer.forward(ids, transformer.new_cache(), first_logit=0)
    np.testing.assert_array_equal(single.view(np.uint32), expected.view(np.uint32))
    np.testing.assert_array_equal(together.view(np.uint32), expected.view(np.uint32))
    fast = open_model(path, numerics=Fast("stored")).logits(ids)
    assert np.abs(fast - expected).max() < 1e-4 * np.abs(expected).max()


def test_memory_of_what_does_not_stay_is_counted(quantised: bytes) -> None:
    """CL-statuses: matrices of float32 numbers take memory also where others stay in the file."""
    sizes = []
    for data in (quantised, plain_gguf().data):
        validated = validate_model(data, Profile())
        plain = [each for each in validated.tensors.values() if len(each.shape) > 1 and each.type_name == "f32"]
        rest = sum(4 * int(np.prod(each.shape)) for each in validated.tensors.values() if len(each.shape) == 1)
        rest += first_cache_bytes(validated.hyperparameters, np.float32)
        sizes.append(memory_needed(validated, Profile(), Fast("stored")) - rest)
        assert sizes[-1] == sum(4 * int(np.prod(each.shape)) for each in plain)
    assert sizes[1] > 0


def test_fast_in_place_within_float32_noise(quantised: bytes) -> None:
    """FW-4: `fast` with weights in place lies as close to f64 as float32 does, in one pass and one by one."""
    truth = open_model(quantised, numerics="f64").logits(IDS)
    transformer = open_model(quantised, numerics=Fast("stored")).transformer
    cache = transformer.new_cache()
    single = np.concatenate([transformer.forward([token], cache) for token in IDS])
    together = transformer.forward(IDS, transformer.new_cache(), first_logit=0)
    for found in (single, together):
        assert np.abs(found - truth).max() < 1e-4 * np.abs(truth).max()


@pytest.mark.usefixtures("eager")
def test_the_transfer_buffer_may_be_freed_and_filled_with_something_else(quantised: bytes) -> None:
    """MEM-9: the bytes of a model are copied where its weights stay in them."""
    answers = []
    for resident in ("float32", "stored", "auto"):
        abi = ExportedABI(numerics=numerics_named("seq32", resident=resident))
        pointer = abi.alloc(len(quantised))
        abi.write(pointer, quantised)
        assert abi.load_model(pointer, len(quantised)) == Status.Ok
        abi.write(pointer, b"\xaa" * len(quantised))
        abi.dealloc(pointer, len(quantised))
        prompt = abi.alloc(2)
        abi.write(prompt, b"ab")
        assert abi.generate(prompt, 2, 5) in (Status.Ok, Status.InvalidUtf8)
        answers.append(abi.read(abi.get_diagnostics_ptr(), abi.get_diagnostics_len()))
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("numerics", ["seq32", "fast"])
def test_what_was_chosen_is_shown(quantised: bytes, numerics: str, tmp_path: Path) -> None:
    """GG-8: `--resident auto` says what it chose, on standard error and in the document; a choice is kept."""
    path = tmp_path / "model.gguf"
    path.write_bytes(quantised)
    arguments = ["run", path, "--ids", "1,261,262", "-n", "2", "--numerics", numerics]
    assert f"numerics {numerics}, weights stored (auto)" in command(*arguments, "--raw").stderr
    assert "as stored in the file, by seq32 and fast" in command("inspect", path).stdout
    assert command(*arguments, "--json").json["resident"] == "stored (auto)"
    assert command(*arguments, "--resident", "float32", "--json").json["resident"] == "float32"


def test_only_some_profiles_leave_weights_where_they_are(tmp_path: Path) -> None:
    """GG-8: f64 has no use for it and says so."""
    done = command("run", tmp_path / "x.gguf", "a", "--numerics", "f64", "--resident", "stored")
    assert done.code == 2
    assert "only --numerics seq32 and fast leave weights as they are stored, not f64" in done.stderr


def test_the_blas_has_one_thread_in_a_pass_and_its_own_number_behind_it() -> None:
    """FW-4: passes may overlap on several threads; the last one that ends restores what was."""
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"}

    before = threads()
    first, second = one_blas_thread(), one_blas_thread()
    with first:
        assert threads() <= {1}
        second.__enter__()
    assert threads() <= {1}
    second.__exit__(None, None, None)
    assert threads() == before
