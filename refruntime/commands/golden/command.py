"""`refruntime golden`: list the goldens, pack them into one archive, serve them to a browser."""

from __future__ import annotations

import hashlib
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from refruntime.commands.files import UnreadableFile, write_file
from refruntime.commands.golden.folder import golden_option
from refruntime.commands.shared import json_option, write_json
from refruntime.golden.corpus import Corpus
from refruntime.golden.pack import archive_name, pack
from refruntime.golden.reading import GoldenError
from refruntime.golden.verify import verify

ADDRESS = "127.0.0.1"
PAGE = "consume.html"
SHOWN_FINDINGS = 10


@click.group(
    "golden",
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
            click.echo(str(error), err=True)
            code = 1
            continue
        cases.append(case)
    if as_json:
        listed = [{"id": case.id, "rules": case.rules, "steps": len(case.steps), "about": case.about} for case in cases]
        write_json({"exit_code": code, "cases": listed})
    else:
        width = max((len(case.id) for case in cases), default=0)
        for case in cases:
            click.echo(f"{case.id:<{width}}  {', '.join(case.rules)}")
        click.echo(f"{len(cases)} cases")
    raise click.exceptions.Exit(code)


@golden_command.command("pack", epilog="Example: refruntime golden pack -o goldens.tar")
@golden_option
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Where to write; by default its own name."
)
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
            click.echo(str(finding), err=True)
        click.echo(f"{len(result.findings)} findings in {result.cases} cases; nothing was packed", err=True)
        raise click.exceptions.Exit(1)
    data = pack(corpus)
    path = output or Path(f"{archive_name(corpus)}.tar")
    write_file(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    if as_json:
        write_json({"exit_code": 0, "file": str(path), "bytes": len(data), "sha256": sha256, "root": result.root})
    else:
        click.echo(f"{sha256}  {path}")
        click.echo(f"{result.cases} cases, {result.files} files, {len(data)} bytes")


@golden_command.command("serve", epilog="Example: refruntime golden serve --port 8000")
@golden_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8377, show_default=True, help="Port; 0 takes a free one."
)
def serve_command(golden: Path, port: int) -> None:
    """Serve the goldens to browsers of this machine, until interrupted."""
    try:
        server = golden_server(golden, port)
    except OSError as error:
        raise UnreadableFile(f"{ADDRESS}:{port}: {error.strerror or error}") from error
    with server:
        click.echo(f"http://{ADDRESS}:{server.server_address[1]}/{PAGE}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)


def golden_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the files below a folder, for this machine only. OSError when the port is taken."""
    server = ThreadingHTTPServer((ADDRESS, port), partial(_Handler, directory=str(folder.resolve())))
    server.daemon_threads = True
    return server


class _Handler(SimpleHTTPRequestHandler):
    """Give files with their MIME types; no listings, nothing outside of the folder, not through links either."""

    extensions_map = {  # noqa: RUF012  # the base class reads it from the class
        ".html": "text/html; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".wasm": "application/wasm",
        ".md": "text/markdown; charset=utf-8",
        "": "application/octet-stream",
    }

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        root = Path(self.directory).resolve()
        if path.is_dir() or not path.resolve().is_relative_to(root):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the page shows what happens."""
