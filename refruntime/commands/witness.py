"""`refruntime witness`: the first wrong number, read out of the memory of a build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from refruntime.api import raw_bytes
from refruntime.commands.build_options import say_if_pauses_are_slow, timeout_option
from refruntime.commands.diff.engines import read_build, refuse_build
from refruntime.commands.diff.report import make_numerics, refuse
from refruntime.commands.files import ModelPath, path_option, profile_option, write_file
from refruntime.commands.generating import sampling_options
from refruntime.commands.plot import check_picture, write_picture
from refruntime.commands.shared import (
    contract_failures,
    finite,
    map_file,
    progress,
    write_json,
)
from refruntime.commands.variation import resolved_variation, variation_option
from refruntime.contract.profile import Profile
from refruntime.engines.base import EngineError, EngineMissing, Limits
from refruntime.numerics.varied import Variation
from refruntime.show.witness import print_report
from refruntime.visible import printable

PROMPT = "Once upon a time"


@click.command(
    "witness",
    epilog="""\b
Examples:
  refruntime witness build.wasm --model stories.gguf --prompt "Once upon a time"
  refruntime witness build.wasm --model stories.slm1 --prompt "The fox" -n 8 --position 12
  refruntime witness build.wasm --model stories.slm1 --json - | jq .first
""",
)
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="FILE", type=ModelPath(), help="Model to generate with.")
@click.option("--prompt", default=PROMPT, show_default=True, help="Prompt of the generation.")
@click.option(
    "-n", "--max-new-tokens", type=click.IntRange(min=1), default=1, show_default=True, help="Tokens to generate."
)
@click.option(
    "--next", "continued", type=click.IntRange(min=0), default=0, help="Calls of generate_next_token behind it."
)
@click.option(
    "--position",
    type=click.IntRange(min=0),
    help="Position to look at.  [default: the earliest one with a wrong number]",
)
@sampling_options
@timeout_option(60.0, ", or the stretch between two pauses of it,")
@profile_option
@variation_option
@click.option("--json", "json_path", metavar="FILE", help="Write the report as JSON into this file; `-` prints it.")
@path_option("--plot", "picture", help="Draw the map: .png or .svg.")
def witness_command(
    build: Path,
    model: Path,
    prompt: str,
    max_new_tokens: int,
    continued: int,
    position: int | None,
    sampling: dict[str, Any],
    timeout: float,
    profile: Profile,
    variation: Variation | str | None,
    json_path: str | None,
    picture: Path | None,
) -> None:
    """Stop one generation of the module BUILD at many points and compare its memory with the oracle, number by number.

    Neither source nor names of the build are needed. Exit codes: 0 no number is wrong, or too little could be seen; 1
    a number is wrong; 2 wrong usage; 3 a missing tool or file.
    """
    as_json = json_path == "-"
    if picture is not None:
        check_picture(picture, "--plot")
    module, artifact = read_build(build, as_json), bytes(map_file(model))
    try:
        from refruntime.identify.sealed_engine import fit_module
        from refruntime.witness.build import CannotLook, Witness
        from refruntime.witness.oracle import Sampling
        from refruntime.witness.report import document
    except EngineMissing as error:
        refuse(3, str(error), as_json)
    say_if_pauses_are_slow()
    about: dict[str, Any] = {"build": build.name, "model": model.name, "profile": profile.fingerprint}
    variation = resolved_variation(variation, module, profile, timeout, as_json)
    numerics = make_numerics("auto", as_json, variation)
    about["numerics"] = numerics.name
    try:
        with contract_failures(as_json, **about), progress("running the build and the oracle"):
            limits = Limits.beside([len(artifact)], timeout)
            met = fit_module(module, profile, limits)
            witness = Witness(
                module,
                met.own(artifact),
                raw_bytes(prompt),
                max_new_tokens,
                Sampling(**sampling),
                met.profile,
                numerics,
                limits=limits,
                continued=continued,
                fit=met.fit,
            )
        if position is not None and position >= len(witness.ids):
            raise click.BadParameter(
                f"{position}; the generation has the positions 0 .. {len(witness.ids) - 1}", param_hint="--position"
            )
        with progress("looking into its memory"):
            seen = witness.earliest() if position is None else witness.at(position)
    except CannotLook as error:
        refuse(1, str(error), as_json)
    except EngineError as error:
        refuse_build(build.name, error, as_json)
    report = {**document(witness, seen), **about, "prompt": prompt}
    if picture is not None:
        from refruntime.show.witness_picture import witness_picture

        write_picture(witness_picture(report), picture)
    if as_json:
        write_json(report)
    else:
        print_report(report, Console())
        if json_path is not None:
            _save(Path(json_path), report)
    raise click.exceptions.Exit(1 if report["verdict"] == "wrong" else 0)


def _save(path: Path, report: dict[str, Any]) -> None:
    write_file(path, json.dumps(finite(report), indent=2, allow_nan=False).encode() + b"\n")
    click.echo(printable(f"wrote {path}"))
