"""Words about the session as a whole: its calls, a golden made of it, the build beside it, help, the way out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from rich.console import RenderableType
from rich.text import Text

from refruntime.cases.steps import describe
from refruntime.golden.case import step_document
from refruntime.repl.node import Branches
from refruntime.repl.parameters import as_text, named_values, optional, required, several
from refruntime.repl.parsing import WrongWord
from refruntime.repl.tools import Tools
from refruntime.repl.words.word import Word, WordAnswer, WordFamily, Words
from refruntime.session.compared import compare_calls
from refruntime.session.save import BadName, Shelf, save_case
from refruntime.session.state import SessionError
from refruntime.show.answers import comparison_shown
from refruntime.show.text import plain_table, row


def script(tools: Tools, branches: Branches) -> WordAnswer:
    """Show the calls of a host that lead here."""
    node = branches.node
    shown: list[RenderableType] = [Text(f"{index:>4}  {describe(step)}") for index, step in enumerate(node.calls)]
    if not shown:
        shown.append(Text("no calls yet"))
    if node.unspeakable:
        shown.append(row("note", (f"no calls lead further: {node.unspeakable}", "yellow")))
    document = {"calls": [step_document(step) for step in node.calls], "unspeakable": node.unspeakable}
    return WordAnswer(branches, document, shown)


def save(tools: Tools, branches: Branches, identifier: str, options: Mapping[str, str]) -> WordAnswer:
    """Write the calls as a golden case."""
    if branches.node.unspeakable:
        raise SessionError(f"a golden case holds calls only, and {branches.node.unspeakable}")
    shelf = Shelf(tools.golden, tools.content, tools.specs)
    try:
        path = save_case(shelf, branches.node.calls, identifier, options.get("about", ""), options.get("rules", ""))
    except BadName as error:
        raise WrongWord(str(error)) from error
    root = shlex.quote(str(tools.golden.root))
    shown = [
        row("saved", str(path)),
        row("next", f"refruntime fill {identifier} --golden {root}   (writes the answers)"),
    ]
    return WordAnswer(branches, {"case": identifier, "path": str(path)}, shown)


def diff(tools: Tools, branches: Branches) -> WordAnswer:
    """Compare the calls so far with the build: the first difference, explained."""
    if tools.build is None:
        raise SessionError("there is no build to compare with; start with --wasm BUILD")
    node = branches.node
    if node.unspeakable:
        raise SessionError(f"only calls can be compared, and {node.unspeakable}")
    with tools.progress("comparing", None):
        found = compare_calls(tools.case("session/repl", node.calls), tools.build, tools.profile, tools.numerics)
    return WordAnswer(branches, found.to_dict(), comparison_shown(found), failed=found.failed)


def leave(tools: Tools, branches: Branches) -> WordAnswer:
    """Leave the REPL."""
    return WordAnswer(branches, leaves=True)


def helper(words: list[Words]) -> Word:
    """Return the word `help` for the table that will be the only item of `words`."""

    def show(tools: Tools, branches: Branches, name: str | None) -> WordAnswer:
        if name is not None:
            word = words[0].find(name)
            shown: list[RenderableType] = [row("use", word.usage), row("does", word.help), row("example", word.example)]
            shown += [row("also", ", ".join(word.also))] if word.also else []
            return WordAnswer(branches, {"word": word.name, "usage": word.usage, "help": word.help}, shown)
        shown = []
        for family in words[0].families:
            table = plain_table(("", False), ("", False))
            table.show_header = False
            for word in family.words:
                also = f"  ({', '.join(word.also)})" if word.also else ""
                table.add_row(Text.assemble((word.usage, "bold"), (also, "dim")), Text(word.help))
            shown += [Text(family.title, style="underline"), table, Text("")]
        shown.append(
            Text(
                "Quotes hold spaces and escapes: \\n \\xHH \\u{H..}. A # begins a comment. `help WORD` has an example. "
                "In a terminal an empty line repeats the last move: step, force, next, back or forward."
            )
        )
        return WordAnswer(branches, {"words": {word.name: word.usage for word in words[0].by_name.values()}}, shown)

    word = optional("name", "WORD", as_text, completes="word")
    return Word("help", "list the words, or explain one", "help why", show, (word,), also=("?", "h"))


def session_family(words: list[Words]) -> WordFamily:
    """Return the words about the session; `help` explains those of the table that `words` will hold."""
    return WordFamily(
        "The session",
        (
            Word("script", "the calls of a host that lead here", "script", script),
            Word("diff", "compare these calls with the build", "diff", diff),
            Word(
                "save",
                "write these calls as a golden case",
                'save sampling/my-case about="The coin falls on an edge." rules=SA-6',
                save,
                (
                    required("identifier", "ID", as_text, "case", "such as sampling/my-case"),
                    several("options", '[about="..."] [rules=..]', named_values({"about": str, "rules": str})),
                ),
            ),
            helper(words),
            Word("quit", "leave; so does Ctrl-D", "quit", leave, also=("q", "exit")),
        ),
    )
