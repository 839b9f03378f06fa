"""`what-if` and the words that ask: what they answer is what another session, or plain arithmetic, gives."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.session.session import Session
from tests.support.talks import (
    DRAWN,
    say,
    shell,
    shown,
    tiny_model,
)


def test_what_if_is_what_would_have_been() -> None:
    """SC-1, PR-2, PR-3: an alternative gives the token that a session with this setting samples at this step."""
    for changes, settings in (
        ("temperature=0.3", "set temperature=0.3 top_k=260 seed=3"),
        ("seed=99", "set temperature=1 top_k=260 seed=99"),
        ("top_k=2 temperature=5", "set temperature=5 top_k=2 seed=3"),
        ("temperature=0", "set temperature=0 top_k=260 seed=3"),
    ):
        talk = shell(tiny_model())
        say(talk, DRAWN[0], "prompt ab", "step")
        outcome = say(talk, f"what-if {changes}")
        other = shell(tiny_model())
        say(other, settings, "prompt ab", "step")
        assert outcome.answer is not None
        [alternative] = outcome.answer.document["alternatives"]
        assert alternative["token"] == other.branches.node.present.last.token, changes


@pytest.mark.parametrize(
    ("key", "option", "profile"),
    [
        ("PR-3", "53 high bits", Profile(unit_conversion="53 high bits")),
        ("PR-1", "7,9,8", Profile(xorshift="7,9,8")),
        ("SA-2", "higher id first", Profile(equal_logits="higher id first")),
        ("SA-6", "<=", Profile(draw_comparison="<=")),
    ],
)
def test_options_of_the_profile_are_tried(key: str, option: str, profile: Profile) -> None:
    """PR-1, PR-3, SA-2, SA-6: `what-if` under an option equals a session whose profile has it."""
    lines = (DRAWN[0], "prompt ab", "step 3")
    talk, other = shell(tiny_model()), shell(tiny_model(), profile)
    say(talk, *lines)
    ids = talk.branches.node.present.ids
    say(other, *lines[:2])
    for token in ids[3:-1]:
        say(other, f"force {token}")
    say(other, "step")
    outcome = say(talk, f'what-if {key}="{option}"')
    assert outcome.answer is not None
    assert outcome.answer.document["alternatives"][0]["token"] == other.branches.node.present.last.token
    assert f"with {key} = {option} the token would" in shown(outcome)


def test_what_if_takes_several_values_and_all_options() -> None:
    """Several values are tried side by side, combinations too; without changes every option of the sampler's rules."""
    talk = shell(tiny_model())
    say(talk, *DRAWN[:1], "prompt ab", "step")
    outcome = say(talk, "what-if temperature=0.5,1,2 top_k=1,260")
    assert outcome.answer is not None
    labels = [each["with"] for each in outcome.answer.document["alternatives"]]
    assert len(labels) == 6
    assert labels[0] == "temperature = 0.5, top_k = 1"
    outcome = say(talk, "what-if")
    assert outcome.answer is not None
    keys = {each["with"].split(" = ")[0] for each in outcome.answer.document["alternatives"]}
    assert keys == {
        *("SA-2", "SA-3.scaling", "SA-3.order", "SA-4", "SA-5.crossing", "SA-5.comparison", "SA-6"),
        *("PR-1", "PR-2", "PR-3"),
    }


def test_questions_answer_with_the_numbers_of_the_session() -> None:
    """SA-2, FW-6, PR-1: top, logits, rng, attention and trace give the session's own arrays, and change nothing."""
    talk = shell(tiny_model())
    say(talk, DRAWN[0], "prompt ab", "step 3")
    session = talk.branches.node.present
    documents = {}
    for line in ("top 7", "logits 65", "rng", "attention 0 1", "trace 0/attn_q", "text", "why"):
        outcome = say(talk, line)
        assert outcome.answer is not None
        documents[line.split()[0]] = outcome.answer.document
        assert talk.branches.node.session is session
    logits = session.next_logits
    best = [entry["id"] for entry in documents["top"]["top"]]
    assert best == sorted(range(260), key=lambda token: (-logits[token], token))[:7]
    assert [entry["logit"] for entry in documents["logits"]["steps"]] == [
        *(float(taken.logits[65]) for taken in session.state.taken),
        float(logits[65]),
    ]
    x = session.state.generate_generator.state if session.state.generate_generator else 0
    x ^= x << 13 & 2**64 - 1
    x ^= x >> 7
    x ^= x << 17 & 2**64 - 1
    assert documents["rng"]["generate"]["next"][0] == {"output": f"{x:016x}", "unit": (x >> 40) / 2**24}
    weights = np.array(documents["attention"]["weights"])
    assert weights.shape == (6, 6)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(weights, np.tril(weights))
    assert documents["trace"]["tensors"][0]["shape"] == [6, 16]
    assert documents["text"]["ids"] == list(session.generated_ids)


@pytest.mark.parametrize(
    "changes", [{"seed": 9}, {"seed": 0}, {"PR_1": "7,9,8"}, {"temperature": 0.4}, {"SA_5.crossing": "drop"}]
)
@pytest.mark.parametrize("word", ["step", "next"])
@pytest.mark.parametrize(
    "profile",
    [
        Profile(),
        Profile(sampling_config_reseeds="no"),
        Profile(sampling_config_reseeds="no", generator_on_generate="reseeded"),
    ],
)
def test_what_if_after_several_draws(profile: Profile, word: str, changes: dict[str, object]) -> None:
    """SC-3, PR-4, GEN-7: the answer is the choice of a session that had the value from its begin, same tokens taken."""
    settings = {"temperature": 1.1, "top_k": 200, "top_p": 0.9, "seed": 3}
    asked = Session(tiny_model(), profile).set(**settings).prompt("ab").step(3)
    asked = getattr(asked, word)(3)
    (answer,) = asked.what_if(**changes).alternatives
    options = {name.replace("_", "-"): str(value) for name, value in changes.items() if name[:2].isupper()}
    if "SA-5.crossing" in options:
        options["SA-5.crossing"] = "drop crossing but keep one"
    other = Profile.from_choices({**profile.choices(), **options})
    sampling = {name: value for name, value in changes.items() if name.islower()}
    again = Session(tiny_model(), other).set(**{**settings, **sampling}).prompt("ab")
    for taken in asked.state.taken:
        again = again._sampled(taken.token, taken.owner)
    real = again.last.choice
    assert answer.choice.token == real.token
    assert answer.choice.drawn is not None
    assert real.drawn is not None
    assert (answer.choice.drawn.draw, answer.choice.drawn.pick) == (real.drawn.draw, real.drawn.pick)
