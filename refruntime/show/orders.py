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
        for operation, forms in decision["equal_on_these_widths"].items():
            shown = ", ".join(f"'{form}'" for form in forms[:SHOWN_EQUAL])
            more = f" and {len(forms) - SHOWN_EQUAL} more" if len(forms) > SHOWN_EQUAL else ""
            yield f"    {operation}: equal on these widths are {shown}{more}"
        if decision["rows"] < decision["of"]:
            yield from _nearest(decision["nearest"])


def _forms(decision: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    forms = {name: form for name, form in decision["forms"].items() if name in report["numerics"]}
    return "".join(f"   {name}: {form}" for name, form in forms.items())


def _nearest(others: list[Mapping[str, Any]]) -> Iterator[str]:
    for other in others:
        forms = "; ".join(f"{name}: {form}" for name, form in other.items() if name != "rows") or "as seq32"
        yield f"    nearest: {forms} ({other['rows']} rows)"
