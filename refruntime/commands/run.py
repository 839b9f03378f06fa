"""`refruntime run`: one generation from an empty context."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from refruntime.api import Generation, open_model
from refruntime.commands.chat.prompt import chat_prompt
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
    visible,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.trace import ChoiceEvent, Event


@click.command(
    "run",
    epilog="""\b
Examples:
  refruntime run model.gguf "Once upon a time" -n 32
  refruntime run model.slm1 "The fox" -n 32 --temperature 0.8 --top-k 40 --top-p 0.9 --seed 7
  refruntime run model.gguf --ids 1,403,407 -n 8 --json
  refruntime run model.gguf --chat "Why is the sky blue?" --system "Answer in one sentence."
""",
)
@MODEL
@click.argument("prompt", required=False)
@ids_option
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
@profile_option
@numerics_option
@json_option
def run_command(
    model: Path,
    prompt: str | None,
    ids: list[int] | None,
    chat: str | None,
    system: str | None,
    date: datetime | None,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Generate text from PROMPT with MODEL, an SLM1 or GGUF file.

    With --chat the prompt is what the chat template in a GGUF file makes of TEXT; this needs the extra `chat`. Texts of
    control tokens are then these tokens, also in TEXT, while PROMPT is plain text.

    The text goes to standard output once it is complete, because the ABI does not stream. The defaults are those of
    the contract: greedy. Exit code 1: the contract defines a failure for this, and standard error says which.
    """
    if chat is None and (system is not None or date is not None):
        raise click.UsageError("--system and --date go with --chat.")
    if chat is not None and (prompt is not None or ids is not None):
        raise click.UsageError("Give only one of PROMPT, --ids and --chat.")
    source = one_prompt(prompt, ids) if chat is None else ""
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
        with progress("loading"):
            opened = open_model(data, profile, numerics.make(data))
        if chat is not None:
            rendered = chat_prompt(data, opened.tokenizer, chat, system, date or datetime.now())
            source, about["chat"] = rendered.ids, rendered.text
        with progress("generating", max_new_tokens) as advance:
            try:
                generation = opened.generate(source, max_new_tokens, **sampling, tracer=_TokenCounter(advance))
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--ids") from error
    if as_json:
        write_json({**about, **_document(generation)})
    elif generation.error is None:
        click.echo(generation.result_bytes)
        _summary(generation, profile, numerics.name)
    else:
        print_failure(generation.error, Console(stderr=True))
        _print_generated(generation)
    if generation.error is not None:
        raise click.exceptions.Exit(1)


def _document(generation: Generation) -> dict[str, Any]:
    return {
        **status_document(generation.error),
        "prompt_ids": list(generation.prompt_ids),
        "generated_ids": list(generation.generated_ids),
        "text": generation.text,
        "result_bytes": generation.result_bytes.hex(),
    }


def _summary(generation: Generation, profile: Profile, numerics: str) -> None:
    click.echo(
        f"{len(generation.prompt_ids)} prompt tokens, {len(generation.generated_ids)} generated, status "
        f"{generation.status.name}, numerics {numerics}, profile {profile.fingerprint}",
        err=True,
    )


def _print_generated(generation: Generation) -> None:
    """Say what was generated before the failure."""
    if generation.generated_ids:
        ids = ",".join(map(str, generation.generated_ids))
        click.echo(f"  {len(generation.generated_ids)} ids were generated: {ids}", err=True)
        click.echo(f"  their bytes: {visible(generation.result_bytes)}", err=True)


class _TokenCounter:
    """Advance a progress bar with every sampled token."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def event(self, event: Event) -> None:
        if isinstance(event, ChoiceEvent):
            self._advance(1)
