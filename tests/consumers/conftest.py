"""Fixtures of the tests of consumers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.consumers.node import GOLDEN

SUB_PATH = "some/where/golden"


@pytest.fixture(scope="session")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the goldens below a sub-path, which nobody edits while a test runs."""
    copy = tmp_path_factory.mktemp("site") / SUB_PATH
    shutil.copytree(GOLDEN, copy)
    return copy
