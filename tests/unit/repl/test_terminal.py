"""The REPL in a real terminal: keys, history, sizes, colours, tokens that would like to break the screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from refruntime.containers.slm1_format import DType
from refruntime.containers.slm1_writer import write_slm1
from refruntime.contract.profile import Profile
from refruntime.model.slm1.encode import encode_tensor
from tests.support.slm1_by_hand import bpe1
from tests.support.synthetic import SMALL, parameters, random_weights, slm1_file
from tests.support.talks import STORIES
from tests.support.terminals import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal that is ended whatever happens."""
    made = Terminal(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def test_completion(terminal: Terminal) -> None:
    """Tab completes words, sampling names, options of the profile and texts of tokens."""
    terminal.start(STORIES)
    terminal.keys("p", "r", "Tab")
    terminal.wait_for("> prompt")
    terminal.type(' "Once upon"')
    terminal.wait_for("10 ids")
    terminal.type("set temp", "Tab")
    terminal.wait_for("> set temperature=")
    terminal.type("1.5 top_k=260 seed=3")
    terminal.wait_for("temperature 1.5, top_k 260")
    terminal.type('force "q', "Tab")
    terminal.wait_for('> force "q"')
    terminal.keys("Enter")
    terminal.wait_for("forced; the sampler chose")
    terminal.type("what-if PR-3=", "Tab")
    terminal.wait_for('PR-3="24 high bits"')
    terminal.wait_for('PR-3="53 high bits"')  # the menu shows the other ones
    terminal.keys("C-c")


def test_history_outlives_the_session(terminal: Terminal) -> None:
    """Up brings back earlier lines, also those of an earlier session, and a folder that is none does no harm."""
    terminal.start(STORIES)
    terminal.type('prompt "The little"')
    terminal.wait_for("11 ids")
    terminal.leave()
    terminal.stop()
    assert (terminal.folder / "refruntime" / "repl-history").read_text().count("The little") == 1
    terminal.start(STORIES)
    terminal.keys("Up")
    terminal.wait_for('> prompt "The little"')
    terminal.keys("Enter")
    terminal.wait_for("11 ids")
    terminal.leave()
    terminal.stop()
    (terminal.folder / "file").write_text("no folder")
    terminal.start(STORIES, XDG_STATE_HOME=str(terminal.folder / "file"))
    terminal.type('prompt "The"')
    terminal.wait_for("4 ids")


def test_several_lines(terminal: Terminal) -> None:
    """GEN-2: an open quote goes on in the next line, Alt-Enter begins one, and the line break belongs to the prompt."""
    terminal.start(STORIES)
    terminal.type('prompt "On')
    terminal.type('ce"')
    terminal.wait_for("6 ids: 256 79 110 10 99 101")
    terminal.type("set top_k=7", "M-Enter")
    terminal.type("temperature=2")
    terminal.wait_for("temperature 2.0, top_k 7")


def test_pasted_lines_are_obeyed_one_by_one(terminal: Terminal) -> None:
    """Lines pasted together are words of their own, up to the first that fails; the toolbar shows float32 decimals."""
    terminal.start(STORIES)
    terminal.paste("set temperature=1.2 top_k=3  # warm\nprompt 'two\nlines'\n\nstep 2\nwhy now\nset top_k=9\n")
    terminal.wait_for("set top_k=9")
    terminal.keys("Enter")
    screen = terminal.wait_for("why: COUNT: expected an integer")
    assert "10 ids: 256 116 119 111 10 108" in screen
    assert "> step 2" in screen
    assert "12/256 | t 1.2 k 3 p 1.0 seed 1" in terminal.wait_for("12/256")


def test_interrupt_leaves_everything_as_it_was(terminal: Terminal, tmp_path: Path) -> None:
    """Ctrl-C stops a long step; the state is as before, and the next step gives the token that it would have given."""
    slow = {**SMALL, "hidden_size": 256, "layer_count": 4, "ffn_size": 1024, "max_context": 4096}
    path = tmp_path / "slow.slm1"
    weights = random_weights(1, **slow)
    weights["output.weight"][257] = 0  # so that no stop token ends the long step
    path.write_bytes(slm1_file(weights, **slow))
    terminal.start(path)
    terminal.type("set temperature=0.4 top_k=260 seed=3")
    terminal.type("prompt abc")
    terminal.wait_for("4 ids")
    terminal.type("step")
    terminal.wait_for("text ")
    terminal.type("rng")
    before = both_generators(terminal)
    terminal.type("step 100000")
    terminal.wait_for("sampling ")
    terminal.wait_until(lambda screen: bool(re.search(r"\b[1-9]\d*/100000", screen)), "progress")
    terminal.keys("C-c")
    terminal.wait_for("step: stopped; everything is as it was before")
    terminal.clear()
    terminal.type("rng")
    assert both_generators(terminal) == before
    terminal.clear()
    terminal.type("step")
    continued = re.findall(r"^5 +(\d+) .* logit ([^ ,]+)", terminal.wait_for("text "), re.MULTILINE)
    terminal.clear()
    terminal.type("back")
    terminal.type("step")
    assert re.findall(r"^5 +(\d+) .* logit ([^ ,]+)", terminal.wait_for("text "), re.MULTILINE) == continued != []
    terminal.ready()
    terminal.keys("C-c")  # at the input line it only empties the line
    terminal.leave()


def both_generators(terminal: Terminal) -> list[str]:
    """Return what `rng` says of both generators, once both lines are there."""
    pattern = re.compile(r"state 0x[0-9a-f]{16}, \d+ draws from seed \d+")
    screen = terminal.wait_until(lambda screen: len(pattern.findall(screen)) == 2, "two generators")
    return pattern.findall(screen)


def test_leaving(terminal: Terminal) -> None:
    """Ctrl-D and `quit` leave with exit code 0."""
    terminal.start(STORIES)
    terminal.leave()
    terminal.stop()
    terminal.start(STORIES)
    terminal.type("quit")
    terminal.wait_for("left with 0")


def test_resize_and_narrow(terminal: Terminal) -> None:
    """After a resize answers fit the new width, down to 30 columns; wide ones get bars."""
    terminal.start(STORIES)
    terminal.type('prompt "Once upon"')
    terminal.type("set temperature=1.5 top_k=20")
    terminal.type("step")
    terminal.wait_for("text ")
    for columns in (120, 60, 30):
        terminal.resize(columns, 60)
        terminal.clear()
        terminal.type("why 4")
        screen = terminal.wait_for("missed")
        assert max(cell_len(line) for line in screen.splitlines()) <= columns
        assert ("█" in screen) == (columns == 120)
        assert "0x0000000000000001" in screen.replace("\n", "").replace(" ", "")
    terminal.type("text")
    terminal.wait_for("positions")


def test_no_color(terminal: Terminal) -> None:
    """NO_COLOR: answers and input line come without colours, which are there otherwise."""
    colour = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|4[0-7]|38|48|9[0-7])[;m]")
    seen = {}
    for variable in ({}, {"NO_COLOR": "1"}):
        terminal.start(STORIES, **variable)
        terminal.type("prompt Once")
        terminal.type("step")
        terminal.wait_for("text ")
        terminal.type("nonsense")
        terminal.wait_for("unknown word")
        seen[bool(variable)] = bool(colour.search(terminal.screen(colours=True)))
        terminal.stop()
    assert seen == {False: True, True: False}


def test_hostile_tokens_do_not_break_the_screen(terminal: Terminal, tmp_path: Path) -> None:
    """SL-9: control sequences, right-to-left text, joiners, lone marks and wide text stay in their cells."""
    texts = [
        *(b"\x1b[2J\x1b[31mred", "\u05e9\u05dc\u05d5\u05dd".encode(), "\u202eevil".encode(), "\u0301\u0301".encode()),
        *("\U0001f469\u200d\U0001f467".encode(), "\u6f22\u5b57".encode() * 9, b"\x07\x08\x08\r\n", b"\xff\xfe"),
        *("\u0645\u0631\u062d\u0628\u0627 12".encode(), b"[bold]x[/bold]"),
    ]
    shape = {**SMALL, "vocab_size": 260 + len(texts)}
    weights = random_weights(3, **shape)
    weights["output.weight"][:260] = 0  # the texts above are the greatest and the least logits
    path = tmp_path / "hostile.slm1"
    tokenizer = bpe1(list(enumerate(texts, start=260)), [], shape["vocab_size"])
    tensors = [encode_tensor(name, values, DType.F32) for name, values in weights.items()]
    path.write_bytes(write_slm1(parameters(**shape), tokenizer, tensors, Profile()))
    terminal.start(path)
    terminal.type("set temperature=9 top_k=300")
    terminal.type("prompt a")
    terminal.wait_for("2 ids")
    for token in range(260, shape["vocab_size"]):
        terminal.type(f"force {token}")
    terminal.wait_for("hostile 12/64")
    terminal.clear()
    terminal.type("why 280")
    terminal.wait_for("missed by")
    screen = terminal.screen(history=True)
    table = screen[screen.rindex("rank ") : screen.rindex("top-k ")].splitlines()
    fates = {cell_len(line[: line.index("kept")]) for line in table if re.match(r" *\d.* kept", line)}
    assert len(fates) == 1  # every row keeps its columns, whatever the token is
    shown = [line for line in table if re.search(r"\b26\d\b", line)]
    marks = ("\u241b", "\u05e9", "\\u{202e}", "\u25cc", "\u6f22", "\u2407", "[bold]")
    assert all(any(mark in line for line in shown) for mark in marks)
    assert "\x07" not in screen
    terminal.type("text")
    terminal.wait_for("positions")
    assert np.count_nonzero(["> text" in line for line in terminal.lines()]) == 1


def test_ways_through_a_session(terminal: Terminal) -> None:
    """GEN-5: `back` keeps the future, `forward` and `goto` lead there, `why at=` asks of it, branches are a tree."""
    terminal.start(STORIES)
    terminal.type('prompt "Once"')
    terminal.wait_for("5 ids")
    terminal.type("step 4")
    terminal.wait_for("\ntext ")
    taken = [line.split()[1] for line in terminal.lines() if re.match(r"[5-8] ", line)]
    terminal.type("back 3")
    terminal.wait_for("3 moves: `forward` or `goto` leads there again")
    terminal.type("forward")
    terminal.wait_for("ahead       2 moves")
    terminal.type("goto 9")
    terminal.wait_for("position 9 is next")
    terminal.clear()
    terminal.type("why at=6")
    assert f"chosen      {taken[1]} " in terminal.wait_for("for position 6")
    terminal.type("branch other")
    terminal.wait_for("\nother>")
    terminal.type("back 2")
    terminal.wait_for("position 7 is next")
    terminal.type('force "x"')
    terminal.wait_for("forced; the sampler chose")
    terminal.type("branches")
    terminal.wait_for("\u2514\u2500\u2500 other  from main at position 7: ")
    terminal.type("top 3")
    terminal.wait_for("probabilities are the model's own")
    terminal.type("q")
    terminal.wait_for("left with 0")


def test_an_empty_line_repeats_the_last_move(terminal: Terminal) -> None:
    """GEN-5: Enter alone samples on after `step`, also behind a question; short words work as long ones."""
    terminal.start(STORIES)
    terminal.type('p "Once"')
    terminal.wait_for("5 ids")
    terminal.keys("Enter")  # a prompt is no move
    terminal.type("s")
    terminal.wait_for("logit")
    terminal.type("text")
    terminal.wait_for("6 of ")
    terminal.clear()
    terminal.keys("Enter")
    terminal.wait_for("> s\n6 ")
    terminal.type("b 2")
    terminal.wait_for("ahead       2 moves")
    terminal.type("f")
    terminal.wait_for("ahead       1 move:")
    terminal.keys("Enter")
    terminal.wait_for("position 7 is next")
    terminal.type("exit")
    terminal.wait_for("left with 0")
