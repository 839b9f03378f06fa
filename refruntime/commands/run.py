"""`refruntime run`: one generation from an empty context, written while it is generated."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from refruntime.api import Generation, open_model, open_tokenizer
from refruntime.chat.prompt import ChatTemplate, messages_of
from refruntime.commands.chat.failures import template_failures
from refruntime.commands.computing import computing_options, prompt_arguments
from refruntime.commands.files import read_input
from refruntime.commands.generating import Follower, date_option, raw_option, sampling_options, text_stream
from refruntime.commands.run_chain import CHAINS_OF_RUN, generate_by_chain, read_settings
from refruntime.commands.shared import (
    NumericsChoice,
    contract_failures,
    map_file,
    one_prompt,
    print_failure,
    progress,
    status_document,
    unknown_bytes_option,
    visible,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError
from refruntime.runtime import check_count
from refruntime.samplers.llama_cpp_chain import KINDS, LlamaSettings
from refruntime.sampling import SamplingConfig
from refruntime.tokenizers.unknown_bytes import with_unknown_bytes

USUAL = "float32 (auto)"
"""How weights are held where nothing needs to be said."""


@click.command(
    "run",
    epilog="""\b
Examples:
  refruntime run model.gguf "Once upon a time" -n 32
  refruntime run model.slm1 "The fox" -n 32 --temperature 0.8 --top-k 40 --top-p 0.9 --seed 7
  refruntime run model.gguf --ids 1,403,407 -n 8 --json
  refruntime run model.gguf "Once" --chain llama.cpp --set temp=0.9 --set xtc_probability=0.5 --seed 7
  refruntime run model.gguf -f prompt.txt > answer.txt
  refruntime run model.gguf --chat "Why is the sky blue?" --system "Answer in one sentence."
""",
)
@prompt_arguments
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
@date_option
@click.option("-n", "--max-new-tokens", type=int, default=64, show_default=True, help="Most tokens to generate.")
@sampling_options
@click.option("--chain", type=click.Choice(CHAINS_OF_RUN), help="Draw by the samplers of another runtime, with --seed.")
@click.option(
    "--set", "assignments", metavar="NAME=VALUE", multiple=True, help="A setting of --chain, such as top_n_sigma=1.5."
)
@raw_option
@unknown_bytes_option
@computing_options
def run_command(
    model: Path,
    prompt: str | None,
    ids: list[int] | None,
    file: Path | None,
    chat: str | None,
    system: str | None,
    date: datetime | None,
    max_new_tokens: int,
    sampling: dict[str, Any],
    chain: str | None,
    assignments: tuple[str, ...],
    raw: bool,
    unknown_bytes: str,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Generate text from PROMPT with MODEL, an SLM1 or GGUF file.

    With --chat the prompt is what the chat template in a GGUF file makes of TEXT; this needs the extra `chat`. Texts of
    control tokens are then these tokens, also in TEXT, while PROMPT is plain text.

    With --chain the tokens are those that another runtime draws of these logits, with its generators; penalties count
    the prompt too.

    The text goes to standard output as it is generated; standard error says at the end how much it was, how fast, and
    why it stopped. Ctrl-C keeps what is there. Without PROMPT, --ids, -f and --chat the prompt is read from standard
    input, if that is no terminal. The defaults are those of the contract: greedy. Exit code 1: the contract defines a
    failure for this, and standard error says which.
    """
    if chat is None and (system is not None or date is not None):
        raise click.UsageError("--system and --date go with --chat.")
    if chat is not None and (prompt is not None or ids is not None or file is not None):
        raise click.UsageError("Give only one of PROMPT, --ids, -f and --chat.")
    if chain is None and assignments:
        raise click.UsageError("--set goes with --chain.")
    if chain is not None and [*sampling.values()][:3] != [0.0, 1, 1.0]:
        raise click.UsageError("--temperature, --top-k and --top-p are those of the contract; --chain takes --set.")
    other = read_settings(assignments)
    source = b"" if chat is not None else _prompt(prompt, ids, file)
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, **sampling}
    if chain is not None:
        settings = {"max_new_tokens": max_new_tokens, "chain": chain, "seed": sampling["seed"], **_told(other)}
    about: dict[str, Any] = {
        "model": str(model),
        "settings": settings,
        "profile": profile.fingerprint,
        "numerics": numerics.name,
    }
    data = map_file(model)
    refused = _refused(sampling, max_new_tokens)  # told before the weights are loaded, as a wrong template is
    if refused is not None:
        _report(Generation(refused.status, refused, (), (), b""), about, "failure", as_json)
        raise click.exceptions.Exit(1)
    with contract_failures(as_json, **about):
        if chat is not None:
            tokenizer = with_unknown_bytes(open_tokenizer(data, profile), unknown_bytes)
            with template_failures("give PROMPT instead of --chat"):
                template = ChatTemplate(data, tokenizer, date or datetime.now())
                rendered = template.prompt(messages_of(chat, system))
            source, about["chat"] = list(rendered.ids), rendered.text
        with progress("loading"):
            opened = open_model(data, profile, numerics.make(), unknown_bytes)
    about |= numerics.held(opened.numerics)
    lossy = profile.invalid_output_utf8 == "lossy"
    follower = Follower(opened.tokenizer, None if as_json else text_stream(raw, lossy))
    try:
        if chain is not None:
            with contract_failures(as_json, **about):
                generation = generate_by_chain(opened, source, max_new_tokens, other, sampling["seed"], follower)
        else:
            generation = opened.generate(source, max_new_tokens, **sampling, tracer=follower)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--ids") from error
    except KeyboardInterrupt:
        follower.finish()
        click.echo(f"{follower.summary('interrupted')}, numerics {numerics.name}", err=True)
        raise
    follower.finish()
    reason = follower.reason(generation, max_new_tokens)
    _report(generation, about, reason, as_json, follower)
    if generation.error is not None:
        raise click.exceptions.Exit(1)


def _told(settings: LlamaSettings) -> dict[str, Any]:
    """Return the settings of a chain as plain values."""
    return {name: value for name, value in vars(settings).items() if name in KINDS}


def _refused(sampling: Mapping[str, Any], max_new_tokens: int) -> ContractError | None:
    """Return the failure of a bad sampling value or count, None where they are good (SC-2, GEN-1)."""
    try:
        SamplingConfig.validated(**sampling)
        check_count(max_new_tokens)
    except ContractError as error:
        return error
    return None


def _report(
    generation: Generation, about: Mapping[str, Any], reason: str, as_json: bool, follower: Follower | None = None
) -> None:
    """Say how a generation went: one document, or lines behind its text."""
    if as_json:
        write_json({**about, **_document(generation), "stopped": reason})
        return
    if generation.error is not None:
        print_failure(generation.error, Console(stderr=True))
        _print_generated(generation)
    if follower is not None:
        click.echo(follower.summary(reason), err=True)
    resident = about.get("resident", USUAL)
    resident = "" if resident == USUAL else f", weights {resident}"
    about_bits = f"numerics {about['numerics']}{resident}, profile {about['profile']}"
    click.echo(f"status {generation.status.name}, {about_bits}", err=True)


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
