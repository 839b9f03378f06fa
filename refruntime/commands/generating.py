"""What commands that generate text share: options, the text as it comes, and a line about it at the end."""

from __future__ import annotations

import sys
from functools import wraps
from time import perf_counter
from typing import Any, Final

import click

from refruntime.api import Generation
from refruntime.commands.files import Command
from refruntime.commands.shared import (
    visible,
)
from refruntime.show.stream import TextStream
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import ChoiceEvent, Event, TokensEvent

SAMPLING_OPTIONS: Final = (
    click.option("--temperature", type=float, default=0.0, show_default=True, help="0 takes the greatest logit."),
    click.option("--top-k", type=int, default=1, show_default=True, help="Candidates that are retained, 1 to 1024."),
    click.option(
        "--top-p", type=float, default=1.0, show_default=True, help="Share of the weight that is kept, (0, 1]."
    ),
    click.option("--seed", type=int, default=1, show_default=True, help="Seed of the generator, 0 to 2^64 - 1."),
)
SAMPLING_NAMES: Final = ("temperature", "top_k", "top_p", "seed")


def sampling_options(command: Command) -> Command:
    """Add `--temperature`, `--top-k`, `--top-p` and `--seed`, with the defaults of the contract (SC-1).

    The command gets them together, by name, as `sampling`.
    """

    @wraps(command)
    def with_sampling(**words: Any) -> Any:
        return command(sampling={name: words.pop(name) for name in SAMPLING_NAMES}, **words)

    made: Command = with_sampling
    for option in reversed(SAMPLING_OPTIONS):
        made = option(made)
    return made


def raw_option(command: Command) -> Command:
    """Add `--raw`."""
    text = "Send control characters of generated text to a terminal as they are."
    return click.option("--raw", is_flag=True, help=text)(command)


def date_option(command: Command) -> Command:
    """Add `--date`."""
    return click.option(
        "--date",
        type=click.DateTime(["%Y-%m-%d"]),
        metavar="YYYY-MM-DD",
        help="Date that a chat template sees.  [default: today]",
    )(command)


def text_stream(raw: bool, lossy: bool) -> TextStream:
    """Return where generated text goes: standard output, made safe if a person reads it there."""
    terminal = sys.stdout.isatty()
    return TextStream(lambda data: click.echo(data, nl=False), safe=terminal and not raw, lossy=lossy)


def spelling(tokenizer: Tokenizer, token: int) -> str:
    """Return the text of a stop token: that of the vocabulary, or the name of the only one that SLM1 has."""
    vocabulary = getattr(tokenizer, "vocabulary", None)
    return "EOS" if vocabulary is None else f'"{visible(vocabulary.texts[token])}"'


class Follower:
    """Follow a generation: write its text, count its tokens, and know why it stopped."""

    def __init__(self, tokenizer: Tokenizer, stream: TextStream | None) -> None:
        self._tokenizer, self._stream = tokenizer, stream
        self._prompt_tokens = 0
        self._ids: list[int] = []
        self._stop: int | None = None
        self._began = self._last = perf_counter()

    def event(self, event: Event) -> None:
        """Take an event of the runtime."""
        if isinstance(event, TokensEvent) and event.name == "prompt":
            self._prompt_tokens = len(event.ids)
        elif isinstance(event, ChoiceEvent):
            self.token(event.choice.token)

    def token(self, token: int) -> None:
        """Take a token that was chosen."""
        if not self._ids:
            self._began = perf_counter()
        self._last = perf_counter()
        if token in self._tokenizer.stop_ids:
            self._stop = token
            return
        self._ids.append(token)
        if self._stream is not None:
            self._stream.add(self._tokenizer.decode([token]))

    def finish(self) -> None:
        """End the line of the text."""
        if self._stream is not None:
            self._stream.close()
            if self._stream.written:
                click.echo("")

    def reason(self, generation: Generation, most: int) -> str:
        """Say why the generation stopped."""
        if generation.error is not None:
            return "refused text" if generation.error.rule in {"GEN-9", "GEN-10"} else "failure"
        if self._stop is not None:
            return f"stop token {self._stop} {spelling(self._tokenizer, self._stop)}"
        return "limit" if len(self._ids) >= most else "context full"

    def summary(self, reason: str) -> str:
        """Return one line: tokens, speed, reason."""
        seconds = self._last - self._began
        steps = len(self._ids) + (self._stop is not None) - 1
        speed = f", {steps / seconds:.1f} tokens/s" if steps > 0 and seconds > 0 else ""
        return f"{self._prompt_tokens} prompt tokens, {len(self._ids)} generated{speed}; stopped: {reason}"
