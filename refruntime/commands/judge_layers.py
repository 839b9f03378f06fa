"""The part of `refruntime judge` that reads dumps of layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from refruntime.commands.files import reachable
from refruntime.commands.shared import add_row, plain_table, printable
from refruntime.contract.profile import Profile
from refruntime.judge.files import UnreadableNumbers, read_arrays
from refruntime.judge.layers import LayerJudge, LayersFinding
from refruntime.judge.names import KINDS, Names, UnknownNames, read_names
from refruntime.model.forward import POSITIONS_PER_PASS
from refruntime.model.validated import ValidatedModel

AROUND: Final = 2
"""Tensors that are shown before and behind the first divergent one."""


def judge_layers(
    model: ValidatedModel,
    profile: Profile,
    path: Path,
    names: str | None,
    ids: list[int],
    step: Callable[[str], object],
) -> LayersFinding:
    """Return what a dump says; exit 3 for a file that cannot be read, 2 for what does not fit."""
    if len(ids) > POSITIONS_PER_PASS:
        raise click.UsageError(f"A dump is compared over at most {POSITIONS_PER_PASS} tokens; there are {len(ids)}.")
    try:
        with reachable(path):
            return LayerJudge(model, profile, step).judge(read_arrays(path), ids, _names(names))
    except (UnreadableNumbers, UnknownNames, ValueError) as error:
        raise click.BadParameter(printable(str(error)), param_hint="--layers") from error


def _names(given: str | None) -> Names | None:
    """Return the names that were asked for, None to find them out."""
    if given is None or given == "auto":
        return None
    if given in KINDS:
        return KINDS[given]()
    with reachable(given):
        return read_names(Path(given).read_text(encoding="utf-8"))


def layers_document(finding: LayersFinding) -> dict[str, Any]:
    """Return everything as plain values."""

    def rows(findings: Any) -> list[dict[str, Any]]:
        return [{**vars(one), "differs": one.differs} for one in findings]

    first, forced = finding.first_free, finding.first_forced
    return {
        "arithmetic": finding.policy.name,
        "names": finding.names,
        "first_divergent": None if first is None else first.name,
        "first_wrong_operation": None if forced is None else forced.name,
        "pattern": finding.text,
        "unknown": list(finding.unknown),
        "free": rows(finding.free),
        "forced": rows(finding.forced),
        "fine": first is None and forced is None,
    }


def print_layers(finding: LayersFinding) -> None:
    """Print the first divergent tensor both ways, with its neighbours."""
    console = Console()
    free, forced = finding.first_free, finding.first_forced
    said = f"{len(finding.free)} tensors by the names of {finding.names}, nearest arithmetic {finding.policy.name}"
    if finding.unknown:
        said += f"; {len(finding.unknown)} have no name that is known, such as {printable(finding.unknown[0])}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    if free is None and forced is None:
        console.print("every tensor is what rounding makes of it", highlight=False)
        return
    if free is not None:
        console.print(f"free-running    parts first at {free.name}, position {free.position}", highlight=False)
    if forced is None:
        console.print("teacher-forced  every operation is right about its own inputs", highlight=False)
    else:
        line = f"teacher-forced  {forced.name} is the first wrong operation: {finding.text}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    table = plain_table("tensor", "free", "forced", "rounding", right=("free", "forced", "rounding"))
    pairs = list(zip(finding.free, finding.forced, strict=True))
    centre = next(place for place, pair in enumerate(pairs) if any(one.differs for one in pair))
    for one, other in pairs[max(0, centre - AROUND) : centre + AROUND + 1]:
        mark = " <" if other.differs else ""
        add_row(table, one.name, f"{one.error:.2g}", f"{other.error:.2g}{mark}", f"{other.band:.2g}")
    console.print(table)
