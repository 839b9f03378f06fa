"""Measure what each test file costs in processor time, on a machine that may be busy with other things.

    python -m pytest -p tests.support.processor_time -n 2 ...

User and system time of the process and of the children that ended count, so a test that starts commands pays for them.
The table is printed at the end, the dearest files first; with PROCESSOR_TIME_LOG=FILE each test is written down too.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

PROPERTY = "processor seconds"
LOG = "PROCESSOR_TIME_LOG"
SHOWN = 60


def _now() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    begin = _now()
    item.user_properties.append((PROPERTY, begin))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    if call.when == "teardown":
        begin = next(value for name, value in item.user_properties if name == PROPERTY)
        item.user_properties[:] = [entry for entry in item.user_properties if entry[0] != PROPERTY]
        taken = _now() - float(str(begin))
        item.user_properties.append((PROPERTY, taken))
        if log := os.environ.get(LOG):  # what was measured is kept when a run is stopped
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{taken:.2f}\t{item.nodeid}\n")
    return (yield)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    files: dict[str, float] = defaultdict(float)
    tests: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown" or getattr(report, "outcome", ""):
                for name, value in getattr(report, "user_properties", ()):
                    if name == PROPERTY and getattr(report, "when", "") == "teardown":
                        files[report.nodeid.partition("::")[0]] += value
                        tests[report.nodeid] = value
    terminalreporter.section("processor time")
    for table in (files, tests):
        for name, value in sorted(table.items(), key=lambda entry: -entry[1])[:SHOWN]:
            terminalreporter.line(f"{value:8.1f} s  {name}")
    terminalreporter.line(f"{sum(files.values()):8.1f} s  all tests")
