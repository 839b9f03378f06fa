"""Words that go where one was before: back, forward, to a position; and aside, to other branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from refruntime.repl.node import Branches, Node, Track
from refruntime.repl.parameters import as_text, count, optional, required, whole
from refruntime.repl.parsing import WrongWord
from refruntime.repl.tools import Tools
from refruntime.repl.words.moves import tail
from refruntime.repl.words.word import WordAnswer, WordFamily, word
from refruntime.session.state import SessionError
from refruntime.show.text import count as counted
from refruntime.show.text import row


@word("back", "go back, exactly; what is left lies ahead", "back 2", count(1), also=("b",), repeats=True)
def back(tools: Tools, branches: Branches, times: int) -> WordAnswer:
    """Go back by tokens, calls and words that changed something; what is left lies ahead."""
    return _along(branches, times, Track.back, "go back")


@word("forward", "go to where `back` came from", "forward 2", count(1), also=("f",), repeats=True)
def forward(tools: Tools, branches: Branches, times: int) -> WordAnswer:
    """Go to where `back` came from."""
    return _along(branches, times, Track.forward, "go forward")


def _along(branches: Branches, times: int, move: Callable[[Track], Track | None], verb: str) -> WordAnswer:
    track = branches.track
    for done in range(times):
        further = move(track)
        if further is None:
            raise SessionError(f"there {'is' if done == 1 else 'are'} only {done} to {verb}; expected at most that")
        track = further
    return _moved(branches.on(track))


@word(
    "goto",
    "go to where the next token is for a position",
    "goto 12",
    required("at", "POSITION", whole("POSITION", 0), hint="counted from 0, as `why` counts"),
    also=("g",),
)
def goto(tools: Tools, branches: Branches, at: int) -> WordAnswer:
    """Go to where the next token is for a position, back or forward, to the nearest such place."""
    here = branches.track
    for move in (Track.back, Track.forward):
        track: Track | None = here
        while track is not None:
            if _position_of(track.node) == at:
                return _moved(branches.on(track))
            track = move(track)
    known = sorted({each for each in map(_position_of, here.way()) if each is not None})
    there = f"those of this branch are {_runs(known)}" if known else "this branch has none"
    raise SessionError(f"no place of this branch has position {at} next; {there}")


def _position_of(node: Node) -> int | None:
    return None if node.session is None else node.session.position


def _runs(numbers: Sequence[int]) -> str:
    """Return ascending numbers with `..` in place of neighbours."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join(" .. ".join(map(str, run)) for run in runs)


def _moved(branches: Branches) -> WordAnswer:
    shown = [_here(branches.node)]
    if branches.ahead:
        shown.append(row("ahead", f"{counted(len(branches.ahead), 'move')}: `forward` or `goto` leads there again"))
    return WordAnswer(branches, _where(branches), shown)


# Aside ---------------------------------------------------------------------------------------------------------------


@word("branch", "go on from here on a new branch", "branch colder", optional("name", "NAME", as_text))
def branch(tools: Tools, branches: Branches, name: str | None) -> WordAnswer:
    """Go on from here on a new branch; the one left stays as it is, with what lies ahead on it."""
    taken = branches.tracks
    if name is None:
        name = next(f"branch-{n}" for n in range(1, len(taken) + 2) if f"branch-{n}" not in taken)
    if not name:
        raise WrongWord("expected a name")
    if name in taken:
        raise WrongWord(f"there is a branch {name!r} already; `switch` goes there")
    return _switched(Branches(branches.node, name, taken))


@word(
    "switch",
    "go to another branch",
    "switch main",
    required("name", "NAME", as_text, "branch", "`branches` lists them"),
)
def switch(tools: Tools, branches: Branches, name: str) -> WordAnswer:
    """Go to a branch, where it was left."""
    if name == branches.branch:
        return _switched(branches)
    if name not in branches.parked:
        known = ", ".join([branches.branch, *branches.parked])
        raise WrongWord(f"there is no branch {name!r}; expected one of {known}")
    parked = branches.tracks
    track = parked.pop(name)
    return _switched(Branches(track.node, name, parked, track.ahead))


def _switched(branches: Branches) -> WordAnswer:
    answer = _moved(branches)
    return replace(answer, shown=[row("branch", branches.branch), *answer.shown])


@word("branches", "show the branches as a tree", "branches")
def branches(tools: Tools, branches: Branches) -> WordAnswer:
    """Show the branches as a tree: each below the one that it leaves, and where."""
    tracks = branches.tracks
    parents = _parents(tracks)
    nodes: dict[str, Tree] = {}
    roots = []
    for name, (parent, fork) in parents.items():
        track = tracks[name]
        label = Text.assemble(
            (name, "bold" if name == branches.branch else ""),
            f"  {_left_at(parent, fork)}{_text_of(track.node)}",
            f"  ({counted(len(track.ahead), 'move')} ahead)" if track.ahead else "",
            ("  (here)", "bold green") if name == branches.branch else "",
        )
        if parent in nodes:
            nodes[name] = nodes[parent].add(label)
        else:
            nodes[name] = Tree(label, guide_style="dim")
            roots.append(nodes[name])
    sessions = {name: track.node.session for name, track in tracks.items()}
    ids = {name: [] if session is None else list(session.ids) for name, session in sessions.items()}
    tree = {
        name: {"from": parent or None, "position": fork and _position_of(fork)}
        for name, (parent, fork) in parents.items()
    }
    return WordAnswer(branches, {"branch": branches.branch, "branches": ids, "tree": tree}, roots)


def _parents(tracks: dict[str, Track]) -> dict[str, tuple[str, Node | None]]:
    """Return for each branch the one that it leaves and the last place that both have; `main` leaves none."""
    ways = {name: track.way() for name, track in sorted(tracks.items(), key=lambda item: item[0] != "main")}
    found: dict[str, tuple[str, Node | None]] = {}
    for name, way in ways.items():
        best: tuple[int, str] = (0, "")
        for other in found:
            shared = 0
            for mine, theirs in zip(way, ways[other], strict=False):
                if mine is not theirs:
                    break
                shared += 1
            best = max(best, (shared, other), key=lambda each: each[0])
        found[name] = (best[1], way[best[0] - 1] if best[0] else None)
    return found


def _left_at(parent: str, fork: Node | None) -> str:
    at = None if fork is None else _position_of(fork)
    if not parent:
        return ""
    return f"from {parent}: " if at is None else f"from {parent} at position {at}: "


def _where(branches: Branches) -> dict[str, Any]:
    session = branches.node.session
    state = {} if session is None else {**session.to_dict(), "text": session.text.hex()}
    return {
        "branch": branches.branch,
        "calls": len(branches.node.script),
        "ahead": len(branches.ahead),
        **state,
    }


def _text_of(node: Node) -> str:
    if node.session is None:
        return node.absent
    if not node.session.state.prompt_ids and not node.session.state.taken:
        return "an empty context"
    return f"{counted(len(node.session.generated_ids), 'token')}: {tail(node.session)}"


def _here(node: Node) -> RenderableType:
    session = node.session
    if session is None:
        return Text(node.absent)
    return row("here", f"{_text_of(node)}; position {session.position} is next")


WAYS: Final = WordFamily("Where one was", (back, forward, goto, branch, branches, switch))
