"""`refruntime verify`: is a corpus of goldens what it says it is?"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import click

from refruntime import __version__
from refruntime.commands.files import write_file
from refruntime.commands.golden.folder import golden_option
from refruntime.commands.shared import html_option, json_option, write_json
from refruntime.golden.corpus import Corpus
from refruntime.golden.verification import Verification
from refruntime.golden.verify import verify
from refruntime.show.page.verify import verify_page
from refruntime.show.text import count
from refruntime.visible import printable

SHOWN_FINDINGS = 50


@click.command(
    "verify",
    epilog="""\b
Examples:
  refruntime verify
  refruntime verify --golden my-goldens --partial
  refruntime verify --html goldens.html
  refruntime verify --json | jq .findings
""",
)
@golden_option
@click.option("--partial", is_flag=True, help="Do not ask for a case or a reason for every rule of the contract.")
@html_option
@json_option
def verify_command(golden: Path, partial: bool, html_path: Path | None, as_json: bool) -> None:
    """Recompute every hash of the goldens, and hold them against their format and the contract.

    Names what is stale, edited, missing, orphaned or too large, and rules that no case pins. It computes no answer:
    see `refruntime fill --check`. Exit codes: 0 all is right, 1 something was found, 2 wrong usage, 3 a missing folder.
    """
    result = verify(Corpus(golden), partial=partial)
    code = int(bool(result.findings) or result.cases == 0)
    if html_path is not None:
        words = shlex.join(["refruntime", "verify", "--golden", str(golden), *(["--partial"] if partial else [])])
        write_file(html_path, verify_page(result, str(golden), words, __version__))
    if as_json:
        document = asdict(result)
        del document["contract"]
        write_json({"exit_code": code, **document})
    else:
        _report(result)
    raise click.exceptions.Exit(code)


def _report(result: Verification) -> None:
    for finding in result.findings[:SHOWN_FINDINGS]:
        click.echo(printable(str(finding)), err=True)
    if len(result.findings) > SHOWN_FINDINGS:
        click.echo(f"and {len(result.findings) - SHOWN_FINDINGS} more", err=True)
    click.echo(
        f"{count(len(result.findings), 'finding')} in {count(result.cases, 'case')}, {count(result.steps, 'step')}, "
        f"{count(result.samples, 'sample')}, {count(result.hashes, 'recomputed value')}, "
        f"{count(result.files, 'file')} of {result.total_bytes} bytes"
    )
    if result.rules_pinned or result.rules_unpinned:
        click.echo(f"{result.rules_pinned} rules are pinned by a case, {result.rules_unpinned} are not, with a reason")
    if result.cases == 0:
        click.echo("nothing was verified")
    if result.root:
        click.echo(f"root {result.root}")
