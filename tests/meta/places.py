"""Which places the package may know: a checker that reads source text for paths of the checkout."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

KNOWS_PLACES = "refruntime.resources"
READS_ITS_OWN_FILE = {"refruntime.contract.rules"}  # with importlib.resources, a file beside the module
FINDS_MODULES = re.compile(r"__file__|__path__|__spec__|getsourcefile|getfile|get_data|find_spec")
MAY_ASK_FOR_EXTRAS = {"find_spec"}  # whether an optional package is installed
TESTS = re.compile(r"(?<![\w./-])tests(?:/|$)")
GOLDEN = re.compile(r"golden(?:/.*)?")


def check_places(module: str, source: str) -> list[str]:
    """Return everything in one module that computes a path of the checkout, or names its tests."""
    found = [f"{module}:{n}: names the tests" for n, line in enumerate(source.splitlines(), 1) if "tests/" in line]
    if module == KNOWS_PLACES:
        return found
    return found + [f"{module}:{line}: {text}" for line, text in _computed(module, ast.parse(source))]


def _computed(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if FINDS_MODULES.fullmatch(name) and name not in MAY_ASK_FOR_EXTRAS:
            yield node.lineno, f"asks where a module lies ({name})"
        if isinstance(node, ast.Import | ast.ImportFrom) and module not in READS_ITS_OWN_FILE:
            names = [alias.name for alias in node.names]
            if "importlib.resources" in [*names, getattr(node, "module", "")]:
                yield node.lineno, "reads files of the package"
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("Path", "PurePath"):
            yield from _named(node.args)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            yield from _named([node.left, node.right])


def _named(parts: list[ast.expr]) -> Iterator[tuple[int, str]]:
    for part in parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            if GOLDEN.fullmatch(part.value):
                yield part.lineno, "names the folder of goldens"
            if TESTS.search(part.value):
                yield part.lineno, "names the tests"
