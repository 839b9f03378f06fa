"""The part of `refruntime judge` that judges a whole table of engines, models and settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from refruntime.campaign.judging import (
    JUDGED,
    BadMatrix,
    JudgedCells,
    JudgeMatrix,
    cells_of,
    judge_cells,
    read_matrix,
)
from refruntime.commands.files import UnreadableFile, reachable, write_file
from refruntime.commands.packing import open_ledger, software
from refruntime.commands.shared import add_row, plain_table, printable, progress, write_json
from refruntime.contract.profile import Profile
from refruntime.differential.verdict import EXIT_FINE, EXIT_MISMATCH
from refruntime.resources import own_model
from refruntime.show.page.judge_matrix import matrix_document, matrix_page

LEDGER = "ledger"
PAGE = "index.html"
DOCUMENT = "matrix.json"


def judge_matrix(path: Path, into: Path, profile: Profile, text: str, as_json: bool) -> int:
    """Judge what is not judged yet, write the page and the document; return the exit code.

    Results stay in a folder of `into` for every version of this tool, engines and models, so the next night goes on.
    """
    matrix = _read(path, text)
    about: dict[str, Any] = {**software(), "profile": profile.fingerprint}
    try:
        into.mkdir(parents=True, exist_ok=True)
        ledger = open_ledger(into / LEDGER, {"work": "judge --matrix"}, as_json, (JUDGED,))
        cells = tuple(cells_of(matrix, profile, about["sources"]))
        with progress("judging", len(cells)) as bar:
            judged = judge_cells(matrix, profile, cells, ledger, bar.describe, lambda _: bar(1))
    except OSError as error:
        raise UnreadableFile(f"{error.filename or into}: {error.strerror or error}; what is kept is whole") from error
    document = matrix_document(matrix, judged, about)
    write_file(into / PAGE, matrix_page(matrix, judged, about))
    write_file(into / DOCUMENT, json.dumps(document, indent=1, ensure_ascii=True).encode() + b"\n")
    if as_json:
        write_json(document)
    else:
        _print(judged, into)
    return EXIT_FINE if judged.all_fine else EXIT_MISMATCH


def _read(path: Path, text: str) -> JudgeMatrix:
    try:
        with reachable(path):
            return read_matrix(path.read_text(encoding="utf-8"), path.parent, own_model, text)
    except (BadMatrix, UnicodeDecodeError) as error:
        raise click.BadParameter(printable(f"{path}: {error}"), param_hint="--matrix") from error


def _print(judged: JudgedCells, into: Path) -> None:
    shown = plain_table("engine", "setting", "model", "verdict", "why")
    for cell in judged.cells:
        result = judged.results.get(cell.key)
        why = judged.reasons.get(cell.key, "") if result is None else result["text"]
        add_row(shown, cell.engine.name, cell.setting, cell.model, judged.verdict(cell), printable(why))
    Console().print(shown)
    for name in judged.stale:
        click.echo(printable(f"{name} is expected to be blamed, and nowhere is"))
    fine = sum(map(judged.fine, judged.cells))
    click.echo(f"{fine} of {len(judged.cells)} are fine, {judged.new} were judged now")
    click.echo(f"{into / PAGE}, {into / DOCUMENT}")
