"""HTML reports in headless Chromium: narrow, dark, printed, copied. Opt-in: `make test-browser`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refruntime.cli import main
from tests.consumers.chromium import CONTRAST
from tests.support.builds import MUTANTS

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a build that draws one candidate too many."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    words = [
        str(MUTANTS["top_k_off_by_one"]),
        "--filter",
        "sampler/slope-top-k-*",
        "-q",
        "--identify",
        "never",
        "--html",
        str(path),
    ]
    assert main(["diff", *words]) == 1
    return path


PAGES = {
    "compare": ["compare", "stories.f32.gguf", "stories.q4_0.gguf", "--text", "Once upon a time"],
    "verify": ["verify"],
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_other_commands(chromium: Any, name: str, tmp_path: Path) -> None:
    """ABI-5: the pages of `compare` and `verify` are as narrow as the screen, have contrast, load and log nothing."""
    path = tmp_path / "page.html"
    assert main([*PAGES[name], "--html", str(path)]) == 0
    for scheme in ("light", "dark"):
        page = chromium.new_page(viewport={"width": 360, "height": 800}, color_scheme=scheme)
        troubles: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, into=troubles: into.append(message.text))
        page.on("pageerror", lambda error, into=troubles: into.append(str(error)))
        page.on("request", lambda request, into=asked: into.append(request.url))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        for selector in ("body", "h1", "h2", "td", "button", "code"):
            assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
        assert page.pdf().startswith(b"%PDF")
        assert (troubles, asked) == ([], [path.as_uri(), "data:,"][: len(asked)])
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_everything_can_be_read(chromium: Any, report: Path, width: int, scheme: str) -> None:
    """ABI-5: nothing is wider than the screen, words have contrast, no script fails."""
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for selector in ("body", ".quiet", "h1 .wrong", "td > .fine", "button", "code"):
        assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
    label = page.locator(".sides b").first
    assert label.is_visible() == (width == 360)
    assert troubles == []
    page.close()


def test_a_command_is_copied_and_the_print_is_whole(chromium: Any, report: Path) -> None:
    """ABI-5: the button puts its command on the clipboard; on paper are no buttons, and all that folds is open."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(report.as_uri())
    button = page.locator("button").nth(1)
    button.click()
    playwright.expect(button).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".command code").nth(1).inner_text()
    assert copied.startswith("refruntime diff ")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not button.is_visible()
    assert page.evaluate("[...document.querySelectorAll('details')].every((each) => each.open)")
    assert page.pdf().startswith(b"%PDF")
    context.close()
