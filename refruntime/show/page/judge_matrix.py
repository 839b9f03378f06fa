"""What engines do with models under settings: one page, and the same as one document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from refruntime.campaign.judging import NOT_RUN, EngineCell, JudgedCells, JudgeMatrix
from refruntime.show.page.pieces import code, page, paragraph, section, table, text

VERSION: Final = 1


def matrix_document(matrix: JudgeMatrix, judged: JudgedCells, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything as plain values."""
    return {
        "version": VERSION,
        **about,
        "asked": matrix.asked,
        "fine": judged.all_fine,
        "cells": [_cell(cell, judged) for cell in judged.cells],
        "expected_nowhere_found": judged.stale,
    }


def _cell(cell: EngineCell, judged: JudgedCells) -> dict[str, Any]:
    own = {
        "engine": cell.engine.name,
        "engine_version": cell.version,
        "setting": cell.setting,
        "model": cell.model,
        "verdict": judged.verdict(cell),
        "fine": judged.fine(cell),
        "text": _text(cell, judged),
    }
    result = judged.results.get(cell.key)
    if result is not None:
        own |= {"called": _engine(cell, judged), "findings": result["findings"], "measured": result["measured"]}
    return own


def matrix_page(matrix: JudgeMatrix, judged: JudgedCells, about: Mapping[str, Any]) -> bytes:
    """Return the page: verdicts at a glance, then each judgement in a sentence, model by model."""
    counts = Counter(judged.verdict(cell) for cell in judged.cells)
    title = "Engines, models, settings"
    shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    parts = [
        f"<h1>{text(title)}</h1>",
        paragraph(f"{len(judged.cells)} judgements: {shown}."),
        section("At a glance", _overview(judged)),
        *(section(model, _details(model, judged)) for model in matrix.models),
        section("What was asked", table(("", ""), _asked(matrix, about))),
    ]
    if judged.stale:
        parts.insert(2, paragraph(f"Expected to be blamed, and nowhere are: {', '.join(judged.stale)}."))
    return page(title, parts)


def _overview(judged: JudgedCells) -> str:
    models = list(dict.fromkeys(cell.model for cell in judged.cells))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for cell in judged.cells:
        lines.setdefault((cell.engine.name, cell.setting), {})[cell.model] = judged.verdict(cell)
    rows = [
        (text(engine), text(setting), *(text(row.get(model, "")) for model in models))
        for (engine, setting), row in lines.items()
    ]
    return table(("engine", "setting", *models), rows)


def _details(model: str, judged: JudgedCells) -> str:
    rows = [
        (
            text(_engine(cell, judged)),
            text(cell.setting),
            text(judged.verdict(cell)),
            text(_text(cell, judged)),
        )
        for cell in judged.cells
        if cell.model == model
    ]
    return table(("engine", "setting", "verdict", ""), rows)


def _engine(cell: EngineCell, judged: JudgedCells) -> str:
    """Return the name of an engine with its version, as the table or the engine itself tells it."""
    called = judged.results.get(cell.key, {}).get("source", cell.engine.name)
    return f"{cell.engine.name} {cell.version}" if cell.version else str(called)


def _text(cell: EngineCell, judged: JudgedCells) -> str:
    """Return the sentences of what blames an engine, and of its logits, which tell its arithmetic."""
    result = judged.results.get(cell.key)
    if result is None:
        return judged.reasons.get(cell.key, NOT_RUN)
    told = [one for one in result["findings"] if one["text"] == result["text"] or one["stage"] == "logits"]
    return "; ".join(f"{one['stage']}: {one['text']}" for one in told)


def _asked(matrix: JudgeMatrix, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, code(value)) for name, value in matrix.asked.items()]
    return [*rows, *((name, text(value)) for name, value in about.items())]
