"""Every rule has a test that names it, and nobody names a rule that does not exist."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from refruntime.contract.rules import load_rules

PROJECT = Path(__file__).resolve().parent.parent.parent
RULES = load_rules()
PREFIXES = sorted({identifier.partition("-")[0] for identifier in RULES} - {"CL"})
IDENTIFIER = re.compile(rf"(?<![\w-])(?:(?:{'|'.join(PREFIXES)})-\d+|CL-[a-z0-9]+)(?![\w-])")


def cited(text: str) -> set[str]:
    """Return everything in a text that looks like a rule id."""
    return set(IDENTIFIER.findall(text))


def cited_by_tests(source: str) -> set[str]:
    """Return the ids in the docstrings of a test module, its test classes and its test functions."""
    tree = ast.parse(source)
    found = cited(ast.get_docstring(tree) or "")
    for node in ast.walk(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
        is_class = isinstance(node, ast.ClassDef) and node.name.startswith("Test")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (is_function or is_class):
            found |= cited(ast.get_docstring(node) or "")
    return found


@cache
def citations() -> dict[str, set[str]]:
    """Return for each id the test modules that cite it."""
    places: dict[str, set[str]] = defaultdict(set)
    for path in sorted((PROJECT / "tests").rglob("test_*.py")):
        for identifier in cited_by_tests(path.read_text(encoding="utf-8")):
            places[identifier].add(path.relative_to(PROJECT).as_posix())
    return places


def test_every_rule_is_cited_by_a_test() -> None:
    """A rule without a test is a promise that nobody checks."""
    places = citations()
    missing = [identifier for identifier in RULES if identifier not in places]
    assert not missing, f"{len(missing)} rules are in no test's docstring: {', '.join(missing)}"


def test_no_test_cites_a_rule_that_does_not_exist() -> None:
    """A test that cites an unknown rule checks something that the contract does not say."""
    unknown = {identifier: sorted(places) for identifier, places in citations().items() if identifier not in RULES}
    assert not unknown


def test_the_package_and_its_documents_name_existing_rules_only() -> None:
    """Code, error messages and documents point to rules that a reader can look up."""
    paths = [*(PROJECT / "refruntime").rglob("*.py"), *PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    assert len(paths) > 20
    unknown = {
        path.relative_to(PROJECT).as_posix(): sorted(strangers)
        for path in sorted(paths)
        if (strangers := cited(path.read_text(encoding="utf-8")) - RULES.keys())
    }
    assert not unknown


def test_every_id_is_recognised() -> None:
    """The pattern that finds citations finds each rule, alone and inside a sentence."""
    for identifier in RULES:
        assert cited(identifier) == {identifier}
        assert cited(f"({identifier}, see {identifier}.key): text") == {identifier}


SOURCE = '''
"""Module. SL-1"""
TABLE = "SL-2"
def helper():
    """SL-3"""
def test_one():
    """SL-4, CL-gguf: and SHA-256, xSL-6, SL-7x, UTF-8."""
    "SL-8"
class TestTwo:
    """SL-9"""
    def test_three(self):
        """SL-10, SL-999."""
class Other:
    """SL-11"""
'''


@pytest.mark.parametrize("place", ["module", "function", "class", "method"])
def test_scanner_reads_docstrings_of_tests_alone(place: str) -> None:
    """Strings, comments, helpers and fixtures do not count as a citation."""
    expected = {"module": {"SL-1"}, "function": {"SL-4", "CL-gguf"}, "class": {"SL-9"}, "method": {"SL-10", "SL-999"}}
    found = cited_by_tests(SOURCE)
    assert expected[place] <= found
    assert found == set().union(*expected.values())
