"""Numeric variations on the command line: names, files, and reading them off a build (ID-4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from refruntime.battery.models.orders import PROMPT, orders_model
from refruntime.commands.diff.report import refuse
from refruntime.commands.files import Command, reachable
from refruntime.commands.shared import progress
from refruntime.contract.profile import Profile
from refruntime.engines.base import EngineError, Limits
from refruntime.numerics.varied import Variation, VariationError

AUTO = "auto"
OPTION = "--numerics-variation"


def variation_option(command: Command) -> Command:
    """Add `--numerics-variation`; the command gets a Variation, `auto`, or None."""
    return click.option(
        OPTION,
        "variation",
        metavar="NAME|FILE",
        callback=_read,
        help="Compare with sums in another order than seq32: a file of `refruntime orders --write`, an order such as "
        "'8 lanes, tail after', or auto, which reads it off the build first.",
    )(command)


def _read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Variation | str | None:
    if value is None or value == AUTO:
        return value
    path = Path(value)
    try:
        with reachable(path):
            if path.suffix == ".toml" or path.is_file():
                return Variation.from_toml(path.read_text(encoding="utf-8"))
        return Variation.read(value)
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path}: not UTF-8 at byte {error.start}", param_hint=OPTION) from error
    except VariationError as error:
        raise click.BadParameter(str(error), param_hint=OPTION) from error


def read_off(module: bytes, artifact: bytes, prompt: bytes, profile: Profile, seconds: float) -> Any:
    """Return the `Fit` of a build, sealed as it expects; ContractError, CannotLook, EngineError as `OrderEvidence`."""
    from refruntime.identify.sealed_engine import fit_module
    from refruntime.witness.orders import OrderEvidence, fit
    from refruntime.witness.orders.stages import STAGES

    with progress("running the build"):
        limits = Limits.beside([len(artifact)], seconds)
        met = fit_module(module, profile, limits)
        evidence = OrderEvidence(module, met.own(artifact), prompt, met.profile, limits, met.fit)
    with progress("trying orders of arithmetic", len(STAGES)) as advance:
        return fit(evidence, advance=lambda: advance(1))


def resolved_variation(
    given: Variation | str | None, module: bytes, profile: Profile, seconds: float, as_json: bool
) -> Variation | None:
    """Return the variation to compare with; `auto` is read off the build, and exits with 1 where it cannot be."""
    if not isinstance(given, str):
        return given
    from refruntime.witness.build import CannotLook

    try:
        found = read_off(module, orders_model(profile), PROMPT, profile, seconds)
    except (CannotLook, EngineError) as error:
        refuse(1, f"the order of arithmetic cannot be read off: {error}", as_json)
    variation: Variation = found.variation
    return variation if variation.changes() else None
