"""The Python API on hand-made models."""

from __future__ import annotations

import subprocess
import sys
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

import refruntime
from refruntime import ContractError, Profile, Status, open_model, open_tokenizer
from refruntime.contract.profile import ProfileError
from refruntime.errors import ContextExceeded, InvalidLength, InvalidModelMagic, InvalidUtf8
from refruntime.numerics import F64
from refruntime.trace import ChoiceEvent, Event, TensorEvent, TokensEvent
from tests.second_opinion.float64_llama import float64_logits
from tests.support.lookup_model import BOS, EOS, HIDDEN, lookup_model, spelling
from tests.support.slm1_by_hand import build, model_tensors

HELLO = lookup_model(spelling(b"Helo!"))
BROKEN_TEXT = lookup_model({ord("A"): 0xC3, 0xC3: ord("("), ord("("): EOS})


class Recorder:
    """Keep every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        self.events.append(event)


def varied_model() -> tuple[bytes, dict[str, np.ndarray]]:
    """Return a model of two layers with small varied float32 weights, as a file and as arrays."""
    tensors = model_tensors(hidden=8, ffn=6, layers=2)
    weights = {item.name: np.frombuffer(item.payload, "<f4").reshape(item.dims) for item in tensors}
    file = build(tensors, hidden_size=8, ffn_size=6, layer_count=2, head_count=2, kv_head_count=2, head_dim=4)
    return bytes(file), weights


def test_generation_follows_the_table() -> None:
    """GEN-2, GEN-5, GEN-8, SL-8, SL-11: BOS stays, EOS ends and is not appended, the text has no prompt."""
    generation = open_model(HELLO).generate("H", 9)
    assert generation.status is Status.Ok
    assert generation.error is None
    assert generation.prompt_ids == (BOS, ord("H"))
    assert bytes(generation.generated_ids) == generation.result_bytes == b"elo!"
    assert generation.text == "elo!"
    assert open_model(HELLO).generate("H", 2).text == "el"


def test_continuations_follow_a_generation() -> None:
    """NT-4, NT-5, NT-6: each gives one token and its text; a stop token gives none, again and again."""
    generation = open_model(HELLO).generate("H", 2, continuations=4)
    assert (generation.text, generation.status) == ("el", Status.Ok)
    assert [call.result_bytes for call in generation.continuations] == [b"o", b"!", b"", b""]
    assert [bytes(call.generated_ids) for call in generation.continuations] == [b"o", b"!", b"", b""]
    assert bytes(generation.generated_ids) == b"elo!"


def test_prompt_as_ids() -> None:
    """GEN-2, GEN-3: ids are taken as they are, without BOS, and give the same answer here."""
    model = open_model(HELLO)
    generation = model.generate([ord("H")], 9)
    assert (generation.prompt_ids, generation.text) == ((ord("H"),), "elo!")
    assert model.generate(np.array([BOS, ord("H")], np.int32), 9) == model.generate("H", 9)
    assert model.generate([], 9).status is Status.InvalidLength
    for ids in ([-1], [260], [2**70]):
        with pytest.raises(ValueError, match="outside the vocabulary"):
            model.generate(ids, 9)
    with pytest.raises(ValueError, match=r"260.*0 \.\. 259"):
        model.detokenize([260])


@pytest.mark.parametrize(
    ("option", "status", "text"), [("3", 3, None), ("13", 13, None), ("lossy", 0, "\N{REPLACEMENT CHARACTER}(")]
)
def test_generated_bytes_that_are_not_utf8(option: str, status: int, text: str | None) -> None:
    """GEN-9: a failed generation still tells its ids and bytes; the profile may ask for a replacement instead."""
    generation = open_model(BROKEN_TEXT, Profile(invalid_output_utf8=option)).generate("A", 9)  # type: ignore[arg-type]
    assert generation.status == status
    assert generation.generated_ids == (0xC3, ord("("))
    assert generation.text == text
    if text is None:
        assert generation.result_bytes == b"\xc3("
        assert generation.error is not None
        assert (generation.error.rule, generation.error.offset, generation.error.found) == ("GEN-9", 0, "c3")


def test_failures_are_results() -> None:
    """ERR-1, GEN-1, GEN-3, SC-2: a generation that the contract refuses says which status and why."""
    model = open_model(lookup_model(spelling(b"Helo!"), max_context=4))

    def status(prompt: str | bytes, count: int = 1, **settings: float) -> Status:
        generation = model.generate(prompt, count, **settings)  # type: ignore[arg-type]
        assert (generation.error is None) == (generation.status is Status.Ok)
        assert generation.generated_ids == () or generation.status is Status.Ok
        return generation.status

    assert status("") is Status.InvalidLength
    assert status("H", 0) is Status.InvalidLength
    assert status("H", temperature=-1.0) is Status.InvalidLength
    assert status("H", temperature=float("nan")) is Status.InvalidLength
    assert status("H", top_k=0) is Status.InvalidLength
    assert status("H", top_p=0.0) is Status.InvalidLength
    assert status("H", top_p=1e-60) is Status.InvalidLength  # 0 as a float32
    assert status("H", top_p=1 + 1e-12) is Status.Ok  # 1 as a float32
    assert status("H", seed=2**64) is Status.InvalidLength
    assert status(b"\xff") is Status.InvalidUtf8
    assert status("\ud800") is Status.InvalidUtf8
    assert status("\udcff") is Status.InvalidUtf8
    assert status("HHH") is Status.ContextExceeded  # with BOS as many as there are positions
    assert status("HH") is Status.Ok


def test_calls_do_not_influence_each_other() -> None:
    """GEN-7, SC-3: the same call gives the same answer whatever came between, also a failure or other settings."""
    file, _ = varied_model()
    model = open_model(file)
    first = model.generate("a", 5, temperature=2.0, top_k=260, seed=3)
    assert model.generate("a", 5, temperature=2.0, top_k=260, seed=3) == first
    greedy = model.generate("a", 5)
    model.logits("abc")
    assert model.generate("a", 0).status is Status.InvalidLength
    assert model.generate("a", 5) == greedy
    assert model.generate("a", 5, temperature=2.0, top_k=260, seed=3) == first
    others = {model.generate("a", 5, temperature=2.0, top_k=260, seed=seed).generated_ids for seed in range(20)}
    assert len(others) > 10


@pytest.mark.parametrize(("numerics", "dtype", "tolerance"), [("seq32", np.float32, 1e-5), ("f64", np.float64, 1e-12)])
def test_logits_of_every_position(numerics: str, dtype: type, tolerance: float) -> None:
    """FW-1, FW-2, FW-5, FW-6: all positions agree with a separately written float64 forward pass."""
    file, weights = varied_model()
    ids = [256, 97, 98, 0, 259, 98, 12, 200]  # the whole context
    logits = open_model(file, numerics=numerics).logits(ids)
    expected = float64_logits(weights, ids, heads=2, rms_epsilon=2.0**-17)
    assert logits.shape == (8, 260)
    assert logits.dtype == dtype
    scale = np.abs(expected).max()
    assert scale > 1
    assert np.abs(logits - expected).max() <= tolerance * scale


def test_logits_by_hand() -> None:
    """FW-3: a unit vector of H components becomes sqrt(H) long, so that is the logit; the epsilon makes it smaller."""
    logits = open_model(HELLO, numerics=F64()).logits("H")
    expected = 1 / sqrt(1 / HIDDEN + 2.0**-17)
    assert logits.shape == (2, 260)
    assert logits[1, ord("e")] == pytest.approx(expected, rel=1e-14)
    assert np.count_nonzero(logits) == 1


def test_logits_limits() -> None:
    """GEN-3: ids may fill the context, not more; text leaves room for one token, as in a generation."""
    model = open_model(lookup_model(spelling(b"Helo!"), max_context=4))
    assert model.logits([72] * 4).shape == (4, 260)
    with pytest.raises(ContextExceeded):
        model.logits([72] * 5)
    with pytest.raises(ContextExceeded):
        model.logits("HHH")
    with pytest.raises(InvalidLength):
        model.logits([])
    with pytest.raises(InvalidLength):
        model.logits("")
    with pytest.raises(InvalidUtf8):
        model.logits(b"\xff")


def test_tokenize_and_detokenize() -> None:
    """SL-7, SL-8: BTOK ids are bytes between BOS and EOS; without specials the bytes alone."""
    model = open_model(HELLO)
    assert model.tokenize("é") == [BOS, 0xC3, 0xA9, EOS]
    assert model.tokenize("é", add_special=False) == [0xC3, 0xA9]
    assert model.tokenize("") == [BOS, EOS]
    assert model.prompt_ids("é") == [BOS, 0xC3, 0xA9]
    assert model.detokenize([BOS, 0xC3, 259]) == b"\xc3?"
    with pytest.raises(InvalidUtf8):
        model.tokenize(b"\xff")
    assert model.quantization == "f32"
    assert model.hyperparameters.hidden_size == HIDDEN


def test_the_caller_may_reuse_the_bytes() -> None:
    """MEM-9: the model bytes are copied."""
    file, _ = varied_model()
    buffer = bytearray(file)
    model = open_model(buffer)
    before = model.logits([1, 2, 3])
    buffer[:] = b"\xff" * len(buffer)
    assert model.logits([1, 2, 3]).tobytes() == before.tobytes()


def test_open_a_path(tmp_path: Path) -> None:
    """SL-1, GG-1: a path gives what its bytes give; an empty file has no magic; a missing one is an OSError."""
    path = tmp_path / "model.slm1"
    path.write_bytes(HELLO)
    assert open_model(path).generate("H", 9) == open_model(HELLO).generate("H", 9)
    assert open_model(str(path)).inspect().hyperparameters == open_model(HELLO).hyperparameters
    path.write_bytes(b"")
    with pytest.raises(InvalidModelMagic):
        open_model(path)
    with pytest.raises(FileNotFoundError):
        open_model(tmp_path / "none")
    with pytest.raises(ValueError, match="f16"):
        open_model(HELLO, numerics="f16")
    with pytest.raises(InvalidModelMagic):
        open_model(HELLO, Profile(containers=("gguf",)))


def test_failed_opening_is_a_failure_of_the_contract() -> None:
    """SL-5: a damaged file raises the leaf that load_model reports."""
    damaged = bytearray(HELLO)
    damaged[-1] ^= 1
    with pytest.raises(ContractError) as caught:
        open_model(damaged)
    assert (caught.value.status, caught.value.rule) == (Status.InvalidHeader, "SL-5")
    open_model(damaged, Profile(checksum="not verified"))


def test_events_reach_the_listener() -> None:
    """GEN-4, GEN-5: prompt ids, every choice, and the tensors of every pass, in order of the computation."""
    recorder = Recorder()
    generation = open_model(HELLO).generate("H", 9, tracer=recorder)
    prompts = [event for event in recorder.events if isinstance(event, TokensEvent)]
    assert [event.ids for event in prompts if event.name == "prompt"] == [(BOS, ord("H"))]
    choices = [event.choice.token for event in recorder.events if isinstance(event, ChoiceEvent)]
    assert choices == [*generation.generated_ids, EOS]
    again = Recorder()
    open_model(HELLO).logits("H", tracer=again)
    logits = [event for event in again.events if isinstance(event, TensorEvent) and event.name == "logits"]
    assert [event.shape for event in logits] == [(2, 260)]


def test_tokenizer_alone() -> None:
    """SL-7: the tokenizer of a model file is the same when it is opened alone."""
    tokenizer = open_tokenizer(HELLO)
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.encode(b"ab")) == ("btok", 260, [BOS, 97, 98, EOS])
    with pytest.raises(InvalidModelMagic):
        open_tokenizer(b"nope")


def test_public_names() -> None:
    """ABI-5: every public name exists, others do not; the error tree and the profile are among them."""
    for name in refruntime.__all__:
        assert getattr(refruntime, name) is not None
        assert name in dir(refruntime)
    assert refruntime.ContractError is ContractError
    assert issubclass(ProfileError, ValueError)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        refruntime.nothing  # noqa: B018


def test_import_is_light() -> None:
    """ABI-4: nothing is loaded, computed or kept by the import alone; NumPy comes with the first use."""
    code = "import sys, refruntime; print(sorted({'numpy', 'click', 'gguf'} & set(sys.modules))); refruntime.open_model"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
