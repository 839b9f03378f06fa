"""`refruntime diff`: a build against the oracle, case by case."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from refruntime.battery.catalogue import default_battery, generation_models, select
from refruntime.battery.features import feature_finder
from refruntime.battery.random_sessions import random_sessions
from refruntime.cases.steps import Case
from refruntime.commands.build_options import kernels_option, timeout_option
from refruntime.commands.diff.engines import engines_of
from refruntime.commands.diff.golden import GoldenOptions, diff_goldens, golden_folder
from refruntime.commands.diff.live import QUIET, VERBOSE
from refruntime.commands.diff.looking import Looker
from refruntime.commands.diff.meet import gap_lines, identify_option, meet
from refruntime.commands.diff.recorded import compare_recorded
from refruntime.commands.diff.report import Output, conditions, make_numerics, page_extra, refuse, resolved_contract
from refruntime.commands.diff.selection import LastRun, check_filters
from refruntime.commands.files import read_profile, write_file
from refruntime.commands.shared import html_option, json_option, map_file, progress, write_json
from refruntime.commands.variation import resolved_variation, variation_option
from refruntime.contract.profile import Profile
from refruntime.differential.parallel import Processes, Recipe, processors
from refruntime.differential.remembered import remembered
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import EXIT_MISMATCH, FINE
from refruntime.engines.base import Limits
from refruntime.engines.declaration import read_declaration
from refruntime.hypotheses.explain import Explainer
from refruntime.identify.sealed_engine import Fit
from refruntime.numerics.varied import Variation
from refruntime.resources import trained_artifacts


@click.command(
    "diff",
    epilog="""\b
Examples:
  refruntime diff build.wasm
  refruntime diff build.wasm --filter sampler --filter GEN-9
  refruntime diff build.wasm --model stories.gguf --profile build.toml --junit report.xml
  refruntime diff build.wasm --random 10000 --seed 7
  refruntime diff --recorded chat
  refruntime diff build.wasm --json | jq .summary
  refruntime diff build.wasm --golden --filter sampling
  refruntime diff build.wasm --html report.html
  refruntime diff build.wasm --last-failed --max-fail 3 -v
""",
)
@click.argument("build", required=False, type=click.Path(path_type=Path))
@click.option(
    "--golden",
    metavar="[DIR]",
    is_flag=False,
    flag_value="",
    help="Hold the build against frozen answers instead of the battery; by default the project's own.",
)
@click.option(
    "--recorded",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Instead of a BUILD: what one answered in a page, from `refruntime record`.",
)
@click.option(
    "--filter",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Run only these cases: a name, a family, a rule, or a shell pattern. Several are allowed.",
)
@click.option(
    "--model",
    "models",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Generate with this model too (family `generate`). Several are allowed.",
)
@click.option(
    "--profile",
    "profile_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Contract profile in TOML; without it what the build declares, else the default.",
)
@click.option(
    "--random",
    "sessions",
    metavar="N",
    type=click.IntRange(min=1),
    help="Run N random sessions instead of the battery; --seed chooses them.",
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="Seed of --random.")
@click.option("--list", "only_list", is_flag=True, help="List the cases and the rules that they cite; run nothing.")
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Compare in N processes; the report is the same for every N. By default as many as there are processors.",
)
@click.option(
    "--max-fail",
    metavar="N",
    type=click.IntRange(min=1),
    help="Stop after N cases that are not fine.",
)
@click.option("--fail-fast", is_flag=True, help="Stop after the first case that is not fine: --max-fail 1.")
@click.option("--last-failed", is_flag=True, help="Run only the cases of this build that were not fine the last time.")
@click.option("-q", "--quiet", is_flag=True, help="Name each case that is not fine in a line, and the sums.")
@click.option("-v", "--verbose", is_flag=True, help="Name every case, and show all values and rules of a divergence.")
@timeout_option(20.0)
@click.option(
    "--budget",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for the whole run; what is not compared by then is POISONED, and the exit code 1.",
)
@click.option(
    "--explain/--no-explain",
    "explains",
    default=True,
    show_default=True,
    help="Try known causes on the first cases that are not fine.",
)
@kernels_option
@variation_option
@click.option(
    "--write-profile",
    "new_profile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Identify the build first, compare under what was found, and write that as a profile (see identify).",
)
@identify_option
@click.option("--junit", "junit_path", metavar="FILE", type=click.Path(path_type=Path), help="Write JUnit XML too.")
@html_option
@click.option(
    "--markdown",
    "markdown_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the report as Markdown too, as job summaries take it.",
)
@click.option(
    "--github/--no-github",
    default=lambda: os.environ.get("GITHUB_ACTIONS") == "true",
    show_default="on in GitHub Actions",
    help="Write workflow annotations too.",
)
@json_option
def diff_command(
    build: Path | None,
    golden: str | None,
    recorded: Path | None,
    patterns: tuple[str, ...],
    models: tuple[Path, ...],
    profile_path: Path | None,
    sessions: int | None,
    seed: int,
    only_list: bool,
    jobs: int | None,
    max_fail: int | None,
    fail_fast: bool,
    last_failed: bool,
    quiet: bool,
    verbose: bool,
    timeout: float,
    budget: float | None,
    explains: bool,
    kernels: str,
    variation: Variation | str | None,
    new_profile: Path | None,
    identifies: str,
    junit_path: Path | None,
    html_path: Path | None,
    markdown_path: Path | None,
    github: bool,
    as_json: bool,
) -> None:
    """Compare the WebAssembly module BUILD with the oracle: statuses, diagnostics, logits, results, bit for bit.

    Without --filter the whole battery runs: states, statuses, containers, generation, sampler, limits. Exit codes: 0
    every case is fine, 1 some case is not or nothing was compared, 2 wrong usage, 3 a missing tool or file, 4 a bug in
    the oracle.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")
    max_fail = 1 if fail_fast else max_fail
    output = Output(
        junit_path, github, as_json, VERBOSE if verbose else QUIET if quiet else 0, html_path, markdown_path
    )
    if golden is not None:
        unfit: dict[str, object] = {
            "--model": models,
            "--profile": profile_path,
            "--random": sessions,
            "--write-profile": new_profile,
        }
        unfit |= {"--recorded": recorded, "--numerics-variation": variation}
        _refuse_with_goldens([name for name, value in unfit.items() if value])
        folder, build = golden_folder(golden, build)
        options = GoldenOptions(folder, build, patterns, timeout, budget, only_list, max_fail, last_failed, output)
        diff_goldens(options)
        return
    given = read_profile(profile_path) if profile_path is not None else None
    repeated = [] if profile_path is None else ["--profile", str(profile_path)]
    if recorded is not None:
        unfit = {"BUILD": build, "--model": models, "--random": sessions, "--write-profile": new_profile}
        unfit |= {"--list": only_list, "--last-failed": last_failed, "--numerics-variation": variation}
        for name in (name for name, value in unfit.items() if value):
            raise click.UsageError(f"--recorded takes no {name}.")
        compare_recorded(recorded, given, patterns, repeated, kernels, explains, output)
    if build is None:
        raise click.UsageError("Missing argument 'BUILD'.")
    module = bytes(map_file(build))
    resolved = resolved_contract(lambda: read_declaration(module), given, as_json)
    if only_list:
        _list(_cases(resolved.profile, models, patterns, sessions, seed), as_json)
        return
    until = math.inf if budget is None else time.monotonic() + budget
    limits = Limits.beside((path.stat().st_size for path in models if path.exists()), timeout, until)
    engines = engines_of(module, limits, as_json)
    if new_profile is not None:
        if identifies == "never":
            raise click.UsageError("--write-profile identifies the build; it cannot be used with --identify never.")
        identifies = "always"
    assumed = resolved.profile
    met = meet(build.name, module, engines.fresh, resolved, identifies, make_numerics(kernels, as_json), limits)
    if met.problem:
        refuse(EXIT_MISMATCH, f"{build.name} cannot be asked: {met.problem}", as_json, problems=met.tried)
    resolved = met.resolved
    last_run = LastRun(build, "battery" if sessions is None else f"random {sessions} {seed}")
    with progress("making the cases"):
        cases = _cases(met.profile, models, patterns, sessions, seed, met.own)
    if last_failed:
        chosen = set(last_run.chosen([case.name for case in cases]))
        cases = tuple(case for case in cases if case.name in chosen)
    variation = resolved_variation(variation, module, met.profile, timeout, as_json)
    if variation is not None:
        repeated += ["--numerics-variation", variation.name]
    keeps = variation is None and sessions is None
    oracle = _oracle(met.profile, kernels, variation, keeps, as_json)
    repeated += [word for path in models for word in ("--model", str(path))]
    repeated += [] if sessions is None else ["--random", str(sessions), "--seed", str(seed)]
    engine = f"wasmtime {engines.facts['wasmtime']}, module of {engines.facts['bytes']} bytes"
    sha256 = hashlib.sha256(module).hexdigest()
    words, options_ = [str(build), *repeated], repeated[:2] if profile_path is not None else []
    about = conditions(build.name, sha256, resolved, oracle, engine, words, kernels, build, options_, models)
    about = replace(about, filters=patterns)
    another_oracle = partial(_oracle, met.profile, kernels, variation, keeps, threads=1)
    processes = Processes(Recipe(met.fresh, another_oracle), jobs or processors())
    features = feature_finder(met.fresh, oracle.profile)
    suite = Suite(met.fresh, oracle, features=features, judged=processes, until=until)
    look = Looker(module, oracle, limits, met.fit)
    if explains:
        suite = replace(suite, explain=Explainer(oracle, suite.offered(), witness=look))
    output = replace(output, extra=page_extra(oracle, resolved.sources, lambda: look.seen))
    live = output.live(about)
    with progress("comparing", len(cases)) as bar:
        live.over(bar)
        told = {"before_explaining": live.before_explaining, "after_case": live.after_case}
        result = suite.run(cases, max_fail=max_fail, **told)
    failed = [each.case.name for each in result.cases if each.verdict not in FINE]
    last_run.remember([each.case.name for each in result.cases], failed)
    gaps: list[str] = []
    if new_profile is not None and met.found is not None:
        write_file(new_profile, met.found.profile.to_toml().encode())
        gaps = gap_lines(met.found, assumed)
    output.show(result, live, gaps, new_profile)


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


def _refuse_with_goldens(names: Sequence[str]) -> None:
    if names:
        raise click.UsageError(f"{names[0]} cannot be used with --golden: the answers are frozen")


# What to compare -----------------------------------------------------------------------------------------------------


def _cases(
    profile: Profile,
    models: Sequence[Path],
    patterns: Sequence[str],
    sessions: int | None,
    seed: int,
    own: Fit = lambda data: data,
) -> tuple[Case, ...]:
    """Return the chosen cases; a pattern that fits no case is a usage error, so that no run is empty by accident.

    `own` gives a model that was sealed for the build the contract's own checksum.
    """
    whole: tuple[Case, ...] = ()
    artifacts = trained_artifacts() | {path.name: own(bytes(map_file(path))) for path in models}
    if sessions is not None:
        whole = tuple(random_sessions(seed, sessions, artifacts | generation_models(profile)))
        battery = select(whole, patterns)
    else:
        battery = default_battery(profile, artifacts, patterns)
    fitting = {pattern: bool(select(battery, [pattern])) for pattern in patterns}
    if not all(fitting.values()):
        whole = default_battery(profile, artifacts) if sessions is None else whole
        check_filters(patterns, fitting, {case.name: case.rules for case in whole})
    return battery


def _list(cases: Sequence[Case], as_json: bool) -> None:
    if as_json:
        write_json({"cases": [{"name": case.name, "steps": len(case.steps), "rules": case.rules} for case in cases]})
        return
    width = max(len(case.name) for case in cases)
    for case in cases:
        click.echo(f"{case.name:<{width}}  {len(case.steps):>3} steps  {', '.join(case.rules)}")
