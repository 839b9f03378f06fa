"""`refruntime run`: one generation from an empty context, written while it is generated."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import click
from rich.console import Console

from refruntime.api import Generation, open_model, open_tokenizer
from refruntime.commands.chat.prompt import chat_prompt
from refruntime.commands.files import read_input
from refruntime.commands.shared import (
    MODEL,
    NumericsChoice,
    contract_failures,
    ids_option,
    json_option,
    map_file,
    numerics_option,
    one_prompt,
    print_failure,
    profile_option,
    progress,
    status_document,
    unknown_bytes_option,
    visible,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.show.stream import TextStream
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.unknown_bytes import with_unknown_bytes
from refruntime.trace import ChoiceEvent, Event, TokensEvent


@click.command(
    "run",
    epilog="""\b
Examples:
  refruntime run model.gguf "Once upon a time" -n 32
  refruntime run model.slm1 "The fox" -n 32 --temperature 0.8 --top-k 40 --top-p 0.9 --seed 7
  refruntime run model.gguf --ids 1,403,407 -n 8 --json
  refruntime run model.gguf -f prompt.txt > answer.txt
  refruntime run model.gguf --chat "Why is the sky blue?" --system "Answer in one sentence."
""",
)
@MODEL
@click.argument("prompt", required=False)
@ids_option
@click.option(
    "-f",
    "--file",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Read the prompt from a file, `-` for standard input; its bytes are taken as they are.",
)
@click.option(
    "--chat", metavar="TEXT", help="What a user says: the prompt is what the model's chat template makes of it."
)
@click.option("--system", metavar="TEXT", help="System message before it.")
@click.option(
    "--date",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Date that a chat template sees.  [default: today]",
)
@click.option("-n", "--max-new-tokens", type=int, default=64, show_default=True, help="Most tokens to generate.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0 takes the greatest logit.")
@click.option("--top-k", type=int, default=1, show_default=True, help="Candidates that are retained, 1 to 1024.")
@click.option("--top-p", type=float, default=1.0, show_default=True, help="Share of the weight that is kept, (0, 1].")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the generator, 0 to 2^64 - 1.")
@click.option("--raw", is_flag=True, help="Send control characters of generated text to a terminal as they are.")
@unknown_bytes_option
@profile_option
@numerics_option
@json_option
def run_command(
    model: Path,
    prompt: str | None,
    ids: list[int] | None,
    file: Path | None,
    chat: str | None,
    system: str | None,
    date: datetime | None,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    raw: bool,
    unknown_bytes: str,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Generate text from PROMPT with MODEL, an SLM1 or GGUF file.

    With --chat the prompt is what the chat template in a GGUF file makes of TEXT; this needs the extra `chat`. Texts of
    control tokens are then these tokens, also in TEXT, while PROMPT is plain text.

    The text goes to standard output as it is generated; standard error says at the end how much it was, how fast, and
    why it stopped. Ctrl-C keeps what is there. Without PROMPT, --ids, -f and --chat the prompt is read from standard
    input, if that is no terminal. The defaults are those of the contract: greedy. Exit code 1: the contract defines a
    failure for this, and standard error says which.
    """
    if chat is None and (system is not None or date is not None):
        raise click.UsageError("--system and --date go with --chat.")
    if chat is not None and (prompt is not None or ids is not None or file is not None):
        raise click.UsageError("Give only one of PROMPT, --ids, -f and --chat.")
    source = b"" if chat is not None else _prompt(prompt, ids, file)
    sampling: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    settings = {"max_new_tokens": max_new_tokens, **sampling}
    about: dict[str, Any] = {
        "model": str(model),
        "settings": settings,
        "profile": profile.fingerprint,
        "numerics": numerics.name,
    }
    data = map_file(model)
    with contract_failures(as_json, **about):
        if chat is not None:  # a wrong template, or none, is told before the weights are loaded
            tokenizer = with_unknown_bytes(open_tokenizer(data, profile), unknown_bytes)
            rendered = chat_prompt(data, tokenizer, chat, system, date or datetime.now())
            source, about["chat"] = rendered.ids, rendered.text
        with progress("loading"):
            opened = open_model(data, profile, numerics.make(data), unknown_bytes)
    lossy = profile.invalid_output_utf8 == "lossy"
    follower = Follower(opened.tokenizer, None if as_json else _stream(raw, lossy))
    try:
        generation = opened.generate(source, max_new_tokens, **sampling, tracer=follower)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--ids") from error
    except KeyboardInterrupt:
        follower.finish()
        click.echo(f"{follower.summary('interrupted')}, numerics {numerics.name}", err=True)
        raise
    follower.finish()
    if as_json:
        write_json({**about, **_document(generation), "stopped": follower.reason(generation, max_new_tokens)})
    else:
        if generation.error is not None:
            print_failure(generation.error, Console(stderr=True))
            _print_generated(generation)
        reason = follower.reason(generation, max_new_tokens)
        click.echo(follower.summary(reason), err=True)
        about_bits = f"numerics {numerics.name}, profile {profile.fingerprint}"
        click.echo(f"status {generation.status.name}, {about_bits}", err=True)
    if generation.error is not None:
        raise click.exceptions.Exit(1)


def _prompt(prompt: str | None, ids: list[int] | None, file: Path | None) -> str | bytes | list[int]:
    """Return the prompt from where it is given; a usage error unless it is given once."""
    given = [each for each in (prompt, ids, file) if each is not None]
    if not given and sys.stdin is not None and not sys.stdin.isatty():
        given = [file := Path("-")]
    if len(given) != 1:
        raise click.UsageError("Give one of PROMPT, --ids, -f FILE, --chat, or a prompt on standard input.")
    if file is None:
        return one_prompt(prompt, ids)
    data = read_input(file)
    if not data and str(file) == "-":
        raise click.UsageError("Standard input is empty; give PROMPT, --ids, -f FILE or --chat.")
    return data


def _stream(raw: bool, lossy: bool) -> TextStream:
    """Return where generated text goes: standard output, made safe if a person reads it there."""
    terminal = sys.stdout.isatty()
    return TextStream(lambda data: click.echo(data, nl=False), safe=terminal and not raw, lossy=lossy)


def _document(generation: Generation) -> dict[str, Any]:
    return {
        **status_document(generation.error),
        "prompt_ids": list(generation.prompt_ids),
        "generated_ids": list(generation.generated_ids),
        "text": generation.text,
        "result_bytes": generation.result_bytes.hex(),
    }


def _print_generated(generation: Generation) -> None:
    """Say what was generated before the failure."""
    if generation.generated_ids:
        ids = ",".join(map(str, generation.generated_ids))
        click.echo(f"  {len(generation.generated_ids)} ids were generated: {ids}", err=True)
        click.echo(f"  their bytes: {visible(generation.result_bytes)}", err=True)


def _spelling(tokenizer: Tokenizer, token: int) -> str:
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
            if not self._ids:
                self._began = perf_counter()
            self._last = perf_counter()
            self._take(event.choice.token)

    def _take(self, token: int) -> None:
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
            return f"stop token {self._stop} {_spelling(self._tokenizer, self._stop)}"
        return "limit" if len(self._ids) >= most else "context full"

    def summary(self, reason: str) -> str:
        """Return one line: tokens, speed, reason."""
        seconds = self._last - self._began
        steps = len(self._ids) + (self._stop is not None) - 1
        speed = f", {steps / seconds:.1f} tokens/s" if steps > 0 and seconds > 0 else ""
        return f"{self._prompt_tokens} prompt tokens, {len(self._ids)} generated{speed}; stopped: {reason}"
