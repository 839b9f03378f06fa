"""`refruntime orders`: in which order a build adds, and which forms of exp, sine, root it computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from refruntime.api import raw_bytes
from refruntime.battery.models.orders import PROMPT, orders_model
from refruntime.commands.build_options import say_if_pauses_are_slow, timeout_option
from refruntime.commands.diff.engines import read_build, refuse_build
from refruntime.commands.diff.report import refuse
from refruntime.commands.files import ModelPath, path_option, profile_option, write_file
from refruntime.commands.shared import contract_failures, json_option, map_file, write_json
from refruntime.commands.variation import read_off
from refruntime.contract.profile import Profile
from refruntime.engines.base import EngineError, EngineMissing
from refruntime.numerics.varied import Variation
from refruntime.show.folding import fitting
from refruntime.show.orders import orders_lines
from refruntime.visible import printable


@click.command(
    "orders",
    epilog="""\b
Examples:
  refruntime orders build.wasm
  refruntime orders build.wasm --write build-numerics.toml
  refruntime diff build.wasm --numerics-variation build-numerics.toml
""",
)
@click.argument("build", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="FILE",
    type=ModelPath(),
    help="Model to compute with.  [default: one whose widths tell orders apart]",
)
@click.option("--prompt", help="Text to compute with; short rows of attention tell less.  [default: 20 bytes]")
@path_option("--write", "target", help="Write the variation for `diff --numerics-variation`.")
@click.option("--list", "only_list", is_flag=True, help="List every form that is tried for each operation.")
@timeout_option(60.0)
@profile_option
@json_option
def orders_command(
    build: Path | None,
    model: Path | None,
    prompt: str | None,
    target: Path | None,
    only_list: bool,
    timeout: float,
    profile: Profile,
    as_json: bool,
) -> None:
    """Read the order of arithmetic off the memory of the module BUILD: which forms give the bits that lie there.

    Exit codes: 0 one form for every operation that was seen; 1 some operation is none that is known; 2 wrong usage; 3 a
    missing tool or file.
    """
    if only_list:
        if as_json:
            write_json({"forms": {name: [str(form) for form in Variation.options(name)] for name in meanings()}})
        else:
            click.echo("\n".join(_listed()))
        return
    if build is None:
        raise click.UsageError("Missing argument 'BUILD'.")
    try:
        from refruntime.witness.build import CannotLook
        from refruntime.witness.orders.document import comments, document
    except EngineMissing as error:
        refuse(3, str(error), as_json)
    say_if_pauses_are_slow()
    module = read_build(build, as_json)
    about: dict[str, Any] = {"build": build.name, "profile": profile.fingerprint}
    try:
        with contract_failures(as_json, **about):
            artifact = orders_model(profile) if model is None else bytes(map_file(model))
            found = read_off(module, artifact, PROMPT if prompt is None else raw_bytes(prompt), profile, timeout)
    except CannotLook as error:
        refuse(1, str(error), as_json)
    except EngineError as error:
        refuse_build(build.name, error, as_json)
    report = {**document(found), **about}
    if as_json:
        write_json(report)
    else:
        click.echo("\n".join(fitting(map(printable, orders_lines(report)))))
    if target is not None:
        write_file(target, found.variation.to_toml(comments(found)).encode())
        click.echo(printable(f"wrote {target}"), err=as_json)
    raise click.exceptions.Exit(0 if found.uniform else 1)


def meanings() -> dict[str, str]:
    """Return what each operation is about."""
    return Variation.meanings()


def _listed() -> Iterator[str]:
    for name, meaning in meanings().items():
        yield f"{name}: {meaning}"
        yield from (f"  {form}" for form in Variation.options(name))
