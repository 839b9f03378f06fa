"""`refruntime chat`: talk to a model for several turns, in a terminal or from a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from refruntime.api import open_model, open_tokenizer
from refruntime.chat.prompt import ChatTemplate, messages_of
from refruntime.commands.chat.failures import template_failures
from refruntime.commands.chat.talk import Talk
from refruntime.commands.files import profile_option
from refruntime.commands.generating import date_option, raw_option, sampling_options
from refruntime.commands.shared import (
    MODEL,
    NumericsChoice,
    contract_failures,
    map_file,
    numerics_option,
    progress,
    unknown_bytes_option,
)
from refruntime.contract.profile import Profile
from refruntime.sampling import SamplingConfig
from refruntime.session.conversation import Conversation
from refruntime.tokenizers.unknown_bytes import with_unknown_bytes

PROMPT = "> "


def typed_lines() -> Iterator[str]:
    """Yield the lines that are typed until Ctrl-D; Ctrl-C gives up the line that was begun and says what leaves."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it is what gives `input` its keys
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            click.echo("")
            return
        except KeyboardInterrupt:
            click.echo("\n(Ctrl-D or /quit leaves)", err=True)


@click.command(
    "chat",
    epilog="""\b
Examples:
  refruntime chat model.gguf --system "Answer in one sentence."
  refruntime chat model.gguf --temperature 0.7 --top-k 40 --seed 7 -n 200
  printf 'Hi!\\nWhat did I say?\\n' | refruntime chat model.gguf
  refruntime chat model.gguf --json < questions.txt > answers.jsonl
""",
)
@MODEL
@click.option("--system", metavar="TEXT", help="System message before everything that is said.")
@date_option
@click.option(
    "-n",
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Most tokens of an answer.",
)
@sampling_options
@raw_option
@unknown_bytes_option
@profile_option
@numerics_option
@click.option("--json", "as_json", is_flag=True, help="Answer each message with one JSON object on a line.")
def chat_command(
    model: Path,
    system: str | None,
    date: datetime | None,
    max_new_tokens: int,
    sampling: dict[str, Any],
    raw: bool,
    unknown_bytes: str,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Talk to MODEL, a GGUF file with a chat template, for several turns.

    Each line that is typed, or read from standard input, is a message. Answers go to standard output as they are
    generated, what is said about them to standard error. The tokens of earlier turns stay in the KV cache: only
    what is new is computed, and the line behind an answer says how much that was. In a terminal /help lists the
    commands, Ctrl-C ends an answer and keeps its text, Ctrl-D leaves. Every answer is drawn as `generate` draws, so
    the first one is that of `run --chat`. Needs the extra `chat`. Exit codes: 0 fine, 1 a failure that the contract
    defines or the template's, 2 wrong usage, a model without template included.
    """
    data = map_file(model)
    with contract_failures(as_json, model=str(model)):
        checked = SamplingConfig.validated(**sampling)
        with template_failures("`run` takes a plain prompt"):  # told before the weights are loaded
            tokenizer = with_unknown_bytes(open_tokenizer(data, profile), unknown_bytes)
            template = ChatTemplate(data, tokenizer, date or datetime.now())
            template.prompt(messages_of("Hi", system))
        with progress("loading"):
            opened = open_model(data, profile, numerics.make(), unknown_bytes)
    about = {
        "model": str(model),
        "settings": {"max_new_tokens": max_new_tokens, **sampling},
        "profile": profile.fingerprint,
        "numerics": numerics.name,
    }
    conversation = Conversation(opened, template, checked, system)
    talk = Talk(conversation, max_new_tokens, about, raw=raw, as_json=as_json)
    in_terminal = sys.stdin is not None and sys.stdin.isatty()
    if isinstance(sys.stdin, TextIOWrapper):  # bytes that are no text are the contract's to refuse
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    code = talk.with_person(typed_lines()) if in_terminal else talk.with_pipe(sys.stdin or ())
    if code:
        raise click.exceptions.Exit(code)
