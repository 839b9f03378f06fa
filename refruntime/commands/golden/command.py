"""`refruntime golden`: list the goldens, pack them into one archive, serve them to a browser."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from refruntime.commands.files import UnreadableFile, path_option, write_file
from refruntime.commands.golden.folder import golden_option
from refruntime.commands.golden.server import ADDRESS, GoldenServer
from refruntime.commands.groups import ListedGroup
from refruntime.commands.shared import json_option, write_json
from refruntime.golden.corpus import Corpus
from refruntime.golden.dialect import dialect_texts
from refruntime.golden.index import profile_of
from refruntime.golden.pack import archive_name, pack
from refruntime.golden.reading import GoldenError
from refruntime.golden.verify import verify
from refruntime.show.text import count
from refruntime.visible import printable

SHOWN_FINDINGS = 10


@click.group(
    "golden",
    cls=ListedGroup,
    epilog="""\b
Examples:
  refruntime golden list
  refruntime golden pack -o goldens.tar
  refruntime golden serve
""",
)
def golden_command() -> None:
    """List, pack or serve the goldens. See also fill, verify and `diff --golden`."""


@golden_command.command("list", epilog="Example: refruntime golden list --json")
@golden_option
@json_option
def list_command(golden: Path, as_json: bool) -> None:
    """List the cases with the rules that they pin."""
    corpus = Corpus(golden)
    cases = []
    code = 0
    for identifier in corpus.ids():
        try:
            case = corpus.case(identifier)
        except GoldenError as error:
            click.echo(printable(str(error)), err=True)
            code = 1
            continue
        cases.append(case)
    if as_json:
        listed = [{"id": case.id, "rules": case.rules, "steps": len(case.steps), "about": case.about} for case in cases]
        write_json({"exit_code": code, "cases": listed})
    else:
        width = max((len(case.id) for case in cases), default=0)
        in_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
        columns = Console().width if in_terminal else sys.maxsize  # other programs read whole lines
        for case in cases:
            for line in _listed(case.id, ", ".join(case.rules), width, columns):
                click.echo(printable(line))
        click.echo(count(len(cases), "case"))
    raise click.exceptions.Exit(code)


def _listed(identifier: str, rules: str, width: int, columns: int) -> list[str]:
    """Return the lines of a case; its rules stand below it where they do not fit beside it."""
    line = f"{identifier:<{width}}  {rules}"
    if len(line) <= columns:
        return [line]
    return [identifier, *textwrap.wrap(rules, max(columns - 4, 20), initial_indent="    ", subsequent_indent="    ")]


@golden_command.command("pack", epilog="Example: refruntime golden pack -o goldens.tar")
@golden_option
@path_option("-o", "--output", help="Where to write; by default its own name.")
@click.option("--partial", "incomplete", is_flag=True, help="Do not ask for a case or a reason for every rule.")
@json_option
def pack_command(golden: Path, output: Path | None, incomplete: bool, as_json: bool) -> None:
    """Verify the goldens and write them into one archive with the same bytes on every machine.

    Exit codes: 0 written, 1 the goldens are not right, 3 a file cannot be written.
    """
    corpus = Corpus(golden)
    result = verify(corpus, partial=incomplete)
    if result.findings or result.cases == 0:
        for finding in result.findings[:SHOWN_FINDINGS]:
            click.echo(printable(str(finding)), err=True)
        click.echo(
            f"{count(len(result.findings), 'finding')} in {count(result.cases, 'case')}; nothing was packed", err=True
        )
        raise click.exceptions.Exit(1)
    data = pack(corpus)
    path = output or Path(f"{archive_name(corpus)}.tar")
    write_file(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    if as_json:
        write_json({"exit_code": 0, "file": str(path), "bytes": len(data), "sha256": sha256, "root": result.root})
    else:
        click.echo(printable(f"{sha256}  {path}"))
        click.echo(f"{result.cases} cases, {result.files} files, {len(data)} bytes")
        unpacked = f"tar xf {shlex.quote(str(path))}; node {archive_name(corpus)}/consume.mjs BUILD.wasm"
        click.echo(printable(f"next: {unpacked}"))


def profile_lines(index: Mapping[str, Any]) -> list[str]:
    """Return for whose build the goldens are: fingerprint and options of the profile, where its fields lie."""
    profile = profile_of(index)
    lines = [f"profile   {profile.fingerprint}  {profile.summary}"]
    lines += [f"  {name:<20}{text}" for name, text in dialect_texts(index["diagnostics"]).items()]
    return lines


@golden_command.command("serve", epilog="Example: refruntime golden serve --port 8000")
@golden_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8377, show_default=True, help="Port; 0 takes a free one."
)
def serve_command(golden: Path, port: int) -> None:
    """Serve the goldens to browsers of this machine, until interrupted."""
    try:
        server = GoldenServer(Corpus(golden), port)
    except GoldenError as error:
        raise click.ClickException(f"{golden}: these are no goldens: {error}") from error
    except OSError as error:
        raise UnreadableFile(f"{error.filename or f'{ADDRESS}:{port}'}: {error.strerror or error}") from error
    with server:
        click.echo(f"http://{ADDRESS}:{server.server_address[1]}/")
        for line in profile_lines(server.index):
            click.echo(printable(line))
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
