"""`refruntime convert`: rewrite a model in the other container, or in another type."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from refruntime.commands.files import ModelPath, profile_option, reachable
from refruntime.commands.shared import (
    contract_failures,
    json_option,
    map_file,
    progress,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.convert import DTYPES, TARGETS, ConversionRefused, convert_artifact


@click.command(
    "convert",
    epilog="""\b
Examples:
  refruntime convert stories.slm1 stories.gguf
  refruntime convert stories.gguf stories.q8_0.slm1 --dtype q8_0
""",
)
@click.argument("source", metavar="IN", type=ModelPath())
@click.argument("destination", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Choice(TARGETS), help="Container to write.  [default: by the suffix of OUT]")
@click.option("--dtype", type=click.Choice(DTYPES), default="f32", show_default=True, help="How weights are stored.")
@click.option("--force", is_flag=True, help="Overwrite OUT.")
@profile_option
@json_option
def convert_command(
    source: Path, destination: Path, target: str | None, dtype: str, force: bool, profile: Profile, as_json: bool
) -> None:
    """Convert IN to OUT: GGUF to SLM1, SLM1 to GGUF, or SLM1 to another type.

    Possible where both containers can say the same: the llama architecture with equal heads that fill the hidden
    vector, and the byte vocabulary of BTOK. f32 keeps every weight bit for bit. What is impossible is refused with the
    reason, exit code 1.
    """
    chosen = target or destination.suffix.lower().removeprefix(".")
    if chosen not in TARGETS:
        raise click.UsageError(f"Say --to slm1 or --to gguf; the suffix of {destination} names neither.")
    data = map_file(source)
    if destination.exists() and not force:
        raise click.UsageError(f"{destination} exists; --force overwrites it.")
    about = {"source": str(source), "destination": str(destination)}
    with contract_failures(as_json, **about):
        try:
            with progress(f"writing {destination.name}"), reachable(destination):
                conversion = convert_artifact(data, destination, chosen, dtype, profile)
        except ConversionRefused as refusal:
            if as_json:
                details = {"reason": refusal.reason, "expected": refusal.expected, "found": refusal.found}
                write_json({**about, "refused": {key: value and str(value) for key, value in details.items()}})
            else:
                Console(stderr=True).print(f"refused: {refusal}", markup=False, highlight=False, soft_wrap=True)
            raise click.exceptions.Exit(1) from refusal
    if as_json:
        write_json({**about, "refused": None, "conversion": asdict(conversion)})
        return
    click.echo(
        f"wrote {destination}: {conversion.target}, {conversion.dtype}, {conversion.tensors} tensors, "
        f"{conversion.byte_length:,} bytes, from {conversion.source}"
    )
    for note in conversion.notes:
        click.echo(f"note: {note}")
