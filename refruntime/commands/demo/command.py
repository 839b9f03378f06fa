"""`refruntime demo`: what this is for in a screenful; with --all one session through the raw exports."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from refruntime import resources
from refruntime.commands.demo.session import DemoSession
from refruntime.commands.demo.short import tell
from refruntime.commands.demo.story import CHAPTERS
from refruntime.commands.files import ModelPath, profile_option
from refruntime.commands.shared import contract_failures, map_file
from refruntime.contract.limits import MAX_TRANSFER_BYTES
from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model

NEXT: Final = (
    ("refruntime diff BUILD.wasm", "is this build right?"),
    ("refruntime repl", "stop at any token, ask why, change one thing"),
    ("refruntime golden serve", "the same tests as a page for your browser"),
    ("refruntime demo --all", "this with all 13 exports, call by call"),
)


@click.command(
    "demo",
    epilog="""\b
Examples:
  refruntime demo
  refruntime demo --all
  refruntime demo --model model.gguf
""",
)
@click.option("--model", type=ModelPath(), help="Use this model instead of the project's own.")
@click.option("--all", "everything", is_flag=True, help="Tell it with some hundred calls, each in a table.")
@profile_option
def demo_command(model: Path | None, everything: bool, profile: Profile) -> None:
    """Show in a screenful what this is for: right answers, why a token won, the first wrong number of a wrong build.

    With --all one session call by call: memory, loading, generating, sampling, continuing, failing, misusing, freeing.
    Every answer comes from a call that is made now. Each status is compared with the one that the story expects; exit
    code 1 if one differs.
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
    if not everything:
        _finish(console, tell(console, bytes(data), path.name, profile))
        return
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


def _finish(console: Console, surprises: list[str]) -> None:
    for surprise in surprises:
        console.print(Text(f"not as expected: {surprise}", style="bold red"))
    if surprises:
        raise click.exceptions.Exit(1)
    console.print(Text("\nAll as expected. Next:", style="bold green"))
    for words, what in NEXT:
        console.print(Text(f"  {words:<28}{what}"), soft_wrap=True)
