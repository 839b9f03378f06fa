"""Answer messages one by one: text as it comes, a line about each answer, and the few commands of a chat."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from refruntime.atomic import write_whole
from refruntime.chat.template import ChatTemplateError
from refruntime.commands.generating import spelling, text_stream
from refruntime.commands.shared import finite, print_failure, status_document
from refruntime.errors import ContextExceeded, ContractError
from refruntime.session.conversation import STOP_TOKEN, Conversation, Turn
from refruntime.visible import printable

COMMANDS: Final = {
    "/help": "list these",
    "/reset": "begin anew; the system message stays",
    "/save FILE": "write what was said, its token ids and the settings as JSON",
    "/quit": "leave, as Ctrl-D does",
}
"""What a message that begins with a slash means; two slashes begin a message with one."""

FAILED: Final = 1


class Talk:
    """One chat on the command line. `about` is what a saved file says of model and settings."""

    def __init__(
        self, conversation: Conversation, most: int, about: Mapping[str, Any], *, raw: bool, as_json: bool
    ) -> None:
        self.conversation = conversation
        self._most, self._about, self._raw, self._as_json = most, about, raw, as_json
        self._errors = Console(stderr=True)
        self._saved: set[Path] = set()
        self._left = False

    def with_person(self, lines: Iterable[str]) -> int:
        """Answer until the person leaves; what goes wrong is told, and the talk goes on."""
        capacity = self.conversation.prefix_cache.capacity
        name = Path(str(self._about["model"])).name
        self._tell(f"{name}, {capacity} positions, numerics {self._about['numerics']}.")
        self._tell("/help lists the commands, Ctrl-C ends an answer, Ctrl-D leaves.")
        for line in lines:
            self._obey(line)
            if self._left:
                break
        return 0

    def with_pipe(self, lines: Iterable[str]) -> int:
        """Answer every line; stops at the first that fails, with exit code 1."""
        for line in _text_lines(lines):
            if not self._obey(line):
                return FAILED
            if self._left:
                break
        return 0

    def _obey(self, line: str) -> bool:
        """Answer a message or do what a command says; False if it failed."""
        if not line.strip():
            return True
        if line.startswith("/") and not line.startswith("//"):
            return self._command(*line.split(maxsplit=1))
        return self._answer(line.removeprefix("/") if line.startswith("//") else line)

    # Commands ------------------------------------------------------------------------------------------------------

    def _command(self, name: str, argument: str = "") -> bool:
        if name == "/help":
            for usage, text in COMMANDS.items():
                self._tell(f"  {usage:<11} {text}")
            self._tell("  //TEXT      say /TEXT. Ctrl-C ends an answer and keeps its text.")
        elif name == "/reset":
            self.conversation.reset()
            self._tell("nothing is said any more")
        elif name == "/save":
            return self._save(argument.strip())
        elif name in ("/quit", "/exit"):
            self._left = True
        else:
            known = [usage.split()[0] for usage in COMMANDS]
            near = get_close_matches(name, known, 1)
            perhaps = f"; perhaps {near[0]}?" if near else ";"
            self._tell(f"unknown command {name}{perhaps} /help lists all, // begins a message with a slash", "red")
            return False
        return True

    def _save(self, name: str) -> bool:
        if not name:
            self._tell("/save: expected the name of a file", "red")
            return False
        path = Path(name).expanduser()
        if path.exists() and path.resolve() not in self._saved:
            self._tell(f"/save: {path} exists; only what this chat saved is written again", "red")
            return False
        turns = [_turn_document(turn) for turn in self.conversation.turns]
        document = {**self._about, "messages": [dict(each) for each in self.conversation.messages], "turns": turns}
        try:
            write_whole(path, (json.dumps(finite(document), indent=2, allow_nan=False) + "\n").encode())
        except OSError as error:
            self._tell(f"/save: {path}: {error.strerror or error}", "red")
            return False
        self._saved.add(path.resolve())
        self._tell(f"wrote {len(turns)} turn{'' if len(turns) == 1 else 's'} to {path}")
        return True

    # Answers -------------------------------------------------------------------------------------------------------

    def _answer(self, message: str) -> bool:
        """Let the model answer; what it says of the answer goes to standard error."""
        stream = None if self._as_json else text_stream(self._raw, lossy=False)
        tokenizer = self.conversation.model.tokenizer
        times: list[float] = []

        def take(token: int) -> None:
            times.append(perf_counter())
            if stream is not None:
                stream.add(tokenizer.decode([token]))

        try:
            turn = self.conversation.say(message, self._most, take)
        except KeyboardInterrupt:
            self._tell("stopped before the answer began; nothing was said", "yellow")
            return True
        except (ContractError, ChatTemplateError) as error:
            return self._failed(message, error)
        if stream is not None:
            stream.close()
            click.echo("")
            sys.stdout.flush()
        if self._as_json:
            status = status_document(None)
            self._write_json({"user": message, "text": turn.text, **_turn_document(turn), **status})
        else:
            self._tell(self._summary(turn, times), "dim")
        return True

    def _failed(self, message: str, error: ContractError | ChatTemplateError) -> bool:
        contract = error if isinstance(error, ContractError) else None
        if self._as_json:
            failure = status_document(contract) if contract is not None else {"status": None, "error": str(error)}
            self._write_json({"user": message, **failure})
        elif contract is not None:
            print_failure(contract, self._errors)
        else:
            self._tell(str(error), "red")
        if isinstance(error, ContextExceeded):
            self._tell("the message was not said; /reset begins anew")
        return False

    def _summary(self, turn: Turn, times: list[float]) -> str:
        prompt, seconds = len(turn.prompt.ids), times[-1] - times[0] if times else 0.0
        speed = f", {(len(times) - 1) / seconds:.1f} tokens/s" if seconds > 0 else ""
        reason = turn.stopped
        if turn.stop is not None:
            reason = f"{STOP_TOKEN} {turn.stop} {spelling(self.conversation.model.tokenizer, turn.stop)}"
        used = prompt + len(turn.ids)
        return (
            f"[{prompt} prompt tokens, {turn.reused} of them cached; {len(turn.ids)} generated{speed}; "
            f"stopped: {reason}; {used} of {self.conversation.prefix_cache.capacity} positions]"
        )

    def _tell(self, text: str, style: str = "") -> None:
        folds = self._errors.is_terminal  # between words; a file gets whole lines
        self._errors.print(Text(printable(text), style=style), soft_wrap=not folds)

    def _write_json(self, document: Mapping[str, Any]) -> None:
        click.echo(json.dumps(finite(document), allow_nan=False))
        sys.stdout.flush()


def _turn_document(turn: Turn) -> dict[str, Any]:
    return {
        "prompt_ids": list(turn.prompt.ids),
        "reused": turn.reused,
        "generated_ids": list(turn.ids),
        "bytes": turn.raw.hex(),
        "stopped": turn.stopped,
        "stop_token": turn.stop,
    }


def _text_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines without their ends, and the first without the byte order mark that some editors begin with."""
    for number, line in enumerate(lines):
        line = line.rstrip("\r\n")
        yield line.removeprefix("\ufeff") if number == 0 else line
