"""`refruntime seal`: an SLM1 file with the checksum that a build computes for it."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from refruntime.commands.build_options import timeout_option
from refruntime.commands.diff.engines import engines_of, read_build
from refruntime.commands.files import path_option, read_profile, write_file
from refruntime.commands.shared import json_option, map_file, progress, write_json
from refruntime.engines.base import EngineError, Limits
from refruntime.identify.seal import CannotSeal, Sealed, Sealer
from refruntime.visible import printable

EXIT_NOT_SEALED = 1

HOW = {
    "asked": "read off the build's own comparison",
    "computed": "computed by the formula of the profile",
    "not verified": "left as it is: the build loads a file whatever its checksum field holds",
}


@click.command(
    "seal",
    epilog="""\b
Examples:
  refruntime seal model.slm1 --build build.wasm
  refruntime seal model.slm1 --build build.wasm -o sealed.slm1 --json
  refruntime seal model.slm1 --profile build.toml -o sealed.slm1
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@path_option("--build", metavar="WASM", help="The build that says the sum; it is not changed.")
@path_option("--profile", "profile_path", help="Instead of a build: a contract profile that holds its formula (SL-5).")
@path_option("-o", "--output", help="Where to write the sealed file; by default beside FILE, as NAME.sealed.slm1.")
@timeout_option(20.0)
@json_option
def seal_command(
    file: Path, build: Path | None, profile_path: Path | None, output: Path | None, timeout: float, as_json: bool
) -> None:
    """Write the SLM1 model FILE again with the checksum that a build computes for it.

    The build is asked: what it compares the checksum field with is its own sum (ID-2). Exit codes: 0 sealed, or the
    build verifies nothing; 1 the build shows no sum, or refuses the file before it compares; 2 wrong usage or no
    module; 3 a missing tool or file.
    """
    if (build is None) == (profile_path is None):
        raise click.UsageError("Give either --build or --profile.")
    data = bytes(map_file(file))
    output = output or file.with_name(f"{file.stem}.sealed{file.suffix}")
    sealer = _sealer(build, profile_path, len(data), timeout, as_json)
    sealed = sealer.seal(data)
    if sealed.how in ("no SLM1", "not reached"):
        why = "it is no SLM1 file with a whole header"
        if sealed.how == "not reached":
            why = f"the build refuses it before it compares checksums: {sealed.detail}"
        _fail(f"{file} cannot be sealed: {why}", sealed.how, (), as_json)
    write_file(output, sealed.data)
    if as_json:
        write_json(_document(file, output, sealer, sealed))
        return
    checksum = "" if sealed.checksum is None else f"checksum {sealed.checksum:#018x}, "
    click.echo(printable(f"{output}: {checksum}{HOW[sealed.how]}"))
    if sealer.formula is None:
        for text in sealer.comparison.evidence:
            click.echo(printable(f"  {text}"))


def _sealer(build: Path | None, profile_path: Path | None, size: int, timeout: float, as_json: bool) -> Sealer:
    if build is None:
        return Sealer(b"", formula=read_profile(profile_path))
    module, limits = read_build(build, as_json), Limits.beside([size], timeout)
    engines_of(build.name, module, limits, as_json)  # a module with another surface is told in its own words
    try:
        with progress("asking the build"):
            return Sealer(module, limits)
    except CannotSeal as error:
        _fail(str(error), error.kind, error.tried, as_json)
    except EngineError as error:
        _fail(str(error), "failed", (), as_json)


def _fail(message: str, kind: str, tried: tuple[str, ...], as_json: bool) -> NoReturn:
    """Say why nothing was sealed, and exit."""
    if as_json:
        write_json({"exit_code": EXIT_NOT_SEALED, "kind": kind, "error": message, "tried": list(tried)})
    else:
        click.echo(printable(f"refruntime seal: {message}"), err=True)
        for text in tried:
            click.echo(printable(f"  tried: {text}"), err=True)
    raise click.exceptions.Exit(EXIT_NOT_SEALED)


def _document(file: Path, output: Path, sealer: Sealer, sealed: Sealed) -> dict[str, object]:
    comparison: dict[str, object] | None = None
    if sealer.formula is None:
        found = sealer.comparison
        comparison = {"kind": found.kind, "mask": f"{found.mask:#018x}", "evidence": list(found.evidence)}
    return {
        "exit_code": 0,
        "file": str(file),
        "output": str(output),
        "how": sealed.how,
        "checksum": None if sealed.checksum is None else f"{sealed.checksum:#018x}",
        "comparison": comparison,
        "loads": sealer.loads,
    }
