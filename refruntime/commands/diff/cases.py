"""The cases that `refruntime diff` runs on a build."""

from __future__ import annotations

from collections.abc import Sequence

import click

from refruntime.battery.catalogue import default_battery, generation_models, select
from refruntime.battery.random_sessions import random_sessions
from refruntime.cases.steps import Case
from refruntime.commands.diff.request import CaseSelection
from refruntime.commands.diff.selection import check_filters
from refruntime.commands.shared import map_file, write_json
from refruntime.contract.profile import Profile
from refruntime.identify.sealed_engine import Fit
from refruntime.resources import trained_artifacts


def chosen_cases(selection: CaseSelection, profile: Profile, own: Fit = lambda data: data) -> tuple[Case, ...]:
    """Return the chosen cases; a pattern that fits no case is a usage error, so that no run is empty by accident.

    `own` gives a model that was sealed for the build the contract's own checksum.
    """
    whole: tuple[Case, ...] = ()
    patterns, sessions = selection.patterns, selection.sessions
    artifacts = trained_artifacts() | {path.name: own(bytes(map_file(path))) for path in selection.models}
    if sessions is not None:
        whole = tuple(random_sessions(selection.seed, sessions, artifacts | generation_models(profile)))
        battery = select(whole, patterns)
    else:
        battery = default_battery(profile, artifacts, patterns)
    fitting = {pattern: bool(select(battery, [pattern])) for pattern in patterns}
    if not all(fitting.values()):
        whole = default_battery(profile, artifacts) if sessions is None else whole
        check_filters(patterns, fitting, {case.name: case.rules for case in whole})
    return battery


def list_cases(cases: Sequence[Case], as_json: bool) -> None:
    """Name the cases with the rules that they cite."""
    if as_json:
        write_json({"cases": [{"name": case.name, "steps": len(case.steps), "rules": case.rules} for case in cases]})
        return
    width = max(len(case.name) for case in cases)
    for case in cases:
        click.echo(f"{case.name:<{width}}  {len(case.steps):>3} steps  {', '.join(case.rules)}")
