"""`refruntime identify`: what an unknown build has, how it names things, which options it chose."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from refruntime.commands.build_options import kernels_option, timeout_option
from refruntime.commands.diff.engines import engines_of, read_build
from refruntime.commands.diff.report import make_numerics
from refruntime.commands.files import folder_option, path_option, write_file
from refruntime.commands.shared import json_option, progress, write_json
from refruntime.engines.base import Limits
from refruntime.identify.ask import identify
from refruntime.identify.document import json_document
from refruntime.identify.identification import Identification
from refruntime.identify.replay import feature_case, replay_files
from refruntime.show.card import card_html, card_text
from refruntime.show.folding import fitting
from refruntime.visible import printable


@click.command(
    "identify",
    epilog="""\b
Examples:
  refruntime identify build.wasm
  refruntime identify build.wasm --write-profile build.toml
  refruntime identify build.wasm --json | jq .switches
  refruntime identify build.wasm --html card.html
  refruntime identify build.wasm --write-cases evidence
""",
)
@click.argument("build", type=click.Path(path_type=Path))
@path_option(
    "--write-profile",
    "profile_path",
    help="Write what was learnt as a contract profile in TOML, for `diff --profile` and `fill --profile`.",
)
@folder_option(
    "--write-cases",
    "folder",
    help="Write the sessions that the evidence names as cases, to be repeated with `repl --golden DIR --case NAME`.",
)
@path_option("--html", "html_path", help="Write the card as a page.")
@timeout_option(20.0)
@kernels_option
@json_option
def identify_command(
    build: Path,
    profile_path: Path | None,
    folder: Path | None,
    html_path: Path | None,
    timeout: float,
    kernels: str,
    as_json: bool,
) -> None:
    """Ask the WebAssembly module BUILD what it is: features, names, texts, and every option of the contract.

    Each learnt value names the answer that leaves no other; what no answer can tell is listed as assumed. What
    contradicts a rule is no option but a bug, and is listed as one. Exit codes: 0 all that can be observed is settled,
    1 the build contradicts the contract or cannot be asked, 2 wrong usage, 3 a missing tool or file.
    """
    module = read_build(build, as_json)
    limits = Limits.beside((), timeout)
    engines = engines_of(build.name, module, limits, as_json)
    numerics = make_numerics(kernels, as_json)
    found = identify(module, engines.fresh, numerics, name=build.name, limits=limits, stage=_stage)
    if profile_path is not None and not found.problem:
        write_file(profile_path, found.profile.to_toml().encode())
    if folder is not None:
        _write_cases(found, folder)
    if html_path is not None:
        write_file(html_path, card_html(found).encode())
    if as_json:
        write_json(json_document(found))
    else:
        click.echo("\n".join(fitting(printable(card_text(found)).splitlines())))
        if profile_path is not None and not found.problem:
            following = shlex.join(["refruntime", "diff", str(build), "--profile", str(profile_path)])
            click.echo(printable(f"profile written to {profile_path}; next: {following}"))
        if folder is not None:
            text = f"cases of the evidence written to {folder}; repeat one: {_repeat(folder, build, profile_path)}"
            click.echo(printable(text))
    if found.exit_code:
        raise click.exceptions.Exit(found.exit_code)


def _write_cases(found: Identification, folder: Path) -> None:
    """Write the sessions of the evidence; those of features too."""
    features = found.features.asked if found.features is not None else ()
    for name, data in replay_files((*found.cases.values(), *map(feature_case, features))).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(folder / name, data)


def _repeat(folder: Path, build: Path, profile_path: Path | None) -> str:
    under = [] if profile_path is None else ["--profile", str(profile_path)]
    words = ["refruntime", "repl", "--golden", str(folder), "--case", "NAME", "--wasm", str(build), *under]
    return shlex.join(words)


@contextmanager
def _stage(text: str) -> Iterator[None]:
    with progress(text):
        yield
