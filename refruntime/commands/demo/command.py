"""`refruntime demo`: the story of one session through the raw exports."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from refruntime import resources
from refruntime.commands.demo.session import DemoSession
from refruntime.commands.demo.story import CHAPTERS
from refruntime.commands.files import ModelPath
from refruntime.commands.shared import contract_failures, map_file, profile_option
from refruntime.contract.limits import MAX_TRANSFER_BYTES
from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model


@click.command(
    "demo",
    epilog="""\b
Examples:
  refruntime demo
  refruntime demo --model model.gguf
""",
)
@click.option("--model", type=ModelPath(), help="Use this model instead of the project's own.")
@profile_option
def demo_command(model: Path | None, profile: Profile) -> None:
    """Show one session: memory, loading, generating, sampling, continuing, failing, misusing, freeing.

    Every answer in the tables comes from a call that is made now. Each status is compared with the one that the story
    expects; exit code 1 if one differs.
    """
    path = model if model is not None else resources.demo_model()
    data = map_file(path)
    if len(data) > MAX_TRANSFER_BYTES:
        raise click.UsageError(
            f"{path}: {len(data):,} bytes are more than alloc gives ({MAX_TRANSFER_BYTES:,}, MEM-1)."
        )
    with contract_failures(as_json=False):
        validate_model(data, profile)  # a story about a broken model would be another story
    console = Console()
    console.print(Text(f"refruntime demo with {path.name} ({len(data):,} bytes)", style="bold"), soft_wrap=True)
    session = DemoSession(console, bytes(data), profile)
    began = time.perf_counter()
    for chapter in CHAPTERS:
        chapter(session)
    seconds = time.perf_counter() - began
    outcome = f"{session.calls} calls, {session.statuses} statuses compared, {session.misuses} misuses caught"
    if session.surprises:
        console.print(Text(f"\n{outcome}, {len(session.surprises)} not as expected:", style="bold red"))
        for surprise in session.surprises:
            console.print(Text(f"  {surprise}"))
        raise click.exceptions.Exit(1)
    console.print(Text(f"\n{outcome}, all as expected, in {seconds:.1f} s", style="bold green"))
    console.print("Next: refruntime run, logits, inspect, tokenize, convert, contract; each has --help.")
