"""`refruntime corpus`: malformed model files with the status that each must give, for any loader."""

from __future__ import annotations

import json
from pathlib import Path

import click

from refruntime.atomic import write_whole
from refruntime.battery.malformed.catalogue import checks_reached, index_entry, malformed_files
from refruntime.commands.files import reachable
from refruntime.commands.groups import ListedGroup
from refruntime.commands.shared import json_option, progress, write_json

INDEX = "INDEX.json"


@click.group("corpus", cls=ListedGroup, epilog="Example: refruntime corpus write malformed")
def corpus_command() -> None:
    """Write malformed SLM1 and GGUF files with the status that each must give."""


@corpus_command.command("write", epilog="Example: refruntime corpus write malformed")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def write_command(folder: Path, as_json: bool) -> None:
    """Write all files into DIR, which must be empty or absent, and INDEX.json last.

    The index has for each file size, hash, status, the rule of the contract that demands it and the check that it
    reaches; and a table of how many files reach each check.
    """
    with reachable(folder):
        if folder.exists() and any(folder.iterdir()):
            raise click.UsageError(f"{folder} is not empty")
        entries = []
        with progress("writing"):
            for file in malformed_files():
                path = folder / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.data)
                entries.append(index_entry(file))
            checks = checks_reached(entries)
            index = json.dumps({"format": 1, "checks": checks, "files": entries}, indent=1) + "\n"
            write_whole(folder / INDEX, index.encode())
    if as_json:
        write_json({"files": len(entries), "checks": checks, "index": str(folder / INDEX)})
        return
    width = max(len(str(row["check"])) for row in checks)
    for row in checks:
        click.echo(
            f"{row['container']:<5} {row['check']:<{width}}  {row['rule']:<6} {row['status']:<24}{row['files']:>5}"
        )
    click.echo(f"{len(entries)} files, {len(checks)} checks; {folder / INDEX} tells what each must give")
