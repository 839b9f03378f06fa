"""Words about the session as a whole: its calls, a golden made of it, the build beside it, help, the way out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from refruntime.battery.features import feature_finder
from refruntime.cases.steps import describe
from refruntime.differential.report.about import About
from refruntime.differential.report.case import case_lines
from refruntime.differential.run import Oracle
from refruntime.differential.suite import CaseResult, Suite
from refruntime.differential.verdict import FINE, MEANINGS, Verdict
from refruntime.golden.case import step_document
from refruntime.hypotheses.explain import Explainer
from refruntime.repl.desk import Desk
from refruntime.repl.parameters import as_text, named_values, optional, required, several
from refruntime.repl.place import Position
from refruntime.repl.save import save_case
from refruntime.repl.words.word import Answer, Family, Word, Words
from refruntime.session.state import SessionError
from refruntime.show.text import count, plain_table, row


def script(desk: Desk, position: Position) -> Answer:
    """Show the calls of a host that lead here."""
    place = position.place
    shown: list[RenderableType] = [Text(f"{index:>4}  {describe(step)}") for index, step in enumerate(place.calls)]
    if not shown:
        shown.append(Text("no calls yet"))
    if place.unspeakable:
        shown.append(row("note", (f"no calls lead further: {place.unspeakable}", "yellow")))
    document = {"calls": [step_document(step) for step in place.calls], "unspeakable": place.unspeakable}
    return Answer(position, document, shown)


def save(desk: Desk, position: Position, identifier: str, options: Mapping[str, str]) -> Answer:
    """Write the calls as a golden case."""
    if position.place.unspeakable:
        raise SessionError(f"a golden case holds calls only, and {position.place.unspeakable}")
    path = save_case(desk, position.place.calls, identifier, options.get("about", ""), options.get("rules", ""))
    root = shlex.quote(str(desk.golden.root))
    shown = [
        row("saved", str(path)),
        row("next", f"refruntime fill {identifier} --golden {root}   (writes the answers)"),
    ]
    return Answer(position, {"case": identifier, "path": str(path)}, shown)


def diff(desk: Desk, position: Position) -> Answer:
    """Compare the calls so far with the build: the first difference, explained."""
    if desk.build is None:
        raise SessionError("there is no build to compare with; start with --wasm BUILD")
    place = position.place
    if place.unspeakable:
        raise SessionError(f"only calls can be compared, and {place.unspeakable}")
    if not place.calls:
        raise SessionError("there are no calls to compare yet")
    if not desk.numerics.of_the_contract:
        raise SessionError("a build is compared in float32; start without --numerics")
    case = desk.case("session/repl", place.calls)
    oracle = Oracle(desk.profile, desk.numerics)
    suite = Suite(desk.build.fresh, oracle, features=feature_finder(desk.build.fresh, oracle.profile))
    with desk.progress("comparing", None):
        offered = suite.offered()
        explained = replace(suite, explain=Explainer(oracle, offered))
        result = explained.judge(case, offered)
    return Answer(position, _diff_document(result), _diff_shown(desk, result), failed=_why_failed(result))


def _why_failed(result: CaseResult) -> str:
    return "" if result.verdict in FINE else f"{result.verdict}: {MEANINGS[result.verdict]}"


def _diff_shown(desk: Desk, result: CaseResult) -> list[RenderableType]:
    comparison = result.comparison
    build = desk.build
    fields = sum(comparison.compared.values())
    compared = (
        f"{count(comparison.steps, 'call')}, {count(fields, 'field')}, {count(comparison.tokens, 'token')} compared"
    )
    shown: list[RenderableType] = []
    if result.verdict in FINE and build is not None:
        reason = f"  ({result.reason})" if result.reason else ""
        shown.append(row("build", (str(result.verdict), "bold green"), f" {MEANINGS[result.verdict]}{reason}"))
    elif build is not None:
        lines = case_lines(result, About(build.name, build.sha256, desk.profile))
        shown += [Text(line) for line in lines if not line.startswith("  repro")]
    lost = ", ".join(comparison.lost)
    return [*shown, row("compared", compared + (f"; the build does not show {lost}" if lost else ""))]


def _diff_document(result: CaseResult) -> dict[str, Any]:
    comparison = result.comparison
    differences = [
        {"step": each.index, "field": each.field, "oracle": _plain(each.reference), "build": _plain(each.build)}
        for each in comparison.differences
    ]
    document: dict[str, Any] = {
        "verdict": str(result.verdict),
        "reason": result.reason,
        "steps": comparison.steps,
        "fields": sum(comparison.compared.values()),
        "tokens": comparison.tokens,
        "differences": differences,
        "explanation": None if result.explanation is None else result.explanation.document(),
    }
    return document | ({"crash": result.crash} if result.verdict is Verdict.ORACLE_CRASH else {})


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def leave(desk: Desk, position: Position) -> Answer:
    """Leave the REPL."""
    return Answer(position, leaves=True)


def helper(words: list[Words]) -> Word:
    """Return the word `help` for the table that will be the only item of `words`."""

    def show(desk: Desk, position: Position, name: str | None) -> Answer:
        if name is not None:
            word = words[0].find(name)
            shown: list[RenderableType] = [row("use", word.usage), row("does", word.help), row("example", word.example)]
            shown += [row("also", ", ".join(word.also))] if word.also else []
            return Answer(position, {"word": word.name, "usage": word.usage, "help": word.help}, shown)
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
        return Answer(position, {"words": {word.name: word.usage for word in words[0].by_name.values()}}, shown)

    word = optional("name", "WORD", as_text, completes="word")
    return Word("help", "list the words, or explain one", "help why", show, (word,), also=("?", "h"))


def session_family(words: list[Words]) -> Family:
    """Return the words about the session; `help` explains those of the table that `words` will hold."""
    return Family(
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


SESSION_WORDS: Final = ("script", "diff", "save", "help", "quit")
