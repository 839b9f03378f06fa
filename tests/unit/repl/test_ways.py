"""Back, forward, to a position, aside: the future is kept, and the tree of branches says who left whom where."""

from __future__ import annotations

import pytest

from refruntime.repl.shell import FAILED, WRONG, Shell
from tests.support.talks import DRAWN, STORIES, say, shell, shown


@pytest.fixture
def talk() -> Shell:
    """Eight tokens behind a prompt of ten ids."""
    made = shell(STORIES)
    say(made, *DRAWN, "step 8")
    return made


def test_back_keeps_the_future(talk: Shell) -> None:
    """GEN-4: what `back` leaves lies ahead, the very same states, until a move goes another way."""
    end = talk.branches.node
    outcome = say(talk, "back 5")
    assert "5 moves: `forward`" in shown(outcome)
    assert talk.branches.node.present.position == 13
    say(talk, "why", "top", "text")
    assert len(talk.branches.ahead) == 5
    say(talk, "forward 2")
    assert talk.branches.node.present.position == 15
    assert "ahead" not in shown(say(talk, "f 3"))
    assert talk.branches.node is end
    assert talk.obey("forward").error == "there are only 0 to go forward; expected at most that"
    say(talk, "back 5")
    assert "5 moves ahead are gone" in shown(say(talk, "step"))
    assert talk.branches.ahead == ()
    assert talk.branches.node.present.ids == end.present.ids[:14]
    assert talk.obey("forward").code == FAILED


def test_goto_goes_both_ways(talk: Shell) -> None:
    """GEN-4: to the nearest place whose next token is for a position; an error says which there are."""
    end = talk.branches.node
    say(talk, "goto 12")
    assert talk.branches.node.present.position == 12
    assert len(talk.branches.ahead) == 6
    say(talk, "goto 18")
    assert talk.branches.node is end
    outcome = talk.obey("g 40")
    assert outcome.error == "no place of this branch has position 40 next; those of this branch are 0, 10 .. 18"
    assert talk.obey("goto x").code == WRONG
    say(talk, "goto 10", "goto 0", "goto 11")
    assert talk.branches.node.present.ids == end.present.ids[:11]


def test_why_of_an_earlier_position(talk: Shell) -> None:
    """SA-6: `why at=N` is what `goto` and `why` show, and stays where one is."""
    before = talk.branches
    there = say(talk, "why 4 at=12")
    assert talk.branches is before
    assert "for position 12" in shown(there)
    say(talk, "goto 13")
    assert shown(say(talk, "why 4")) == shown(there)
    assert "expected 10 .. 12" in talk.obey("why at=13").error
    assert talk.obey("why at=x").code == WRONG
    assert talk.obey("why at=1 at=2").error == "at is there twice"


def test_branches_are_a_tree(talk: Shell) -> None:
    """GEN-4: each branch below the one that it leaves, with the position; what lies ahead stays on its branch."""
    say(talk, "goto 12", "branch warm", "set temperature=2", "step 2", "branch deep", "step")
    say(talk, "switch main", "goto 11", "branch cold", "set temperature=0", "step")
    outcome = say(talk, "branches")
    assert outcome.answer is not None
    assert outcome.answer.document["tree"] == {
        "main": {"from": None, "position": None},
        "cold": {"from": "main", "position": 11},
        "warm": {"from": "main", "position": 12},
        "deep": {"from": "warm", "position": 14},
    }
    lines = [line.rstrip() for line in shown(outcome).splitlines()]
    assert [line.split('"')[0].rstrip() for line in lines] == [
        "main  1 token:",
        "├── warm  from main at position 12: 4 tokens:",
        "│   └── deep  from warm at position 14: 5 tokens:",
        "└── cold  from main at position 11: 2 tokens:",
    ]
    assert lines[0].endswith("(7 moves ahead)")
    assert lines[3].endswith("(here)")
    say(talk, "switch main", "forward 7")
    assert talk.branches.node.present.position == 18


def test_short_words(talk: Shell) -> None:
    """Letters stand for words, `?` for help, `q` and `exit` for quit; a mistyped word gets the long one."""
    assert talk.words.find("s").name == "step"
    assert "  (s)" in shown(say(talk, "?"))
    assert "also        w" in shown(say(talk, "help why"))
    for word in ("q", "exit", "quit"):
        outcome = say(talk, word)
        assert outcome.answer is not None
        assert outcome.answer.leaves
    assert "perhaps forward" in talk.obey("forwad").error
    shorts = [short for word in talk.words.by_name.values() for short in word.also]
    assert len(shorts) == len(set(shorts))
    assert not set(shorts) & set(talk.words.by_name)


def test_probabilities_are_shown(talk: Shell) -> None:
    """SA-4, SA-6: `top` and `why` show the model's softmax beside the coin's chances, `step` the taken token's."""
    top = say(talk, "top 3")
    assert top.answer is not None
    shares = [each["probability"] for each in top.answer.document["top"]]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1 + 1e-12
    assert "bits" in shown(top)
    assert " %, logit" in shown(say(talk, "back", "step"))
    text = shown(say(talk, "why"))
    assert "probability" in text
    assert "chance" in text
