"""Keep the joint choices of switches that every answer so far allows: choices are ruled out, none is adopted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
"""A partial assignment: attribute of the profile -> option; a switch that it does not name may have any."""


@dataclass
class Survivors:
    """Options by switch, and for each experiment that agreed the joint choices under which it does."""

    options: dict[str, tuple[Any, ...]]
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def allowed(self, assignment: Row, name: str) -> Iterator[Any]:
        """Yield the options of a switch that no table rules out together with an assignment."""
        for value in self.options[name]:
            wider = {**assignment, name: value}
            if all(_compatible(table, wider) for table in self.tables.values()):
                yield value

    def add(self, experiment: str, rows: Sequence[Row]) -> None:
        """Take the joint choices under which an experiment agrees; there is at least one."""
        if not rows or any(not row for row in rows):  # nothing is ruled out by an answer that depends on nothing
            return
        merged = _merged(rows, self.options)
        if merged:
            self.tables[experiment] = merged
        self._propagate()

    def _propagate(self) -> None:
        """Rule out what no row of some table allows, until nothing more goes; drop tables that say nothing more."""
        changed = True
        while changed:
            changed = False
            for name, values in self.options.items():
                left = tuple(
                    value
                    for value in values
                    if all(_compatible(table, {name: value}) for table in self.tables.values())
                )
                if left != values:
                    self.options[name], changed = left, True
            for key, table in list(self.tables.items()):
                rows = [row for row in table if all(value in self.options[name] for name, value in row.items())]
                rows = [{name: value for name, value in row.items() if len(self.options[name]) > 1} for row in rows]
                if any(not row for row in rows):
                    del self.tables[key]
                else:
                    self.tables[key] = rows

    def nearest(self, wanted: Row) -> dict[str, Any]:
        """Return the joint choice that differs from what is wanted in the fewest switches, the first of several."""
        open_switches = [name for name, values in self.options.items() if len(values) > 1]
        settled = {name: values[0] for name, values in self.options.items() if len(values) == 1}
        best: dict[str, Any] = {name: values[0] for name, values in self.options.items()}
        fewest = len(open_switches) + 1

        def extend(assignment: dict[str, Any], rest: Sequence[str], differing: int) -> None:
            nonlocal best, fewest
            if differing >= fewest:
                return
            if not rest:
                best, fewest = {**settled, **assignment}, differing
                return
            for value in self.allowed(assignment, rest[0]):
                extend({**assignment, rest[0]: value}, rest[1:], differing + (value != wanted[rest[0]]))

        extend({}, open_switches, 0)
        return best


def _compatible(table: Sequence[Row], assignment: Row) -> bool:
    return any(all(assignment.get(name, value) == value for name, value in row.items()) for row in table)


def _merged(rows: Sequence[Row], options: Mapping[str, tuple[Any, ...]]) -> list[Row]:
    """Drop from all rows the switches that do not matter: each choice of the others goes with all of their options."""
    merged = [dict(row) for row in rows]
    names = sorted({name for row in merged for name in row}, key=lambda name: -len(options[name]))
    for name in names:
        if not all(name in row for row in merged):
            continue
        groups: dict[tuple[tuple[str, Any], ...], set[Any]] = {}
        for row in merged:
            rest = tuple(sorted((key, value) for key, value in row.items() if key != name))
            groups.setdefault(rest, set()).add(row[name])
        if all(values >= set(options[name]) for values in groups.values()):
            merged = [dict(rest) for rest in groups]
    return [] if any(not row for row in merged) else list(merged)
