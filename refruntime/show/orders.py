"""What was read off about the order of arithmetic, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

SHOWN_EQUAL: Final = 6


def orders_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the verdict, then for each operation the rows that decided it and what would give the same bits."""
    verdict = {
        "seq32": "SEQ32 every operation that was seen is computed as the contract has it",
        "varied": f"VARIED {report['variation']}",
        "not uniform": f"NOT UNIFORM nothing that is known gives {report['first_unexplained'] or 'any tensor'}",
    }
    yield verdict[report["verdict"]]
    for decision in report["decisions"]:
        first, last = decision["tensors"][0], decision["tensors"][-1]
        name = first if first == last else f"{first} .. {last.rpartition('.')[2]}"
        if not decision["seen"]:
            yield f"  {name:<28} not seen in memory"
            continue
        yield f"  {name:<28} {decision['rows']} of {decision['of']} rows{_forms(decision, report)}"
        if decision["tried"] > 1:
            yield from _others("equal on these widths", decision["equal_on_these_widths"])
            if decision["rows"] < decision["of"]:
                yield from _others("nearest", decision["nearest"])


def _forms(decision: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    forms = {name: form for name, form in decision["forms"].items() if name in report["numerics"]}
    return "".join(f"   {name}: {form}" for name, form in forms.items())


def _others(label: str, others: list[Mapping[str, Any]]) -> Iterator[str]:
    for other in others[:SHOWN_EQUAL]:
        forms = "; ".join(f"{name}: {form}" for name, form in other.items() if name != "rows") or "as seq32"
        rows = f" ({other['rows']} rows)" if "rows" in other else ""
        yield f"    {label}: {forms}{rows}"
    if len(others) > SHOWN_EQUAL:
        yield f"    {label}: {len(others) - SHOWN_EQUAL} more (see --json)"
