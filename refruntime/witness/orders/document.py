"""What was read off, as plain values for JSON and for views."""

from __future__ import annotations

from typing import Any

from refruntime.numerics.varied import Variation
from refruntime.witness.orders.fit import Fit, StageDecision


def document(found: Fit) -> dict[str, Any]:
    """Return the variation, whether the build is uniform, and every decision with the rows that decided it."""
    failed = found.failed
    return {
        "verdict": "not uniform" if not found.uniform else "varied" if found.variation.changes() else "seq32",
        "uniform": found.uniform,
        "variation": found.variation.name,
        "numerics": found.variation.changes(),
        "first_unexplained": None if failed is None else failed.tensors[0],
        "decisions": [_decision(decision, found) for decision in found.decisions],
    }


def comments(found: Fit) -> dict[str, str]:
    """Return what a file says about each field: the rows that decided it, and what gives the same bits."""
    notes = {}
    for decision in found.decisions:
        for name in decision.fields:
            lines = [f"{', '.join(decision.tensors)}: {decision.rows} of {decision.of} rows bit by bit"]
            lines += [f"equal on these widths: {form}" for form in found.equal_forms(name)]
            notes[name] = "\n".join(lines)
    return notes


def _decision(decision: StageDecision, found: Fit) -> dict[str, Any]:
    chosen = found.variation
    return {
        "tensors": list(decision.tensors),
        "seen": decision.seen,
        "rows": decision.rows,
        "of": decision.of,
        "tried": decision.tried,
        "forms": {name: str(getattr(chosen, name)) for name in decision.fields},
        "equal_on_these_widths": {
            name: list(found.equal_forms(name)) for name in decision.fields if found.equal_forms(name)
        },
        "nearest": [{**_others(other, decision, chosen), "rows": rows} for other, rows in decision.nearest],
    }


def _others(other: Variation, decision: StageDecision, chosen: Variation) -> dict[str, Any]:
    """Return the forms of a decision that differ from the chosen ones."""
    pairs = ((name, getattr(other, name)) for name in decision.fields)
    return {name: str(form) for name, form in pairs if form != getattr(chosen, name)}
