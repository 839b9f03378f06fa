"""`refruntime fill --into DIR`: goldens for one build, in files that it accepts and under the profile that it has."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from refruntime import __version__
from refruntime.battery.features import FEATURES
from refruntime.cases.needs import needs_of
from refruntime.commands.diff.engines import engines_of, read_build
from refruntime.commands.files import UnreadableFile
from refruntime.commands.shared import progress, write_json
from refruntime.contract.features import absent_of
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.engines.base import Limits
from refruntime.golden.corpus import Corpus
from refruntime.golden.derived import NO_OPINION, Derivation, Fit
from refruntime.golden.fill import Computed
from refruntime.golden.reading import GoldenError
from refruntime.identify.sealed_engine import fit_build, own_formula, sealed_by_formula
from refruntime.model.binding import BoundModels
from refruntime.numerics import CompiledSeq32
from refruntime.visible import printable


def fill_into(
    folder: Path,
    source: Corpus,
    ids: list[str],
    profile: Profile,
    build: Path | None,
    kernels: str,
    as_json: bool,
) -> int:
    """Write goldens for the build of a profile into a folder; 0 done, 1 where a case could not be answered."""
    if folder.resolve() == source.root.resolve():
        raise click.BadParameter(f"{folder} has the goldens that are read", param_hint="--into")
    if folder.exists() and any(folder.iterdir()) and not (folder / "INDEX.json").is_file():
        raise click.BadParameter(f"{folder} is not empty, and has no goldens", param_hint="--into")
    fit, sealed = _fit(profile, build, as_json)
    oracle = Oracle(
        replace(own_formula(profile), diagnostic_names=()), CompiledSeq32(kernels=kernels), bind=BoundModels(most=64)
    )
    info = {"numpy": np.__version__, "refruntime": __version__}
    derivation = Derivation(source, Corpus(folder), oracle, profile, fit, _plain_file, info)
    try:
        absent = [each for each in ids if _lacks(source, each, profile)]
        wanted = [each for each in ids if each not in set(absent)]
        for identifier in (*absent, *(each for each in derivation.target.ids() if each not in wanted)):
            derivation.leave_out(identifier)
        derivation.begin(wanted)
        left_out: list[Computed] = []
        alone = 0
        with progress("filling", len(wanted)) as advance:
            for identifier in wanted:
                computed = derivation.compute(identifier)
                if computed.problems:
                    left_out.append(computed)
                    derivation.leave_out(identifier)
                else:
                    derivation.write(computed)
                    alone += (computed.document or {})["_info"]["second_opinion"] == NO_OPINION
                advance(1)
        index = derivation.finish()
    except OSError as error:
        raise UnreadableFile(f"{error.filename}: {error.strerror}") from error
    except GoldenError as error:
        raise click.ClickException(str(error)) from error
    filled = len(wanted) - len(left_out)
    if as_json:
        write_json(
            {
                "exit_code": int(bool(left_out)),
                "folder": str(folder),
                "profile": profile.fingerprint,
                "format": index["format"],
                "root": index["root"],
                "sealed": sealed,
                "filled": filled,
                "absent": absent,
                "left_out": [{"id": each.id, "problems": list(map(str, each.problems))} for each in left_out],
                "oracle_alone": alone,
                "tests_executed": 0,
            }
        )
        return int(bool(left_out))
    for each in left_out:
        click.echo(printable(f"LEFT OUT {each.id}: {each.problems[0]}"), err=True)
    click.echo(
        printable(f"{filled} cases filled for profile {profile.fingerprint} in {folder}, 0 tests executed; {sealed}")
    )
    if absent:
        click.echo(f"{len(absent)} cases need what the build does not have (ID-1)")
    if alone:
        click.echo(f"{alone} cases follow from options of the profile: no second opinion but the oracle's own")
    quoted = shlex.quote(str(folder))
    click.echo(
        printable(f"next: refruntime diff --golden {quoted} BUILD, or refruntime golden serve --golden {quoted}")
    )
    return int(bool(left_out))


def _plain_file(name: str) -> bytes:
    return FEATURES[name].make(Profile())


def _lacks(source: Corpus, identifier: str, profile: Profile) -> bool:
    """Say whether a case needs what the profile says the build does not have."""
    needs = needs_of(source.case(identifier).case(source.artifact))
    return bool(absent_of(needs, profile.containers, profile.absent_features))


def _fit(profile: Profile, build: Path | None, as_json: bool) -> tuple[Fit, str]:
    """Return what makes files as the build expects them, and how: by the profile's formula, or by asking the build."""
    if build is None:
        fitting = sealed_by_formula(profile)
        return fitting, "files are sealed by the formula of the profile"
    module, limits = read_build(build, as_json), Limits()
    met = fit_build(module, engines_of(build.name, module, limits, as_json).fresh, profile, limits)
    return met.fit, met.text or "files have the contract's own checksum"
