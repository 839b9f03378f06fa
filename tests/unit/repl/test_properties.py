"""Any sequence of words: going back is a fresh replay, bit for bit, and the calls say what a host would have seen."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.repl.node import Node
from refruntime.repl.shell import FAILED, Shell
from refruntime.session.from_case import replay
from tests.support.talks import bits, shell, tiny_model

WORDS = st.one_of(
    st.sampled_from(
        [
            "step", "step 3", "next", "next 2", "reset", "back", "back 2", "branch", "switch main", "load", "init",
            "free", "why", "what-if", "rng", "top 2", "configure 1 99 1 4", "call alloc 8 -> buffer",
            "call last_result_len", "call generate 4294967290 30 2",
        ]
    ),
    st.builds("prompt {}".format, st.sampled_from(["a", "bc", "'x y'", "ids=1,2,3"])),
    st.builds("generate {} {}".format, st.sampled_from(["a", "zz"]), st.integers(0, 4)),
    st.builds("force {}".format, st.integers(0, 259)),
    st.builds(
        "set temperature={} top_k={} seed={}".format,
        st.sampled_from(["0", "0.7", "2"]),
        st.sampled_from([1, 20, 260]),
        st.integers(0, 2**64 - 1),
    ),
)  # fmt: skip
PROFILES = st.sampled_from(
    [
        Profile(),
        Profile(sampling_config_reseeds="no", generator_on_generate="reseeded", invalid_output_utf8="lossy"),
        Profile(generator_on_reset="reseeded", generator_on_load="reseeded", continuation_result="all generated text"),
    ]
)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def talk(profile: Profile, lines: list[str]) -> Shell:
    """Say the words; those that cannot be obeyed leave everything as it was."""
    made = shell(tiny_model(), profile)
    for line in lines:
        before = made.branches
        outcome = made.obey(line)
        assert outcome.code <= 2, (line, outcome.traceback)
        if outcome.code >= FAILED:
            assert made.branches is before
    return made


def way(node: Node | None) -> list[Node]:
    """Return a place and all before it, the newest first."""
    nodes = []
    while node is not None:
        nodes.append(node)
        node = node.before
    return nodes


@FEW
@given(PROFILES, st.lists(WORDS, max_size=12), st.lists(WORDS, max_size=5))
def test_back_is_a_fresh_replay(profile: Profile, lines: list[str], more: list[str]) -> None:
    """GEN-4, PR-1: what later words do, and going back over them, changes no bit of an earlier state."""
    alone = talk(profile, lines)
    expected = [(each.script, bits(each.session)) for each in way(alone.branches.node)]
    assert expected[0] == (alone.branches.node.script, bits(talk(profile, lines).branches.node.session))
    longer = talk(
        profile, [*lines, "branch beyond", *[line for line in more if not line.startswith(("switch", "branch"))]]
    )
    longer.obey(f"switch {alone.branches.branch}")
    assert [(each.script, bits(each.session)) for each in way(longer.branches.node)] == expected
    for steps, (script, state) in enumerate(expected[1:], start=1):
        gone_back = longer.obey(f"back {steps}")
        assert gone_back.code == 0
        assert (longer.branches.node.script, bits(longer.branches.node.session)) == (script, state)
        longer.branches = longer.branches.at(way(alone.branches.node)[0])


@FEW
@given(PROFILES, st.lists(WORDS, min_size=2, max_size=10))
def test_calls_lead_where_one_stands(profile: Profile, lines: list[str]) -> None:
    """GEN-5, NT-4, PR-4: wherever calls can lead, the oracle that answers them stands there too, bit for bit."""
    node = talk(profile, lines).branches.node
    assume(node.session is not None and node.calls and not node.unspeakable)
    assert node.session is not None
    again = replay(Case("again", node.calls, {"tiny": tiny_model()}), profile=profile).session
    assert again is not None
    mine, theirs = node.session.state, again.state
    assert theirs.runtime_generator == mine.runtime_generator
    assert theirs.sampling == mine.sampling
    if node.calls != node.script:  # a prompt that waits for its first token: no call was made for it yet
        return
    text = node.session.text
    if mine.owner == "generate" and mine.taken and not is_text(text) and profile.invalid_output_utf8 != "lossy":
        assert again.ids == ()  # `generate` fails here and clears the context (GEN-9)
        return
    assert again.ids == node.session.ids
    assert [taken.token for taken in theirs.taken] == [taken.token for taken in mine.taken]
    assert theirs.generate_generator == mine.generate_generator
    if again.ids:
        assert again.next_logits.tobytes() == node.session.next_logits.tobytes()


def is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
