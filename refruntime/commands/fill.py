"""`refruntime fill`: compute the answers of golden cases and write them down. Nothing is tested here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import numpy as np

from refruntime import __version__, resources
from refruntime.battery.features import FEATURES, find_features, needs_of
from refruntime.commands.build_options import kernels_option
from refruntime.commands.diff.engines import Engines
from refruntime.commands.files import UnreadableFile, folder_option, path_option, profile_option
from refruntime.commands.fill_into import fill_into
from refruntime.commands.golden.folder import edited_folder, edited_golden_option
from refruntime.commands.shared import json_option, map_file, progress, write_json
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.engines.base import EngineError, EngineMissing, Limits
from refruntime.golden.corpus import Corpus, select_ids
from refruntime.golden.features import write_plain_files
from refruntime.golden.fill import (
    Computed,
    GoldenFiller,
    Problem,
    SecondOpinion,
    document_differences,
)
from refruntime.golden.index import INDEX, build_index
from refruntime.golden.reading import GoldenError, parse_document
from refruntime.golden.values import disk_json
from refruntime.model.binding import BoundModels
from refruntime.numerics import CompiledSeq32
from refruntime.visible import printable

EXIT_MISSING = 3


@click.command(
    "fill",
    epilog="""\b
Examples:
  refruntime fill
  refruntime fill sampling/ties-at-the-cut memory
  refruntime fill --check
  refruntime fill --format
  refruntime fill --golden my-goldens --opinion other-build.wasm
  refruntime fill --profile build.toml --into build-goldens
""",
)
@click.argument("patterns", metavar="[ID]...", nargs=-1)
@edited_golden_option
@click.option("--new-only", is_flag=True, help="Leave cases alone that have answers already.")
@click.option("--check", is_flag=True, help="Write nothing; name every difference to what is there.")
@click.option("--format", "reformat", is_flag=True, help="Rewrite every case.json in the on-disk form, and stop.")
@profile_option
@folder_option(
    "--into",
    help="Write goldens for the build of --profile into DIR: files that it accepts, answers under its options.",
)
@path_option(
    "--build",
    metavar="BUILD.wasm",
    help="With --into: the build whose own sums seal the files, where its formula is not in the profile.",
)
@path_option(
    "--opinion",
    metavar="BUILD.wasm",
    help="The build that must agree before anything is written; by default the independent one of a checkout.",
)
@kernels_option
@json_option
def fill_command(
    patterns: tuple[str, ...],
    golden: Path | None,
    new_only: bool,
    check: bool,
    reformat: bool,
    profile: Profile,
    into: Path | None,
    build: Path | None,
    opinion: Path | None,
    kernels: str,
    as_json: bool,
) -> None:
    """Compute the answers of golden cases and write expect.json, arrays and INDEX.json.

    An ID is that of a case, a family, a rule, or a shell pattern; without one all cases are filled. A case is refused
    where float32 cannot tell a decision, and where the second opinion does not agree. This executes no test of a
    build: see `refruntime diff --golden`. Exit codes: 0 done, 1 a case was refused or differs, 2 wrong usage, 3 a
    missing tool or file, 4 a bug in the oracle.
    """
    corpus = Corpus(golden or (edited_folder() if into is None else resources.golden_folder()))
    corpus_ids = _selected(corpus, patterns)
    if into is not None:
        refused = {"--check": check, "--new-only": new_only, "--format": reformat, "--opinion": opinion is not None}
        for name in (name for name, given in refused.items() if given):
            raise click.UsageError(f"--into takes no {name}.")
        raise click.exceptions.Exit(fill_into(into, corpus, corpus_ids, profile, build, kernels, as_json))
    if build is not None:
        raise click.UsageError("--build belongs to --into.")
    if reformat:
        _report_format([_reformat(corpus, identifier) for identifier in corpus_ids], as_json)
        return
    if new_only:
        corpus_ids = [i for i in corpus_ids if not corpus.path(f"cases/{i}/expect.json").exists()]
    filler = GoldenFiller(
        corpus,
        Oracle(profile, CompiledSeq32(kernels=kernels), bind=BoundModels(most=64)),
        _second_opinion(opinion, profile),
        {"numpy": np.__version__, "refruntime": __version__},
    )
    if not check:
        corpus.clean()
    outcomes = []
    with progress("checking" if check else "filling", len(corpus_ids)) as advance:
        for identifier in corpus_ids:
            outcomes.append(_one(filler, identifier, check))
            advance(1)
    changes = list(_index_differences(corpus, profile)) if check else []
    if not check and (outcomes or not corpus.path(INDEX).exists()):
        _write_index(corpus, profile)
    raise click.exceptions.Exit(_report(outcomes, changes, check, as_json))


def _write_index(corpus: Corpus, profile: Profile) -> None:
    """Write the plain file of every feature that a case needs, and the index, which lists them too."""
    write_plain_files(corpus, build_index(corpus, profile), lambda name: FEATURES[name].make(profile))
    corpus.forget()
    corpus.write(INDEX, disk_json(build_index(corpus, profile)))


class FilledCase:
    """What happened to one case: `filled`, `unchanged`, `refused` or `differs`, and why."""

    def __init__(self, identifier: str, word: str, problems: tuple[Problem, ...] = ()) -> None:
        self.id, self.word, self.problems = identifier, word, problems


def _one(filler: GoldenFiller, identifier: str, check: bool) -> FilledCase:
    computed: Computed = filler.compute(identifier)
    differences = tuple(filler.stored_differences(computed)) if check and computed.document is not None else ()
    if computed.problems:
        return FilledCase(identifier, "refused", (*computed.problems, *differences))
    if check:
        return FilledCase(identifier, "differs" if differences else "unchanged", differences)
    return FilledCase(identifier, "filled" if filler.write(computed) else "unchanged")


def _selected(corpus: Corpus, patterns: tuple[str, ...]) -> list[str]:
    """Return the chosen ids; a pattern that means no case is a usage error. A broken case is chosen by its id."""
    if not corpus.path("cases").is_dir():
        raise UnreadableFile(
            f"{corpus.root.absolute()}: a folder of goldens has a folder `cases`, and this one has none; "
            "`refruntime fill --profile FILE --into DIR` makes one for a build"
        )
    by_name = all("/" in pattern for pattern in patterns)  # such a pattern means no rule
    rules: dict[str, tuple[str, ...]] = {}
    for identifier in corpus.ids():
        try:
            rules[identifier] = () if by_name else corpus.case(identifier).rules
        except GoldenError:
            rules[identifier] = ()
    for pattern in patterns:
        if not select_ids(rules, (pattern,)):
            raise click.BadParameter(f"{pattern!r} means no case below {corpus.path('cases')}", param_hint="ID")
    return select_ids(rules, patterns)


def _second_opinion(path: Path | None, profile: Profile) -> SecondOpinion:
    """Return the build that must agree: exit code 3 without one."""
    path = path or resources.second_opinion()
    if path is None:
        raise UnreadableFile("there is no second opinion, so nothing is filled; give --opinion BUILD.wasm")
    module = bytes(map_file(path))
    try:
        fresh = Engines(module, Limits()).fresh
    except EngineMissing as error:
        raise UnreadableFile(str(error)) from error
    except EngineError as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--opinion") from error
    found = cache(lambda: find_features(fresh, profile))
    name = f"build {hashlib.sha256(module).hexdigest()}"
    return SecondOpinion(name, fresh, lambda case: found().reason(needs_of(case)))


def _reformat(corpus: Corpus, identifier: str) -> FilledCase:
    name = f"cases/{identifier}/case.json"
    try:
        changed = corpus.write(name, disk_json(parse_document(corpus.read(name), name)))
    except GoldenError as error:
        return FilledCase(identifier, "refused", (Problem("", "", str(error)),))
    return FilledCase(identifier, "rewritten" if changed else "unchanged")


def _index_differences(corpus: Corpus, profile: Profile) -> Iterator[Problem]:
    try:
        data = corpus.read_if_there(INDEX)
        stored = {} if data is None else parse_document(data, INDEX)
    except GoldenError as error:
        yield Problem("", "", str(error))
        return
    index = build_index(corpus, profile)
    yield from document_differences(stored, index)
    for name, entry in index["features"]["plain"].items():
        if corpus.read_if_there(entry["file"]) != FEATURES[name].make(profile):
            yield Problem("", "", f"{entry['file']} is not the plain file of {name}; run refruntime fill")


def _report(outcomes: list[FilledCase], index: list[Problem], check: bool, as_json: bool) -> int:
    counts = {
        word: sum(item.word == word for item in outcomes) for word in ("filled", "unchanged", "refused", "differs")
    }
    code = int(bool(counts["refused"] or counts["differs"] or index))
    if as_json:
        write_json(
            {
                "exit_code": code,
                "check": check,
                **counts,
                "tests_executed": 0,
                "index": [_problem_document(problem) for problem in index],
                "cases": [
                    {"id": item.id, "outcome": item.word, "problems": [_problem_document(p) for p in item.problems]}
                    for item in outcomes
                ],
            }
        )
        return code
    _echo_problems(outcomes)
    for problem in index:
        click.echo(printable(f"{INDEX}: {problem}"), err=True)
    words = ("unchanged", "differs", "refused") if check else ("filled", "unchanged", "refused")
    text = ", ".join(f"{counts[word]} {'different' if word == 'differs' else word}" for word in words)
    click.echo(f"{text}, 0 tests executed" + ("; nothing was written" if check else ""))
    return code


def _report_format(outcomes: list[FilledCase], as_json: bool) -> None:
    refused = sum(item.word == "refused" for item in outcomes)
    rewritten = [item.id for item in outcomes if item.word == "rewritten"]
    if as_json:
        write_json({"exit_code": int(refused > 0), "rewritten": rewritten, "refused": refused})
    else:
        _echo_problems(outcomes)
        click.echo(f"{len(rewritten)} case.json rewritten, {refused} refused, 0 tests executed")
    raise click.exceptions.Exit(int(refused > 0))


def _problem_document(problem: Problem) -> dict[str, str]:
    return {"place": problem.place, "field": problem.field, "text": problem.text}


SHOWN_PROBLEMS = 3


def _echo_problems(outcomes: list[FilledCase]) -> None:
    for item in outcomes:
        for problem in item.problems[:SHOWN_PROBLEMS]:
            click.echo(printable(f"{item.word.upper()} {item.id}: {problem}"), err=True)
        if len(item.problems) > SHOWN_PROBLEMS:
            click.echo(f"  and {len(item.problems) - SHOWN_PROBLEMS} more", err=True)
