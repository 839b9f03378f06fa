"""Fixtures of the tests of consumers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.chromium import SUB_PATH, fresh_page
from tests.consumers.node import GOLDEN
from tests.consumers.static_site import serve
from tests.support.builds import GUEST


@pytest.fixture(scope="session")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the goldens below a sub-path, which nobody edits while a test runs."""
    copy = tmp_path_factory.mktemp("site") / SUB_PATH
    shutil.copytree(GOLDEN, copy)
    return copy


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser of the system; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")
    command = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=command, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(goldens: Path) -> Iterator[str]:
    """Address of a plain static server that has the goldens below a sub-path, and the builds beside them."""
    root = goldens.parents[SUB_PATH.count("/")]
    shutil.copytree(GUEST.parent, root / "builds")
    server = serve(root)
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that no other test has used."""
    with fresh_page(chromium) as page:
        yield page
