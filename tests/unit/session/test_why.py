"""`why` shows the numbers of the sampler: those of the golden traces and of the runtime's own events, and no others."""

from __future__ import annotations

import re

import numpy as np
import pytest

from refruntime.api import open_model
from refruntime.contract.profile import Profile
from refruntime.golden.corpus import Corpus
from refruntime.golden.expect import parse_expectation
from refruntime.golden.values import ARRAY_TYPES, hex_float, parse_hex_float
from refruntime.sampling import Choice
from refruntime.session.from_case import Calls
from refruntime.session.session import Session
from refruntime.session.why import Why
from refruntime.show.terminal import why_shown
from refruntime.show.text import as_string
from refruntime.trace import ChoiceEvent, Event
from tests.support.talks import PROJECT, tiny_model

CORPUS = Corpus(PROJECT / "golden")
FAMILIES = ("sampling/", "generate/stories-q8", "generate/small-f32", "abi/seed")


def drawn_cases() -> list[str]:
    return [name for name in CORPUS.ids() if name.startswith(FAMILIES)]


def choices(identifier: str) -> list[Why]:
    """Return the explanation of every token that a case samples, in order."""
    case = CORPUS.case(identifier).case(CORPUS.artifact)
    calls = Calls(case.models)
    explained: list[Why] = []
    for step in case.steps:
        calls.run(step)
        for session in calls.new_sessions:
            for taken in session.state.taken[-1:]:
                if not any(taken is each.taken for each in explained):  # a state behind a step has it again
                    explained.append(Why(taken, session.subject.tokenizer, session.subject.profile))
    return explained


class Choices:
    """Keep the choices that a runtime reports."""

    def __init__(self) -> None:
        self.choices: list[Choice] = []

    def event(self, event: Event) -> None:
        if isinstance(event, ChoiceEvent):
            self.choices.append(event.choice)


@pytest.mark.skipif(not drawn_cases(), reason="there are no golden cases here")
def test_numbers_are_those_of_the_golden_traces() -> None:
    """SA-2 .. SA-6, PR-1, PR-3: every stage of `why`, as data and as hex text, equals the trace of the goldens."""
    compared = greedy = 0
    for identifier in drawn_cases():
        golden = CORPUS.case(identifier)
        expected = parse_expectation(golden, CORPUS.read(f"cases/{identifier}/expect.json"))
        arrays = {name: np.zeros(0, type_) for name, type_ in ARRAY_TYPES.items()}
        for name in arrays:
            data = CORPUS.read_if_there(f"cases/{identifier}/{name}")
            if data is not None:
                arrays[name] = np.frombuffer(data, ARRAY_TYPES[name], offset=10 + int.from_bytes(data[8:10], "little"))
        found = choices(identifier)
        assert len(found) == len(expected.samples), identifier
        for sample, why in zip(expected.samples, found, strict=True):
            rendered = (compared + greedy) % 12 == 0  # drawing the table takes longer than everything else
            shown = as_string(why_shown(why, 3, True), 300) if rendered else None
            assert why.choice.token == sample["token"]
            if "greedy" in sample:
                assert shown is None or sample["greedy"] in shown
                greedy += 1
                continue
            check_sample(sample, arrays, why, shown)
            compared += 1
    assert compared > 100
    assert greedy > 10


def check_sample(sample: dict[str, object], arrays: dict[str, np.ndarray], why: Why, shown: str | None) -> None:
    document = why.to_dict()
    for name in ("total", "threshold", "mass", "unit", "point"):
        assert hex_float(np.float32(document[name])) == sample[name], name
        assert shown is None or str(sample[name]) in shown, name
    for name in ("state_before", "state_after", "output"):
        assert document[name] == sample[name]
        assert shown is None or f"0x{sample[name]}" in shown
    for name in ("retained", "kept", "index"):
        assert document[name] == sample[name]
    first, kept = int(str(sample["first"])), int(str(sample["kept"]))
    ids, weights = arrays["ids.npy"][first : first + kept], arrays["weights.npy"][first : first + kept]
    assert document["retained_ids"][:kept] == ids.tolist()
    assert np.array_equal(np.float32(document["weights"][:kept]).view(np.uint32), weights.view(np.uint32))
    sums = np.add.accumulate(weights, dtype=np.float32)
    for candidate in why.telling(3):
        place = candidate.rank - 1
        if place < kept:
            assert candidate.token == ids[place]
            assert candidate.weight == weights[place]
            assert candidate.high == sums[place]
            assert candidate.low == (sums[place - 1] if place else 0)
            assert shown is None or hex_float(weights[place]) in shown
        else:
            assert candidate.fate.startswith("cut by")
    won = [candidate for candidate in why.telling(3) if candidate.fate == "won"]
    assert [candidate.token for candidate in won] == [sample["token"]]
    (low, high), point = (won[0].low, won[0].high), parse_hex_float(str(sample["point"]))
    assert low is not None
    assert high is not None
    assert point is not None
    assert low <= point
    assert point < high or won[0].rank == kept


def test_choices_are_those_of_the_runtime() -> None:
    """SA-2 .. SA-6: `why` holds the very choice that the runtime reports, stage by stage."""
    settings = {"temperature": 1.3, "top_k": 50, "top_p": 0.9, "seed": 11}
    listener = Choices()
    open_model(tiny_model()).generate("ab", 12, **settings, tracer=listener)
    session = Session(tiny_model()).set(**settings).prompt("ab").step(12)
    mine = [taken.choice for taken in session.state.taken]
    assert len(mine) == len(listener.choices) > 5
    for one, other in zip(mine, listener.choices, strict=True):
        assert (one.token, one.generator_state, one.drawn.draw, one.drawn.pick, one.drawn.cut) == (
            *(other.token, other.generator_state, other.drawn.draw, other.drawn.pick, other.drawn.cut),
        )
        assert one.selection is not None
        assert other.selection is not None
        assert np.array_equal(one.selection.ids, other.selection.ids)
        assert one.weighing is not None
        assert other.weighing is not None
        assert np.array_equal(one.weighing.weights, other.weighing.weights)


def test_force_never_lies() -> None:
    """SA-6: after `force` the explanation names both the token that a person took and the sampler's."""
    session = Session(tiny_model()).set(temperature=1.0, top_k=20, top_p=0.7, seed=3).prompt("ab")
    free = session.step().last
    for token in (free.token, 0, 65, 258):
        why = session.force(token).why()
        document, shown = why.to_dict(), as_string(why_shown(why), 200)
        assert (document["forced"], document["token"], document["sampler_token"]) == (True, token, free.token)
        assert re.search(rf"^chosen +{free.token} .*by the sampler", shown)
        assert re.search(rf"^forced +{token} .*taken by hand", shown, re.MULTILINE)
        assert [each.token for each in why.telling(5) if each.fate == "won"] == [free.token]
        assert token in [each.token for each in why.telling(5)]
        assert [row for row in shown.splitlines() if ", forced" in row]
    assert "forced" not in as_string(why_shown(session.step().why()), 200)


def test_ties_and_edges_are_told() -> None:
    """SA-2, SA-5: equal logits at the cut are counted, and the crossing candidate and the first cut one are shown."""
    logits = np.full(260, -5.0, np.float32)
    logits[[7, 9, 11, 20]] = (3.0, 2.0, 2.0, 2.0)
    why = why_of(logits, temperature=1.0, top_k=2, top_p=0.9)
    assert why.tied_at_the_edge == 2
    edge = why.edge_of_top_k
    assert edge is not None
    assert [each.token for each in edge] == [9, 11]
    assert "2 cut candidates with an equal logit, lower id first" in as_string(why_shown(why), 200)
    assert why.crossing is not None
    assert why.crossing.token == 9
    higher = why_of(logits, Profile(equal_logits="higher id first"), temperature=1.0, top_k=2)
    assert [each.token for each in higher.edge_of_top_k or ()] == [20, 11]


def test_other_orders_and_comparisons_are_told() -> None:
    """SA-3, SA-4, SA-5: the stages are told as the profile has them, in the order of the retained candidates."""
    even = np.full(260, -1000.0, np.float32)
    even[[5, 6, 7, 8]] = 0.0
    profile = Profile(temperature_order="temperature first", weights="normalised", top_p_comparison=">")
    why = why_of(even, profile, temperature=1.0, top_k=4, top_p=0.5)
    assert (why.crossing and why.crossing.token, why.choice.drawn and why.choice.drawn.cut.kept) == (7, 3)
    shown = as_string(why_shown(why), 200)
    assert "weights expf(logit / temperature - greatest), each divided by their sum; total 1.0" in shown
    assert 'threshold top_p x total = 0.5, exceeded by #3 "␇" with the running sum 0.75; 3 kept' in shown
    whole = why_of(even, profile, temperature=1.0, top_k=4, top_p=1.0)
    assert whole.crossing is None
    assert "exceeded by no running sum; 4 kept" in as_string(why_shown(whole), 200)
    close = np.full(260, -1000.0, np.float32)
    close[[3, 9]] = (2 - 2.0**-22, 2 - 2.0**-23)  # one float32 after the division by 1.9
    assert why_of(close, temperature=1.9, top_k=2).order[:2].tolist() == [9, 3]
    assert why_of(close, profile, temperature=1.9, top_k=2).order[:2].tolist() == [3, 9]


def test_logits_that_are_no_numbers() -> None:
    """SA-1, SA-4: NaN is counted and never shown as a candidate; with nothing to retain the reason is given."""
    logits = np.full(260, np.nan, np.float32)
    nothing = why_of(logits, temperature=1.0, top_k=5)
    shown = as_string(why_shown(nothing), 200)
    assert "260 of them no numbers" in shown
    assert "no logit could be retained" in shown
    logits[[3, 4]] = (-np.inf, 1.0)
    shown = as_string(why_shown(why_of(logits, temperature=1.0, top_k=5)), 200)
    assert "258 of them no numbers" in shown
    assert "nan" not in shown


def test_narrow_and_wide() -> None:
    """Every line fits the width it is made for; bars appear only where they have room."""
    why = Session(tiny_model()).set(temperature=1.0, top_k=200, seed=3).prompt("ab").step().why()
    for width in (40, 60, 80, 120, 200):
        lines = as_string(why_shown(why, 10, True), width).splitlines()
        assert max(map(len, lines)) <= width
        assert any("█" in line or "▏" in line for line in lines) == (width >= 100)
    assert str(why).splitlines()[0].startswith("chosen")


def test_no_number_is_folded() -> None:
    """Each number of the table stands in one piece and bars in one line, in narrow terminals and wide ones."""
    why = Session(tiny_model()).set(temperature=1.0, top_k=20, top_p=0.8, seed=3).prompt("ab").step().force(255).why()
    numbers = [value for each in why.telling(10) for value in (each.logit, each.weight, each.high) if value is not None]
    for width in (40, 60, 71, 72, 100, 160):
        words = as_string(why_shown(why, 10, True), width).split()
        assert {str(value) for value in numbers} <= set(words), width
        assert {hex_float(value) for value in numbers} <= set(words), width
        assert not [word for word in words if set(word) <= set("█▏▎▍▌▋▊▉") and len(word) > 24]


def why_of(logits: np.ndarray, profile: Profile | None = None, **settings: float) -> Why:
    """Explain a choice from logits made by hand."""
    session = Session(tiny_model(), profile).set(**settings).prompt("a")
    session.__dict__["next_logits"] = logits
    return session.step().why()
