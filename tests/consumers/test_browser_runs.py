"""What a person does with the page golden/consume.html: find the first failure, compare builds, send a link.

Opt-in: `make test-browser`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.consumers.chromium import CONTRAST, DONE, PATIENCE, SUB_PATH, open_page, pick, shown_ids
from tests.consumers.node import run_node
from tests.support.builds import GUEST, MUTANTS

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)
expect = playwright.expect

pytestmark = pytest.mark.browser

MUTANT = MUTANTS["top_k_off_by_one"]
OTHER = MUTANTS["reset_keeps_kv"]
TOP = "(element) => element.getBoundingClientRect().top"


def visible_on_screen(page: Any, selector: str) -> bool:
    """Say whether an element lies in the window, below the line that stays on top."""
    element = page.locator(selector)
    below = page.locator("#said").evaluate("(element) => element.getBoundingClientRect().bottom")
    top: float = element.evaluate(TOP)
    return bool(below <= top < page.viewport_size["height"])


@pytest.mark.parametrize("width", [400, 1200])
def test_the_first_failure_is_opened_and_seen(page: Any, site: str, goldens: Path, width: int) -> None:
    """DG-3: behind a run the first case that is not fine is open and in the window; the next is one button away."""
    page.set_viewport_size({"width": width, "height": 800})
    open_page(page, site, "?filter=sampling&filter=memory")
    pick(page, MUTANT)
    report = run_node(MUTANT, "--golden", goldens, "--json", "--filter", "sampling", "--filter", "memory").report
    failing = [case["id"] for case in report["cases"] if case["verdict"] == "MISMATCH"]
    opened = page.locator("#cases > li:has(> details[open])")
    expect(opened).to_have_attribute("data-id", failing[0])
    assert visible_on_screen(page, "#cases > li > details[open] > summary")
    about = (goldens / "cases" / failing[0] / "case.json").read_text()
    expect(page.locator("#cases details[open] .about")).not_to_be_empty()
    assert page.locator("#cases details[open] .about").inner_text() in about
    page.get_by_role("button", name="Next failure").click()
    expect(opened).to_have_attribute("data-id", failing[1])
    assert visible_on_screen(page, "#cases > li > details[open] > summary")
    page.get_by_role("button", name="Previous failure").click()
    expect(opened).to_have_attribute("data-id", failing[0])


def test_nothing_is_opened_where_all_is_fine(page: Any, site: str) -> None:
    """DG-3: a build without a failure leaves the page at its top, and there is no next failure."""
    open_page(page, site, "?filter=abi")
    pick(page, GUEST)
    assert page.evaluate("scrollY") == 0
    expect(page.locator("#cases details[open]")).to_have_count(0)
    expect(page.get_by_role("button", name="Next failure")).to_be_hidden()


def test_refusals_that_were_expected_do_not_alarm(page: Any, site: str) -> None:
    """ERR-1: what both refuse is called so, in the color of what is fine, and the legend says what reports call it."""
    open_page(page, site, "?filter=errors")
    pick(page, GUEST)
    expect(page.locator("#families")).not_to_contain_text("FAILED")
    heads = page.locator("#families thead th").all_inner_texts()
    assert "\u2713 refused alike" in heads
    alike, match = (page.locator(f"#families thead th.{name}") for name in ("BOTH_FAILED", "MATCH"))
    assert alike.evaluate("(e) => getComputedStyle(e).color") == match.evaluate("(e) => getComputedStyle(e).color")
    expect(page.locator("#legend-list")).to_be_visible()
    expect(page.locator("#legend-list dt")).to_have_text(["\u2713 MATCH", "\u2713 refused alike"])
    expect(page.locator("#legend-list")).to_contain_text("JSON calls it BOTH_FAILED")


def test_what_matters_comes_first_on_a_narrow_screen(page: Any, site: str) -> None:
    """DG-3: at 400 pixels family, MISMATCH and MATCH are seen without scrolling; the page itself is not wider."""
    page.set_viewport_size({"width": 400, "height": 800})
    open_page(page, site, "?filter=sampling&filter=quants")
    pick(page, MUTANT)
    heads = page.locator("#families thead th").all_inner_texts()
    assert heads[:3] == ["family", "\u2717 MISMATCH", "\u2713 MATCH"]
    assert heads[-3:] == ["cases", "steps", "fields"]
    for place in range(3):
        box = page.locator("#families thead th").nth(place).bounding_box()
        assert box["x"] + box["width"] <= 400
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_filters_hold_before_during_and_after_a_run(page: Any, site: str) -> None:
    """DG-3: cases can be looked through before anything runs, and what was chosen then is what is shown afterwards."""
    open_page(page, site)
    expect(page.locator("#fits")).to_have_text(re.compile(r"^(\d+) of \1 cases will run$"))
    page.get_by_label("Only cases that fit").fill("sampling")
    expect(page.locator("#fits")).to_have_text(re.compile(r"^\d\d of \d+ cases will run$"))
    page.get_by_label("Family").select_option("sampling")
    page.get_by_label("Verdict").select_option("MATCH")
    expect(page.locator("#cases li:visible")).to_have_count(0)
    page.get_by_label("Verdict").select_option("not run")
    page.get_by_label("Text").fill("top-p")
    before = shown_ids(page)
    assert before
    assert all(identifier.startswith("sampling/") for identifier in before)
    page.get_by_label("Verdict").select_option("all")
    pick(page, GUEST)
    assert shown_ids(page) == before
    page.get_by_label("Verdict").select_option("not run")
    assert shown_ids(page) == []


def test_several_builds_side_by_side(page: Any, site: str, goldens: Path) -> None:
    """SA-2, ST-5: several builds at once become a table of cases by builds; a cell opens its case in its build."""
    open_page(page, site, "?filter=sampling&filter=load")
    page.get_by_label("Build: pick").set_input_files([MUTANT, GUEST, OTHER])
    expect(page.locator("#outcome")).to_have_text("3 builds side by side, 2 of them not fine", timeout=PATIENCE)
    verdicts = [
        run_node(build, "--golden", goldens, "--json", "--filter", "sampling", "--filter", "load").verdicts
        for build in (MUTANT, GUEST, OTHER)
    ]
    wrong = {name for name in verdicts[0] if any(each[name] == "MISMATCH" for each in verdicts)}
    rows = page.locator("#matrix-table tbody tr")
    assert {row.inner_text().split()[0] for row in rows.all()} == wrong
    for row in rows.all():
        name = row.locator("th").inner_text()
        found = [cell.locator("button").get_attribute("class") for cell in row.locator("td").all()]
        assert found == [each[name] for each in verdicts]
    heads = page.locator("#matrix-table thead th").all_inner_texts()
    assert [head.split()[-1] for head in heads[1:]] == [MUTANT.name, GUEST.name, OTHER.name]
    page.get_by_label("Verdict").select_option("all")
    assert rows.count() == len(verdicts[0])
    page.get_by_label("only where the builds behave differently").check()
    assert rows.count() == len(wrong)
    row = page.locator("#matrix-table tr").filter(has=page.get_by_role("rowheader", name="load/reset", exact=True))
    row.get_by_role("button", name="MISMATCH step").click()
    expect(page.locator("#facts")).to_contain_text(OTHER.name)
    expect(page.locator("#cases > li:has(> details[open])")).to_have_attribute("data-id", "load/reset")
    expect(page.locator("#matrix")).to_be_hidden()


def test_runs_are_kept_until_the_page_is_closed(page: Any, site: str) -> None:
    """ST-5: every run stays in the list with what changed since the one before, is shown again and compared."""
    open_page(page, site, "?filter=load")
    pick(page, OTHER)
    page.evaluate("(name) => window.name = name", "kept")
    for build in (GUEST, OTHER):
        page.get_by_label("Build: pick").set_input_files(
            {"name": OTHER.name, "mimeType": "application/wasm", "buffer": build.read_bytes()}
        )
        count = 2 if build is GUEST else 3
        expect(page.locator("#run-list li")).to_have_count(count, timeout=PATIENCE)
    newest = page.locator("#run-list li")
    expect(newest.nth(0)).to_contain_text("since run 2: 0 cases mended, 4 cases broken")
    expect(newest.nth(1)).to_contain_text("since run 1: 4 cases mended, 0 cases broken")
    expect(newest.nth(0)).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name=f"2 {OTHER.name}").click()
    expect(page.locator("#outcome")).to_have_text(re.compile("^fine: "))
    for number in (1, 2):
        page.get_by_label(f"put run {number} side by side").check()
    expect(page.locator("#matrix-count")).to_have_text(re.compile("the two builds behave differently in 4 of"))
    page.get_by_label("put run 1 side by side").uncheck()
    expect(page.locator("#list")).to_be_visible()
    expect(page.locator("#outcome")).to_have_text(re.compile("^fine: "))


def test_a_build_that_is_none_stands_in_the_table(page: Any, site: str, tmp_path: Path) -> None:
    """ABI-1: among several builds one that is no module is named, and the others are compared."""
    (tmp_path / "none.wasm").write_bytes(b"no module")
    open_page(page, site, "?filter=abi")
    page.get_by_label("Build: pick").set_input_files([tmp_path / "none.wasm", GUEST])
    expect(page.locator("#outcome")).to_have_text("2 builds side by side, 1 of them not fine", timeout=PATIENCE)
    expect(page.locator("#run-list")).to_contain_text("not a WebAssembly module")


def test_address_of_a_case(page: Any, site: str) -> None:
    """SA-2: opening a case puts it into the address, which opens the page at it, with its build where that has one."""
    open_page(page, site, "?build=/builds/guest.wasm&filter=sampling#sampling/top-k-2")
    expect(page.locator("#outcome")).to_have_text(DONE, timeout=PATIENCE)
    opened = page.locator("#cases > li:has(> details[open])")
    expect(opened).to_have_attribute("data-id", "sampling/top-k-2")
    assert visible_on_screen(page, "#cases > li > details[open] > summary")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#cases details[open]").get_by_role("button", name="Copy link").click()
    expect(page.locator("#cases details[open]").get_by_role("button", name="Copied")).to_be_visible()
    address = urlsplit(page.evaluate("navigator.clipboard.readText()"))
    assert address.path.endswith(f"{SUB_PATH}/consume.html")
    assert address.query == "build=%2Fbuilds%2Fguest.wasm&filter=sampling"
    assert address.fragment == "sampling/top-k-2"
    page.evaluate("location.hash = 'sampling/ties-at-the-cut'")
    expect(opened).to_have_attribute("data-id", "sampling/ties-at-the-cut")


def test_address_of_a_case_without_a_build(page: Any, site: str) -> None:
    """SA-2: such an address shows what the case asks, and opens it again behind the run; a wrong one is named."""
    open_page(page, site, "?filter=sampling#sampling/top-k-2")
    expect(page.locator("#outcome")).to_have_text("sampling/top-k-2: pick a build to run it on")
    expect(page.locator("#cases details[open] .about")).to_contain_text("top_k")
    page.locator("#cases details[open] .steps summary").click()
    expect(page.locator("#cases details[open] .steps pre")).to_contain_text("set_sampling_config(")
    pick(page, MUTANT)
    expect(page.locator("#cases > li:has(> details[open])")).to_have_attribute("data-id", "sampling/top-k-2")
    page.goto("about:blank")
    open_page(page, site, "#no/case")
    expect(page.locator("#outcome")).to_have_text("these goldens have no case no/case")


def test_side_by_side_can_be_read(page: Any, site: str) -> None:
    """DG-3: words in the table and in the list of runs have a contrast of 4.5 or more, and nothing is wider."""
    open_page(page, site, "?filter=sampling/top-*")
    page.get_by_label("Build: pick").set_input_files([MUTANT, GUEST])
    expect(page.locator("#outcome")).to_have_text(re.compile("side by side"), timeout=PATIENCE)
    for width in (400, 800, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for selector in (
            "#matrix-table td button",
            "#matrix-table th",
            "#run-list button",
            "#matrix-count",
            "#outcome",
        ):
            for element in page.locator(f"{selector}:visible").all()[:4]:
                assert element.evaluate(CONTRAST) >= 4.5, (scheme, selector, element.inner_text())
