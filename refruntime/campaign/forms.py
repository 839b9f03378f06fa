"""The form that a result has: what was kept on a disk may have been edited by hand."""

from __future__ import annotations

from typing import Any


def fits(value: Any, form: Any) -> bool:
    """Say whether a JSON value has a form.

    A form is a type (an int is no bool and not negative), a frozenset of the values that there are, a list with the
    form of every member, a tuple with that of each, or an object with those of its parts; a part whose name ends with
    `?` may be absent, and there may be others.
    """
    if isinstance(form, dict):
        return isinstance(value, dict) and all(_part_fits(value, name, part) for name, part in form.items())
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(member, form[0]) for member in value)
    if isinstance(form, tuple):
        same = isinstance(value, list) and len(value) == len(form)
        return same and all(map(fits, value, form))
    if isinstance(form, frozenset):
        return isinstance(value, str) and value in form
    return isinstance(value, form) and (form is not int or (not isinstance(value, bool) and value >= 0))


def _part_fits(value: dict[str, Any], name: str, form: Any) -> bool:
    if name.endswith("?"):
        name = name[:-1]
        return name not in value or fits(value[name], form)
    return name in value and fits(value[name], form)
