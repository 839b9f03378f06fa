"""The page golden/consume.html in headless Chromium, for tests: opened, given a build, read."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.consumers.node import GOLDEN

SUB_PATH = "some/where/golden"
DONE = re.compile(r"(^|; )(fine|NOT FINE): ")
PATIENCE = 90_000  # milliseconds, for a whole run on a busy machine

CONTRAST = """
(element) => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = color.map((x) => x / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (behind && (parse(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
  const colors = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
  const [one, other] = colors.map((color) => light(parse(color)));
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}
"""


def _expect() -> Any:
    from playwright.sync_api import expect

    return expect


@contextmanager
def fresh_page(chromium: Any) -> Iterator[Any]:
    """Open a page. Afterwards: no error was logged, and nothing was asked of any other server."""
    context = chromium.new_context(viewport={"width": 1200, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    addresses: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: addresses.append(request.url))
    yield page
    context.close()
    assert errors == []
    assert [url for url in addresses if not re.match(r"http://127\.0\.0\.1:|blob:|data:", url)] == []


def open_page(page: Any, site: str, query: str = "") -> None:
    page.goto(f"{site}{SUB_PATH}/consume.html{query}")
    _expect()(page.get_by_label("Build: pick")).to_be_visible()


def pick(page: Any, build: Path) -> None:
    page.get_by_label("Build: pick").set_input_files(build)
    _expect()(page.locator("#facts")).to_contain_text(build.name, timeout=PATIENCE)
    _expect()(page.locator("#outcome")).to_have_text(DONE, timeout=PATIENCE)


def saved_report(page: Any) -> dict[str, Any]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save report as JSON").click()
    report: dict[str, Any] = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    return report


def without_times(report: Mapping[str, Any]) -> dict[str, Any]:
    cases = [{key: value for key, value in entry.items() if key != "seconds"} for entry in report["cases"]]
    return {**report, "cases": cases}


def shown_ids(page: Any) -> list[str]:
    found: list[str] = page.locator("#cases li:visible .id").all_inner_texts()
    return found


def add_page(golden: Path) -> None:
    """Put page and consumer beside goldens made by hand."""
    for name in ("consume.html", "consume.mjs", "consume-page.mjs"):
        shutil.copy(GOLDEN / name, golden / name)
    shutil.copytree(GOLDEN / "consumer", golden / "consumer")
