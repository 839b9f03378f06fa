"""A session against those that share no code with it: the exports of the oracle, `Model.generate`, the guest."""

from __future__ import annotations

import re

import numpy as np
import pytest

import refruntime
from refruntime.cases.observation import code_of, diagnostics_of, result_of
from refruntime.cases.observe import StepRunner as CaseRun
from refruntime.cases.steps import NEXT_TOKEN, RESET, Configure, Generate, Load, Step
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine
from refruntime.engines.reference import ReferenceEngine
from refruntime.errors import ContextExceeded, InvalidLength, InvalidUtf8
from refruntime.exports import ExportedABI
from refruntime.session.session import Session
from refruntime.session.state import SessionError
from tests.support.talks import STORIES, fresh, tiny_model

SETTINGS = [
    {},
    {"temperature": 1.0, "top_k": 260, "seed": 3},
    {"temperature": 0.7, "top_k": 12, "top_p": 0.8, "seed": 0},
    {"temperature": 1.6, "top_k": 40, "top_p": 0.95, "seed": 2**64 - 1},
]


def answers(
    engine: Engine, steps: tuple[Step, ...], models: dict[str, bytes]
) -> list[tuple[int | None, bytes | None, object]]:
    """Return status, result and selected token of every call."""
    run = CaseRun(Client(engine), Profile(), models)
    shown = [run.run(step) for step in steps]
    return [(code_of(each), result_of(each), diagnostics_of(each).get("selected_token")) for each in shown]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("engine", ["exports", "guest"])
def test_steps_are_a_generation(settings: dict[str, float], engine: str) -> None:
    """GEN-5, GEN-7, GEN-8: as many steps as tokens give the text of `generate`, on the exports and on the guest."""
    session = Session(STORIES, name="stories").set(**settings).prompt("Once upon a time").step(24)
    models = {"stories": STORIES.read_bytes()}
    target: Engine = ReferenceEngine(ExportedABI()) if engine == "exports" else fresh()
    status, result, selected = answers(target, session.state.script, models)[-1]
    assert session.state.script[-1] == Generate(b"Once upon a time", 24)
    assert (status, result, selected) == (0, session.text, session.last.token)
    assert session.text.decode().isprintable()


@pytest.mark.parametrize("settings", SETTINGS)
def test_ids_are_those_of_the_model_api(settings: dict[str, float]) -> None:
    """GEN-5, PR-2: every sampled id is that of `Model.generate` with the same settings, bytes that are no text too."""
    generation = refruntime.open_model(tiny_model()).generate("ab", 16, **settings)
    session = Session(tiny_model()).set(**settings).prompt("ab").step(16)
    assert session.generated_ids == generation.generated_ids
    assert len(session.generated_ids) > 2


@pytest.mark.parametrize("engine", ["exports", "guest"])
def test_next_is_the_continuation(engine: str) -> None:
    """NT-4, NT-6, SC-3, PR-4: after a generation, and after `set`, tokens are those of generate_next_token."""
    session = Session(STORIES, name="stories").set(temperature=1.2, top_k=30, seed=9).prompt("The little").step(5)
    session = session.next(3).set(temperature=0.9, seed=4).step(4)
    script = session.state.script
    assert script[2:] == (
        Generate(b"The little", 5),
        *[NEXT_TOKEN] * 3,
        Configure(0.9, 30, 1.0, 4),
        *[NEXT_TOKEN] * 4,
    )
    target: Engine = ReferenceEngine(ExportedABI()) if engine == "exports" else fresh()
    shown = answers(target, script, {"stories": STORIES.read_bytes()})
    tokens = [selected for step, (_, _, selected) in zip(script, shown, strict=True) if step == NEXT_TOKEN]
    assert {status for status, _, _ in shown} == {0}
    assert tokens == [taken.token for taken in session.state.taken[5:]]
    assert len(set(tokens)) > 3


def test_set_before_the_first_token_is_set_before_the_prompt() -> None:
    """SC-1, GEN-7: the order of `prompt` and `set` does not matter as long as no token was sampled."""
    one = Session(tiny_model()).prompt("ab").set(temperature=1.0, top_k=99, seed=8).step(6)
    other = Session(tiny_model()).set(temperature=1.0, top_k=99, seed=8).prompt("ab").step(6)
    assert one.generated_ids == other.generated_ids
    assert one.state.script == other.state.script == (Load("model"), Configure(1.0, 99, 1.0, 8), Generate(b"ab", 6))


@pytest.mark.parametrize(
    ("options", "reseeded"),
    [({}, ()), ({"PR-4.generate": "reseeded"}, ("prompt",)), ({"PR-4.reset": "reseeded"}, ("reset",))],
)
def test_generator_options(options: dict[str, str], reseeded: tuple[str, ...]) -> None:
    """PR-4: prompt and reset leave the runtime-owned generator alone, or seed it, as the profile says."""
    profile = Profile.from_choices(options)
    drawn = Session(STORIES, profile).set(temperature=1.0, top_k=9, seed=6).prompt("Once upon a").step(2).next(3)
    moved = drawn.state.runtime_generator
    assert moved is not None
    assert moved.draws == 3
    assert drawn.prompt("Once").state.runtime_generator == moved  # the call begins with its first token
    after = {"prompt": drawn.prompt("Once").step(), "reset": drawn.reset()}
    for word, session in after.items():
        generator = session.state.runtime_generator
        assert generator is not None
        assert generator.draws == (0 if word in reseeded else 3), word


def test_going_back_and_branching_changes_nothing() -> None:
    """GEN-4: a session stays what it was whatever grows out of it, logits bit for bit."""
    root = Session(tiny_model()).set(temperature=1.0, top_k=260, seed=2).prompt("a").step(4)
    logits = root.next_logits.copy()
    again = root.step(5)
    other = root.set(temperature=2.0, seed=77).step(5)
    assert again.generated_ids != other.generated_ids
    assert root.step(5).generated_ids == again.generated_ids
    assert again.back(5) is root
    elsewhere = Session(tiny_model()).set(temperature=1.0, top_k=260, seed=2).prompt("a").step(4)
    assert np.array_equal(elsewhere.next_logits.view(np.uint32), logits.view(np.uint32))


def test_forced_tokens_are_forced() -> None:
    """SA-6, PR-1: a forced token is told from the sampler's, and the generator stands where it stood without it."""
    start = Session(tiny_model()).set(temperature=1.0, top_k=260, seed=2).prompt("a").step(2)
    free, forced = start.step(), start.force(65)
    assert forced.last.forced
    assert forced.last.token == 65 != free.last.token
    assert forced.last.choice.token == free.last.token
    assert forced.state.generate_generator == free.state.generate_generator
    assert forced.ids[-1] == 65
    by_hand = Session(tiny_model()).prompt([*start.ids, 65])
    assert np.array_equal(by_hand.next_logits, forced.next_logits)


def test_force_takes_text_of_exactly_one_token() -> None:
    """SL-7: text names a token if exactly one has these bytes."""
    session = Session(tiny_model()).prompt("a")
    assert session.force("A").last.token == 65
    for wrong in ("AB", "", 260, -1):
        with pytest.raises(SessionError):
            session.force(wrong)


def test_what_no_export_does_stays_out_of_the_calls() -> None:
    """GEN-5, NT-4: a forced token, or ids for a prompt, are told; a new prompt begins true calls again."""
    session = Session(STORIES, name="stories").set(temperature=1.0, top_k=20, seed=5).prompt("Once").step(2)
    forced = session.force("x").step(3)
    assert "forced" in forced.state.unspeakable
    assert forced.state.script == session.state.script
    fresh_prompt = forced.prompt("The").step(2)
    assert fresh_prompt.state.unspeakable == ""
    assert fresh_prompt.state.script == (Load("stories"), Configure(1.0, 20, 1.0, 5), Generate(b"The", 2))
    assert "ids" in session.prompt([1, 2]).step().state.unspeakable
    drawn = (
        session.next(2).force("x").prompt("The")
    )  # the runtime-owned generator has moved: no short script gives that
    assert "forced" in drawn.state.unspeakable


def test_continuation_of_half_a_character_is_beyond_calls() -> None:
    """GEN-9, NT-7, ST-7: bytes that are no text make a call fail and clear the context; the session says so."""
    session = Session(tiny_model()).set(temperature=2.0, top_k=260, seed=4).prompt("a")
    while not session.finished:
        session = session.step()
        try:
            session.text.decode()
        except UnicodeDecodeError:
            break
    assert session.state.unspeakable == ""
    assert "InvalidUtf8, GEN-9" in session.next().state.unspeakable
    assert "InvalidUtf8, GEN-9" in session.set(seed=1).step().state.unspeakable
    lossy = (
        Session(tiny_model(), Profile(invalid_output_utf8="lossy")).set(temperature=2.0, top_k=260, seed=4).prompt("a")
    )
    assert lossy.step(len(session.state.taken)).next().state.unspeakable == ""


def test_prompts_are_refused_as_by_generate() -> None:
    """GEN-1, GEN-3, ERR-1: empty, too long and no UTF-8, each with the failure of its status."""
    session = Session(tiny_model())
    with pytest.raises(InvalidLength):
        session.prompt("")
    with pytest.raises(InvalidLength):
        session.prompt([])
    with pytest.raises(ContextExceeded):
        session.prompt("a" * 23)
    with pytest.raises(InvalidUtf8):
        session.prompt(b"\xff")
    assert len(session.prompt("a" * 22).ids) == 23


def test_ends_of_a_generation() -> None:
    """GEN-6, NT-3: a full context ends both kinds of steps, a stop token only the generation."""
    full = Session(tiny_model()).set(temperature=1.0, top_k=260).prompt("a" * 20).step(99)
    assert len(full.ids) == 24
    assert "full" in full.finished
    with pytest.raises(SessionError, match="full"):
        full.next()
    stopped = Session(tiny_model()).prompt("a").force(257)
    assert "stop token" in stopped.finished
    with pytest.raises(SessionError, match="stop token"):
        stopped.step()
    assert stopped.next().last.position == 2  # BOS and "a": the stop token takes no position (NT-5)


def test_reset_is_a_call() -> None:
    """ST-5: reset empties the context, keeps the configuration, and is a call of its own."""
    session = Session(STORIES, name="s").set(temperature=1.0, top_k=5).prompt("Once").step(2).reset()
    assert (session.ids, session.state.sampling.top_k) == ((), 5)
    assert session.state.script[-1] == RESET
    with pytest.raises(SessionError, match="no prompt"):
        session.step()


def test_numbers_of_any_library() -> None:
    """NumPy's integers are ids, counts and settings; what is no integer is refused by name, not rounded or kept."""
    drawn = Session(tiny_model()).set(temperature=np.float32(0.5), top_k=np.int64(20), seed=np.uint64(2**64 - 1))
    begun = drawn.prompt("a")
    assert begun.force(begun.next_logits.argmax()).last.token == int(begun.next_logits.argmax())
    assert begun.step(np.int32(2)).back(np.int8(2)) is begun
    assert type(drawn.state.sampling.top_k) is int
    for act, message in (
        (lambda: begun.force(3.5), "token: expected an integer, found 3.5"),
        (lambda: begun.force(None), "token: expected an integer, found None"),
        (lambda: begun.set(top_k=4.0), "top_k: expected an integer, found 4.0"),
        (lambda: begun.set(temperature="1"), "temperature: expected a number, found '1'"),
        (lambda: begun.step().what_if(top_k=1.5), "top_k: expected an integer, found 1.5"),
        (lambda: begun.step().what_if(temperature="x"), "temperature: expected a number, found 'x'"),
        (lambda: begun.step(-1), "count: expected at least 0, found -1"),
        (lambda: begun.step().next(-1), "count: expected at least 0, found -1"),
        (lambda: begun.back(-1), "count: expected at least 0, found -1"),
    ):
        with pytest.raises(SessionError, match=re.escape(message)):
            act()
