"""The REPL in a terminal: history, completion, several lines, key hints. The only module that needs prompt-toolkit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console
from rich.text import Text

from refruntime.repl.completion import Suggestions
from refruntime.repl.parsing import is_open, lines_of
from refruntime.repl.shell import FINE, Shell, harmless, show
from refruntime.show.text import decimal
from refruntime.visible import visible

KEYS = ("Tab completes", "Up history", "Alt-Enter line", "Ctrl-C stops", "Ctrl-D leaves")


def run_terminal(shell: Shell, console: Console, errors: Console) -> int:
    """Read lines from a person until they leave; returns the exit code 0."""
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=_Completer(Suggestions(shell)),
        complete_while_typing=False,
        multiline=Condition(lambda: is_open(get_app().current_buffer.text)),
        prompt_continuation="quote> ",
        key_bindings=_keys(),
        bottom_toolbar=lambda: _toolbar(shell),
        reserve_space_for_menu=6,
    )
    with _keys_wait():
        return _read_lines(session, shell, console, errors)


def _read_lines(session: PromptSession[str], shell: Shell, console: Console, errors: Console) -> int:
    move = ""
    while True:
        try:
            entered = session.prompt(_prompt(shell))
            if not entered.strip() and move:
                entered = move
                console.print(Text(_prompt(shell) + harmless(move), style="dim"), soft_wrap=True)
            for place, line in enumerate(lines_of(entered, shell.words)):
                if place:
                    console.print(Text(_prompt(shell) + harmless(line)), soft_wrap=True)
                outcome = shell.obey(line)
                show(outcome, console, errors)
                if outcome.code == FINE and shell.repeats(outcome.word):
                    move = line
                if outcome.answer is not None and outcome.answer.leaves:
                    return 0
                if outcome.code != FINE:  # what follows was meant for what did not happen
                    break
        except KeyboardInterrupt:
            continue
        except EOFError:
            return 0


@contextmanager
def _keys_wait() -> Iterator[None]:
    """Keep keys that are typed while a word runs for the next line, Ctrl-D too, and do not echo them into its output.

    Ctrl-C still interrupts. Between lines prompt-toolkit gives the terminal back as it found it, which is this way.
    """
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    waiting = termios.tcgetattr(descriptor)
    waiting[0] &= ~termios.ICRNL  # Enter stays the key that prompt-toolkit knows
    waiting[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(descriptor, termios.TCSANOW, waiting)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _prompt(shell: Shell) -> str:
    return "> " if shell.branches.branch == "main" else f"{shell.branches.branch}> "


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class _Completer(Completer):
    """Suggestions in the form that prompt-toolkit asks for."""

    def __init__(self, suggestions: Suggestions) -> None:
        self._suggestions = suggestions

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what could stand in place of the argument before the cursor."""
        begun, found = self._suggestions.of(document.text_before_cursor)
        for text in found:
            yield Completion(text, start_position=-len(begun))


# What stands around the input ----------------------------------------------------------------------------------------


def _toolbar(shell: Shell) -> str:
    """Return where one stands, as much of it as fits, and the keys."""
    session = shell.branches.node.session
    parts = [shell.branches.branch]
    if session is None:
        parts.append("no model")
    else:
        sampling = session.state.sampling
        parts.append(
            f"{visible(session.subject.name.encode())} {session.position}/{session.subject.prefix_cache.capacity}"
        )
        temperature, top_p = decimal(sampling.temperature), decimal(sampling.top_p)
        parts.append(f"t {temperature} k {sampling.top_k} p {top_p} seed {sampling.seed}")
        if session.finished:
            parts.append("finished")
        if session.state.unspeakable:
            parts.append("by hand")
    width = get_app().output.get_size().columns
    text = ""
    for part in (*parts, *KEYS):
        longer = f"{text} | {part}" if text else f" {part}"
        if len(longer) >= width:
            break
        text = longer
    return text


def _history() -> History:
    """Return the history in the user's state folder; in memory where that cannot be written."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        folder = Path(base).expanduser() / "refruntime"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "repl-history"
        with path.open("ab"):
            pass
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return InMemoryHistory()
    return _HarmlessHistory(str(path))


class _HarmlessHistory(FileHistory):
    """A history in a file; what cannot be read or written is forgotten."""

    def load_history_strings(self) -> Iterable[str]:
        """Return what was entered before, the newest first."""
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        """Add an entry to the file."""
        try:
            super().store_string(string)
        except (OSError, UnicodeError):
            return
