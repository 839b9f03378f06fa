"""`refruntime diff BUILD`: a build against the oracle, case by case."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import click

from refruntime.battery.catalogue import default_battery, generation_models, select
from refruntime.battery.features import feature_finder
from refruntime.battery.random_sessions import random_sessions
from refruntime.cases.steps import Case
from refruntime.commands.diff.engines import engines_of, read_build
from refruntime.commands.diff.meet import gap_lines, meet
from refruntime.commands.diff.report import conditions, make_numerics, page_extra, refuse, resolved_contract
from refruntime.commands.diff.request import BuildRequest, CaseSelection
from refruntime.commands.diff.selection import LastRun, check_filters
from refruntime.commands.files import write_file
from refruntime.commands.shared import map_file, progress, write_json
from refruntime.commands.variation import resolved_variation
from refruntime.contract.profile import Profile
from refruntime.differential.parallel import Processes, Recipe
from refruntime.differential.remembered import remembered
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import EXIT_MISMATCH, FINE
from refruntime.engines.base import Limits
from refruntime.engines.declaration import read_declaration
from refruntime.hypotheses.explain import Explainer
from refruntime.identify.looking import Looker
from refruntime.identify.sealed_engine import Fit
from refruntime.numerics.compiled.threads import processors
from refruntime.numerics.varied import Variation
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


def compare_build(request: BuildRequest) -> None:
    """Compare a build with the oracle, report, and exit; with `only_list` name the cases."""
    build, output, run, selection = request.build, request.output, request.run, request.selection
    as_json, kernels = output.as_json, request.kernels
    module = read_build(build, as_json)
    resolved = resolved_contract(lambda: read_declaration(module), request.profile, as_json)
    if run.only_list:
        list_cases(chosen_cases(selection, resolved.profile), as_json)
        return
    if selection.patterns and selection.sessions is None:
        chosen_cases(selection, resolved.profile)  # a filter that fits no case is told before the build is identified
    until = math.inf if run.budget is None else time.monotonic() + run.budget
    limits = Limits.beside((path.stat().st_size for path in selection.models if path.exists()), run.seconds, until)
    engines = engines_of(build.name, module, limits, as_json)
    assumed = resolved.profile
    numerics = make_numerics(kernels, as_json)
    met = meet(build.name, module, engines.fresh, resolved, request.identifies, numerics, limits)
    if met.problem:
        refuse(EXIT_MISMATCH, f"{build.name} cannot be asked: {met.problem}", as_json, problems=met.tried)
    resolved = met.resolved
    last_run = LastRun(build, selection.kind)
    with progress("making the cases"):
        cases = chosen_cases(selection, met.profile, met.own)
    if run.last_failed:
        chosen = set(last_run.chosen([case.name for case in cases]))
        cases = tuple(case for case in cases if case.name in chosen)
    variation = resolved_variation(request.variation, module, met.profile, run.seconds, as_json)
    keeps = variation is None and selection.sessions is None
    oracle = _oracle(met.profile, kernels, variation, keeps, as_json)
    varied = [] if variation is None else ["--numerics-variation", variation.name]
    words = [str(build), *request.profile_words, *varied, *selection.words]
    engine = f"wasmtime {engines.facts['wasmtime']}, module of {engines.facts['bytes']} bytes"
    sha256 = hashlib.sha256(module).hexdigest()
    about = conditions(
        build.name,
        sha256,
        resolved,
        oracle,
        engine,
        words,
        kernels,
        build,
        request.profile_words,
        selection.models,
    )
    about = replace(about, filters=selection.patterns)
    another_oracle = partial(_oracle, met.profile, kernels, variation, keeps, threads=1)
    processes = Processes(Recipe(met.fresh, another_oracle), request.jobs or processors())
    features = feature_finder(met.fresh, oracle.profile)
    suite = Suite(met.fresh, oracle, features=features, judged=processes, until=until)
    look = Looker(module, oracle, limits, met.fit)
    if request.explains:
        suite = replace(suite, explain=Explainer(oracle, suite.offered(), witness=look))
    output = replace(output, extra=page_extra(oracle, resolved.sources, look.seen))
    live = output.live(about)
    with progress("comparing", len(cases)) as bar:
        live.over(bar)
        told = {"before_explaining": live.before_explaining, "after_case": live.after_case}
        result = suite.run(cases, max_fail=run.max_fail, **told)
    failed = [each.case.name for each in result.cases if each.verdict not in FINE]
    last_run.remember([each.case.name for each in result.cases], failed)
    gaps: list[str] = []
    if request.new_profile is not None and met.found is not None:
        write_file(request.new_profile, met.found.profile.to_toml().encode())
        gaps = gap_lines(met.found, assumed)
    output.show(result, live, gaps, request.new_profile)


def _oracle(
    profile: Profile,
    kernels: str,
    variation: Variation | None,
    keeps: bool,
    as_json: bool = False,
    threads: int | None = None,
) -> Oracle:
    """Return an oracle that keeps its answers between runs if they are of use again.

    One of several processes shares the processors with the others, so its oracle has one of the `threads`.
    """
    numerics = make_numerics(kernels, as_json, variation, threads)
    return Oracle(profile, numerics, remembered=remembered() if keeps else None)
