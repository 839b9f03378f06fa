"""One name, one thing: a class of the package is not called as a class of another file."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.meta.test_house import MODULES, PACKAGE


def test_class_names_are_unique() -> None:
    """A reader who meets a name of a class knows which."""
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(PACKAGE).as_posix())
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert not twice
