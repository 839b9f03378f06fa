"""Meet a build before it is compared: identify it where it speaks otherwise, and seal files as it expects them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from refruntime.commands.shared import progress
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine, Limits
from refruntime.engines.declaration import Resolved
from refruntime.identify.ask import identify
from refruntime.identify.first_answers import chooses_otherwise, speaks_otherwise
from refruntime.identify.identification import Identification
from refruntime.identify.sealed_engine import Fit, fit_build
from refruntime.numerics import Numerics

IDENTIFY = ("auto", "always", "never")


@dataclass(frozen=True)
class Met:
    """What a comparison goes on with: `fresh` makes instances, `profile` is that of the oracle beside them.

    `resolved` is the contract that the report names; `problem` is set where the build could not be asked at all. `fit`
    makes a file of ours one of the build's, `own` the other way round. `found` is what identification told, if any.
    """

    fresh: Callable[[], Engine]
    profile: Profile
    resolved: Resolved
    problem: str = ""
    tried: tuple[str, ...] = ()
    fit: Fit = lambda data: data
    own: Fit = lambda data: data
    found: Identification | None = None


def meet(
    name: str,
    module: bytes,
    fresh: Callable[[], Engine],
    resolved: Resolved,
    mode: str,
    numerics: Numerics,
    limits: Limits,
) -> Met:
    """Identify a build if that is asked for, or if its first answers are not those of the profile; say so."""
    why = "--identify always" if mode == "always" else ""
    if mode == "auto" and resolved.source == "assumed":
        with progress("looking at its first answers"):
            why = speaks_otherwise(fresh, resolved.profile)
            why = why or chooses_otherwise(fresh, resolved.profile, numerics)
    problem = ""
    found: Identification | None = None
    tried: tuple[str, ...] = ()
    if why:
        found = identify(module, fresh, numerics, name=name, limits=limits, stage=_stage)
        if found.problem:
            problem, tried = found.problem, found.tried
        else:
            assumed = sum(item.status == "assumed" for item in found.learnt)
            observed = len(found.learnt) - assumed
            note = f"the build was identified first ({why}): {observed} options observed, {assumed} assumed"
            note += "; see `refruntime identify`"
            sources = {item.key: item.status for item in found.learnt}
            before = () if resolved.source == "assumed" else resolved.notes  # that note says what is assumed
            resolved = Resolved(found.profile, "identified", {**resolved.sources, **sources}, (*before, note))
    fitting = fit_build(module, fresh, resolved.profile, limits)
    if fitting.text:
        resolved = Resolved(resolved.profile, resolved.source, resolved.sources, (*resolved.notes, fitting.text))
    return Met(fitting.fresh, fitting.profile, resolved, problem, tried, fitting.fit, fitting.own, found)


def gap_lines(found: Identification, given: Profile) -> list[str]:
    """Return one line for each option in which a build differs from a profile, and for each rule that it breaks."""
    lines = [
        f"CONTRACT_GAP({item.key}) {item.value}, not {before}"
        for item in found.learnt
        if item.status == "observed" and item.value != (before := given.choices()[item.key])
    ]
    if found.checksum is not None and found.checksum.kind not in ("contract", "unknown"):
        lines.insert(0, f"CONTRACT_GAP(SL-5) {found.checksum.text}")
    open_keys = ", ".join(item.key for item in found.learnt if item.status == "assumed")
    lines += [f"assumed, because no experiment tells: {open_keys}"] if open_keys else []
    return [*lines, *(bug.line for bug in found.bugs)] or ["the build has every option of the profile"]


def identify_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--identify auto|always|never`."""
    return click.option(
        "--identify",
        "identifies",
        type=click.Choice(IDENTIFY),
        default="auto",
        show_default=True,
        help="Find out first what the build is: auto where its first answers are not those of the default.",
    )(command)


@contextmanager
def _stage(text: str) -> Iterator[None]:
    with progress(text):
        yield
