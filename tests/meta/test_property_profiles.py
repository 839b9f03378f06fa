"""Property tests are the same every time, unless new examples are asked for; then a failure says how to repeat them."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["pytester"]

TESTS = Path(__file__).resolve().parents[1]
MAKEFILE = (TESTS.parent / "Makefile").read_text("utf-8")


def test_make_test_repeats_and_make_test_slow_draws() -> None:
    """Every profile is used where CONTRIBUTING says it: the free one by `make test-slow` alone."""
    assert re.findall(r"--hypothesis-profile=(\w+)", MAKEFILE) == ["free"]
    assert "--hypothesis-profile=free" in MAKEFILE.partition("test-slow:")[2].partition(".PHONY")[0]
    assert hypothesis.settings.get_profile("repeatable").derandomize
    assert not hypothesis.settings.get_profile("free").derandomize


def test_no_test_overrules_the_profile() -> None:
    """A test that says itself how examples are drawn would stay the same in both."""
    named = re.compile(r"\bderandom" + r"ize=")
    assert [path.name for path in TESTS.rglob("test_*.py") if named.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize("free", [True, False])
def test_a_failure_with_new_examples_can_be_repeated(free: bool, pytester: pytest.Pytester) -> None:
    """The line under a failure gives the same failure again; without new examples there is nothing to say."""
    pytester.makeconftest((TESTS / "conftest.py").read_text("utf-8"))
    pytester.makepyfile(
        "from hypothesis import given, strategies\n"
        "@given(strategies.integers(0, 2**64))\n"
        "def test_it(x):\n    assert x % 3 != 1, x\n"
    )
    shown = pytester.runpytest_subprocess("-p", "no:cacheprovider", *(["--hypothesis-profile=free"] if free else []))
    lines = [line for line in shown.outlines if line.startswith("python -m pytest ")]
    assert len(lines) == int(free)
    for line in lines:
        again = pytester.runpytest_subprocess("-p", "no:cacheprovider", *line.split()[3:])
        assert line in again.outlines
