"""Obey lines: find the word, run it, show its answer. A word that fails or is stopped leaves everything as it was."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from refruntime.contract.profile import ProfileError
from refruntime.engines.base import EngineError
from refruntime.errors import ContractError
from refruntime.memory import HostMisuse
from refruntime.repl.node import Branches
from refruntime.repl.parsing import WrongWord, split_line
from refruntime.repl.tools import Tools
from refruntime.repl.words.word import WordAnswer, Words
from refruntime.session.state import SessionError
from refruntime.show.text import as_string, count, row
from refruntime.visible import visible

FINE: Final = 0
FAILED: Final = 1
WRONG: Final = 2
MISSING: Final = 3
CRASHED: Final = 4
STOPPED: Final = 130


@dataclass(frozen=True)
class LineResult:
    """What became of a line: `code` as the exit code of a script, the word, its answer, and what went wrong."""

    code: int
    word: str = ""
    answer: WordAnswer | None = None
    error: str = ""
    kind: str = ""
    traceback: str = ""


@dataclass
class Shell:
    """A person's side of a session. `position` is a value; only a word that was obeyed replaces it."""

    tools: Tools
    words: Words
    branches: Branches

    def obey(self, line: str) -> LineResult:
        """Run one line. Nothing that a word does wrong is raised."""
        name = ""
        try:
            arguments = split_line(line)
            if not arguments:
                return LineResult(FINE)
            name = visible(arguments[0].raw)
            word = self.words.find(arguments[0].text)
            answer = word.obey(self.tools, self.branches, arguments[1:])
        except KeyboardInterrupt:
            return LineResult(STOPPED, name, None, "stopped; everything is as it was before", "stopped")
        except Exception as error:
            return _failure(name, error)
        answer = _with_note(answer, self.branches)
        self.branches = answer.branches
        if answer.failed:
            return LineResult(FAILED, name, answer, answer.failed, "difference")
        return LineResult(FINE, name, answer)

    def repeats(self, name: str) -> bool:
        """Say whether an empty line in a terminal does again what this word did."""
        return name in self.words and self.words.find(name).repeats


def _with_note(answer: WordAnswer, before: Branches) -> WordAnswer:
    """Say so where a move leaves what was ahead of the place that it moved from."""
    after = answer.branches
    if (
        not before.ahead
        or after.branch != before.branch
        or after.ahead
        or any(after.node is each for each in (before.node, before.track.end))
    ):
        return answer
    note = f"{count(len(before.ahead), 'move')} ahead {'is' if len(before.ahead) == 1 else 'are'} gone"
    return replace(answer, shown=[*answer.shown, row("note", (f"{note}; `branch` before a move keeps them", "yellow"))])


def _failure(name: str, error: Exception) -> LineResult:
    """Tell a wrong word from one that failed, from a missing file, from a bug."""
    kind = type(error).__name__
    if isinstance(error, WrongWord | ProfileError):
        return LineResult(WRONG, name, None, str(error), kind)
    if isinstance(error, HostMisuse):
        return LineResult(FAILED, name, None, f"the contract leaves undefined what happens then (MEM-4): {error}", kind)
    if isinstance(error, ContractError):
        return LineResult(FAILED, name, None, str(error), error.status.name)
    if isinstance(error, SessionError | EngineError):
        return LineResult(FAILED, name, None, str(error), kind)
    if isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return LineResult(MISSING, name, None, text, kind)
    text = f"this is a bug in the oracle: {kind}: {error}"
    return LineResult(CRASHED, name, None, text, kind, "".join(traceback.format_exception(error)))


def show(outcome: LineResult, console: Console, errors: Console) -> None:
    """Print what a word gave."""
    if outcome.answer is not None:
        if console.is_terminal:
            for each in outcome.answer.shown:
                console.print(each, highlight=False, markup=False)
        elif outcome.answer.shown:  # a file or a pipe: no blanks at the ends of lines
            console.file.write(as_string(outcome.answer.shown, console.width) + "\n")
            console.file.flush()
    if outcome.error:
        where = f"{outcome.word}: " if outcome.word else ""
        errors.print(Text(f"{where}{harmless(outcome.error)}", style="red" if outcome.code != STOPPED else "yellow"))


def harmless(text: str) -> str:
    """Return a message without characters that a terminal obeys; line breaks stay."""
    lines = text.encode("utf-8", "surrogateescape").split(b"\n")
    return "\n".join(visible(line).replace("␣", " ") for line in lines)


# Scripts -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScriptOutput:
    """How a script is answered: for people, or with `write_json` one object a line."""

    console: Console
    errors: Console
    prompt: str = "> "
    write_json: Callable[[Mapping[str, Any]], None] | None = None


def run_script(shell: Shell, lines: Iterable[str], output: ScriptOutput, keep_going: bool = False) -> int:
    """Obey lines one by one and return the exit code; stops at the first that fails unless `keep_going`.

    0 every word was obeyed, 1 a word failed, 2 a line is no word, 3 a file is missing, 4 a bug in the oracle; the
    greatest of them after `keep_going`.
    """
    code = FINE
    for number, line in enumerate(lines, start=1):
        line = line.rstrip("\r\n")
        if number == 1:
            line = line.removeprefix("\ufeff")  # the byte order mark that some editors and shells begin a text with
        if output.write_json is None:
            output.console.print(Text(output.prompt + harmless(line)), soft_wrap=True)
        outcome = shell.obey(line)
        if outcome.word or outcome.error:
            _report(outcome, number, output)
        code = max(code, outcome.code)
        if (outcome.code != FINE and not keep_going) or outcome.code == STOPPED:
            break
        if outcome.answer is not None and outcome.answer.leaves:
            break
    return code


def _report(outcome: LineResult, number: int, output: ScriptOutput) -> None:
    if output.write_json is None:
        show(outcome, output.console, output.errors)
        return
    document: dict[str, Any] = {"line": number, "word": outcome.word, "code": outcome.code}
    if outcome.error:
        document["error"] = {"kind": outcome.kind, "text": outcome.error}
    if outcome.answer is not None:
        document["answer"] = outcome.answer.document
    output.write_json(document)
