"""`refruntime compare`: how far two models lie apart."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from refruntime import __version__
from refruntime.api import raw_bytes
from refruntime.commands.files import ModelPath, profile_option, reachable, write_file
from refruntime.commands.shared import (
    NumericsChoice,
    NumericsName,
    add_row,
    checked_tokens,
    contract_failures,
    html_option,
    ids_option,
    json_option,
    map_file,
    numerics_option,
    plain_table,
    progress,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.fidelity.passes import Fidelity, compare_models
from refruntime.fidelity.requantize import CannotRequantize, requantized
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.show.page.compare import compare_page
from refruntime.tokenizers.base import Tokenizer
from refruntime.utf8 import checked_prompt

TEXT = """The lamp in the harbour office burned until two in the morning. Anna had counted the crates three times, and
each time the number was another one: 47, 52, then 49. "Either I am tired," she wrote, "or somebody moves them."

def total(crates):
    return sum(crate.weight for crate in crates if not crate.empty)

Am n\u00e4chsten Tag kam ein Brief aus Kyoto (\u4eac\u90fd); he said only this: the ship is late, the tea is not.
It cost $3.75 a pound, 12 % more than in 1911. "Then we wait," Anna answered, and waited.
"""
"""What is compared on by default: prose, code, numbers, two other languages."""


@click.command(
    "compare",
    epilog="""\b
Examples:
  refruntime compare model.f32.gguf model.q4_k_m.gguf
  refruntime compare model.f32.gguf --requantize q8_0
  refruntime compare model.gguf --numerics fast --against f64
  refruntime compare model.f32.gguf --requantize q4_0 --html report.html
  refruntime compare a.gguf b.gguf --file chapter.txt --positions 512 --json
""",
)
@click.argument("first", metavar="A", type=ModelPath())
@click.argument("second", metavar="[B]", required=False, type=ModelPath())
@click.option("--requantize", metavar="TYPE", help="Compare A with itself as this tensor type would store it.")
@click.option(
    "--against",
    type=NumericsName(),
    help="Compare A with itself in another numeric profile than --numerics.",
)
@click.option("--text", help="Compare on this text.")
@click.option("--file", "text_file", type=click.Path(path_type=Path), help="Compare on the text of this file.")
@ids_option
@click.option(
    "--positions", type=click.IntRange(min=1), default=256, show_default=True, help="Most positions to compare."
)
@profile_option
@numerics_option
@html_option
@json_option
def compare_command(
    first: Path,
    second: Path | None,
    requantize: str | None,
    against: str | None,
    text: str | None,
    text_file: Path | None,
    ids: list[int] | None,
    positions: int,
    profile: Profile,
    numerics: NumericsChoice,
    html_path: Path | None,
    as_json: bool,
) -> None:
    """Run model A and model B over the same tokens: KL divergence, same best token, error of every layer.

    Without a text, a short mixed one is used. Exit code 0 says that the comparison was made, whatever it found.
    """
    if sum(each is not None for each in (second, requantize, against)) != 1:
        raise click.UsageError("Give one of a second model B, --requantize TYPE and --against NUMERICS.")
    if sum(each is not None for each in (text, text_file, ids)) > 1:
        raise click.UsageError("Give only one of --text, --file and --ids.")
    other_numerics = NumericsChoice(against, "auto") if against is not None else numerics
    other_name = (
        f"{first} {f'as {requantize}' if against is None else f'in {against}'}" if second is None else str(second)
    )
    about: dict[str, Any] = {
        "first": str(first),
        "second": other_name,
        "numerics": numerics.name,
        "profile": profile.fingerprint,
    }
    with contract_failures(as_json, **about):
        with progress("loading"):
            ours, tokenizer = _open(first, profile, numerics, None)
            theirs, other = _open(second if second is not None else first, profile, other_numerics, requantize)
        _check_vocabularies(tokenizer, other)
        tokens = ids if ids is not None else tokenizer.encode(_text(text, text_file))
        capacity = min(ours.hyperparameters.max_context, theirs.hyperparameters.max_context)
        compared = checked_tokens(tokens, tokenizer, "compare")[: min(positions, capacity)]
        with progress("comparing", len(compared)) as advance:
            fidelity = compare_models(ours, theirs, compared, advance)
    about |= {"tokens": len(tokens), "compared": len(compared)}
    if html_path is not None:
        asked = {"--requantize": requantize, "--against": against, "--text": text, "--file": text_file}
        asked["--ids"] = None if ids is None else ",".join(map(str, ids))
        options = [word for name, value in asked.items() if value is not None for word in (name, str(value))]
        models = [str(path) for path in (first, second) if path is not None]
        limits = ["--positions", str(positions), "--numerics", numerics.name]
        words = shlex.join(["refruntime", "compare", *models, *options, *limits])
        write_file(html_path, compare_page(fidelity, about, words, __version__))
    if as_json:
        write_json({**about, **_document(fidelity)})
    else:
        _print(fidelity, about)


def _open(
    path: Path, profile: Profile, numerics: NumericsChoice, requantize: str | None
) -> tuple[Transformer, Tokenizer]:
    data = map_file(path)
    model = validate_model(data, profile)
    if requantize is not None:
        try:
            model = requantized(model, requantize)
        except CannotRequantize as error:
            raise click.BadParameter(str(error), param_hint="--requantize") from error
    return Transformer(model, profile, numerics.make()), model.tokenizer


def _check_vocabularies(first: Tokenizer, second: Tokenizer) -> None:
    """Refuse models whose ids mean different things."""
    if first.vocab_size != second.vocab_size:
        raise click.UsageError(f"the vocabularies differ: {first.vocab_size} and {second.vocab_size} tokens")
    for token in range(first.vocab_size):
        if first.decode([token]) != second.decode([token]):
            raise click.UsageError(f"the vocabularies differ: token {token} has another text")


def _text(text: str | None, path: Path | None) -> bytes:
    if path is None:
        return TEXT.encode() if text is None else checked_prompt(raw_bytes(text))
    with reachable(path):
        return checked_prompt(path.read_bytes())


def _document(fidelity: Fidelity) -> dict[str, Any]:
    return {
        **fidelity.divergence.to_dict(),
        "kl": fidelity.divergence.kl.tolist(),
        "tensors": [
            {"name": error.name, "mean": error.mean, "max": error.largest, "position": error.worst}
            for error in fidelity.tensors
        ],
    }


def _print(fidelity: Fidelity, about: dict[str, Any]) -> None:
    found, console = fidelity.divergence, Console()
    console.print(f"A  {about['first']}\nB  {about['second']}", highlight=False, soft_wrap=True)
    console.print(f"{about['compared']} of {about['tokens']} tokens, numerics {about['numerics']}\n", highlight=False)
    table = plain_table("measure", "value", right=("value",))
    add_row(table, "KL divergence A to B, mean", f"{found.mean:.3g} nats")
    for percent, value in found.percentiles.items():
        add_row(table, f"  {percent} % of positions below", f"{value:.3g}")
    add_row(table, f"  largest, at position {found.worst}", f"{float(found.kl.max()):.3g}")
    add_row(table, "same best token", f"{found.same_top.mean():.2%}")
    add_row(table, "largest difference of a logit", f"{found.largest_difference:.3g}")
    console.print(table)
    console.print(f"\n{found.band}\n", highlight=False)
    layers = plain_table(
        "layer", "tensor with the largest error", "mean", "largest", "position", right=("mean", "largest")
    )
    for layer, error in sorted(fidelity.layers.items()):
        tensor = error.name.partition(f"blk.{layer}.")[2]
        add_row(layers, layer, tensor, f"{error.mean:.3g}", f"{error.largest:.3g}", error.worst)
    if fidelity.layers:
        console.print("relative error |a - b| / |a| of a position, in the Euclidean norm:")
        console.print(layers)
