"""Fixtures that every test may use, and how property tests choose their examples.

By default, so in `make test` and in continuous integration, the examples are the same every time (profile
`repeatable`). `make test-slow` draws new ones (profile `free`); a failure prints the line that draws them again.
"""

from __future__ import annotations

import gc
import os
import random
import shlex
from collections.abc import Generator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest

from refruntime.numerics.compiled import loading

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("free", derandomize=False, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")

os.environ["REFRUNTIME_NO_CACHE"] = "1"  # of programs that tests start too: what is tested is computed

gc.disable()  # until all is imported: what a collection of tests makes, it keeps

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"

BEGIN_IN_NUMPY = {"second_opinion", "numerics", "quants", "model", "judge"}
"""Folders of tests that are about numbers, so about NumPy's too, in which a person's first tokens are computed."""
LOADING_PAYS, loading.LOADING_PAYS = loading.LOADING_PAYS, 0


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of numbers made by other people's software; skips where it does not exist."""
    if not SHARED_DATA.is_dir():
        pytest.skip("second-opinion data folder ../shared/data does not exist here")
    return SHARED_DATA


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed of free examples here, so that it can be told; workers get it with the other options."""
    if config.getoption("--hypothesis-profile") == "free" and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import the tests from the last on in every second worker: two compile half of them each, and not all twice."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    if int(worker) % 2 and session.config.args == session.config.getini("testpaths"):
        for path in sorted((PROJECT / "tests").rglob("test_*.py"), reverse=True):
            with suppress(Exception, pytest.skip.Exception):  # said when it is collected
                import_module(".".join(path.relative_to(PROJECT).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Let no search for garbage walk through what was imported: it is most of what there is, and stays.

    And search less often: a tenth of all time went into it, where trees of sources and batteries of cases are made.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let all other tests run at once on the loops that were compiled before them: seq32 has the same bits in both."""
    loading.LOADING_PAYS = LOADING_PAYS if BEGIN_IN_NUMPY & {*item.path.parts[len(PROJECT.parts) :]} else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say under a failure with free examples how to draw the same ones."""
    report = yield
    seed = item.config.getoption("--hypothesis-seed")
    if report.failed and seed is not None and item.get_closest_marker("hypothesis") is not None:
        options = f"--hypothesis-profile=free --hypothesis-seed={seed}"
        line = f"python -m pytest {shlex.quote(item.nodeid)} {options}"
        report.sections.append(("repeat it with", line))
    return report
