"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of numbers made by other people's software; skips where it does not exist."""
    if not SHARED_DATA.is_dir():
        pytest.skip("second-opinion data folder ../shared/data does not exist here")
    return SHARED_DATA
