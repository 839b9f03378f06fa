"""The page golden/consume.html in headless Chromium, from the file picker to the saved report.

Opt-in: `make test-browser`. With SAVE_SCREENSHOT=1 in the environment docs/browser.png is written anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from refruntime.differential.verdict import FINE
from tests.consumers.chromium import (
    CONTRAST,
    DONE,
    PATIENCE,
    SUB_PATH,
    add_page,
    fresh_page,
    open_page,
    pick,
    saved_report,
    shown_ids,
    without_times,
)
from tests.consumers.golden_by_hand import INIT, OK, answering, case, write_goldens
from tests.consumers.node import PROJECT, run_node
from tests.consumers.sessions import GGUF, LOAD
from tests.consumers.static_site import serve
from tests.support import wat_modules
from tests.support.builds import GUEST, MUTANTS

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)
expect = playwright.expect

pytestmark = pytest.mark.browser

WRONG = ("top_k_off_by_one", "reset_keeps_kv", "attention_scale_hidden", "top_tokens_of_previous_step")
BUILDS: Mapping[str, Path] = {"guest": GUEST, **{name: MUTANTS[name] for name in WRONG}}
"""A right build, and a bug each of sampler, state, arithmetic, diagnostics; Node judges all, by the same code."""
MUTANT = MUTANTS["top_k_off_by_one"]
SCREENSHOT = PROJECT / "docs" / "browser.png"

SLOWEST_ANSWER = """
() => new Promise((resolve) => {
  let slowest = 0, before = performance.now();
  const tick = () => {
    const now = performance.now();
    slowest = Math.max(slowest, now - before);
    before = now;
    if (now - start < 600) setTimeout(tick, 10); else resolve(slowest);
  };
  const start = before;
  tick();
})
"""


@pytest.fixture(scope="module")
def used_page(chromium: Any, site: str) -> Iterator[Any]:
    """A page that one build after the other is given to, as a person does who tries changes."""
    with fresh_page(chromium) as page:
        open_page(page, site)
        yield page


@pytest.mark.parametrize("name", BUILDS)
def test_same_report_as_node(used_page: Any, goldens: Path, name: str) -> None:
    """ABI-1, ABI-5: the saved report of the page is that of Node on every case, down to the last field."""
    pick(used_page, BUILDS[name])
    report = saved_report(used_page)
    assert without_times(report) == without_times(run_node(BUILDS[name], "--golden", goldens, "--json").report)
    assert report["exit_code"] == (0 if name == "guest" else 1)
    assert shown_ids(used_page) == [
        entry["id"] for entry in report["cases"] if name == "guest" or entry["verdict"] not in FINE
    ]


def test_filters(page: Any, site: str, goldens: Path) -> None:
    """DG-3: cases are filtered by family, verdict and text; a count in the table shows its cases."""
    open_page(page, site, "?filter=memory&filter=sampling")
    pick(page, MUTANT)
    report = run_node(MUTANT, "--golden", goldens, "--json", "--filter", "memory", "--filter", "sampling").report
    failing = [entry["id"] for entry in report["cases"] if entry["verdict"] not in FINE]
    assert shown_ids(page) == failing
    page.get_by_label("Verdict").select_option("all")
    page.get_by_label("Family").select_option("memory")
    memory = [entry["id"] for entry in report["cases"] if entry["id"].startswith("memory/")]
    assert shown_ids(page) == memory
    page.get_by_label("Text").fill("TRAP")
    assert shown_ids(page) == [identifier for identifier in memory if identifier in shown_ids(page)] != memory
    expect(page.locator("#count")).to_have_text(f"{len(shown_ids(page))} of {len(report['cases'])} shown")
    verdict = next(entry["verdict"] for entry in report["cases"] if entry["id"] == failing[0])
    page.get_by_role("button", name=re.compile(f"show .* {verdict} of all")).click()
    assert shown_ids(page) == failing


def test_first_divergence_in_full(page: Any, site: str, goldens: Path) -> None:
    """SA-5, SA-6: an opened case tells step, call, both texts and the sampler's stages, as the report of Node does."""
    open_page(page, site, "?filter=sampling/top-p-reached-at-0.5")
    pick(page, MUTANT)
    text = page.locator("#cases > li > details[open] > pre").inner_text()
    told = run_node(MUTANT, "--golden", goldens, "--filter", "sampling/top-p-reached-at-0.5").out.splitlines()
    lines = [line[2:] for line in told if line.startswith("  ")]
    assert len(lines) > 10
    assert [line.rstrip() for line in text.splitlines()][: len(lines)] == [line.rstrip() for line in lines]
    assert {"sampler", "SA-5"} <= set(text.split())


def test_query_runs_by_itself(page: Any, site: str, goldens: Path) -> None:
    """ABI-5: `?build=&filter=` runs without a hand, from below a sub-path."""
    open_page(page, site, "?build=/builds/guest.wasm&filter=abi&filter=MEM-1")
    expect(page.locator("#outcome")).to_have_text(DONE, timeout=PATIENCE)
    filtered = run_node(GUEST, "--golden", goldens, "--json", "--filter", "abi", "--filter", "MEM-1").report
    assert without_times(saved_report(page)) == without_times(filtered)


def test_dropped_files(page: Any, site: str) -> None:
    """ABI-1: a build that is dropped on the page runs like one that was picked; two stand side by side."""
    open_page(page, site, "?filter=abi")
    drop = """async ([address, names]) => {
          const bytes = await (await fetch(address)).arrayBuffer();
          const data = new DataTransfer();
          for (const name of names) data.items.add(new File([bytes], name));
          for (const type of ["dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
          }
        }"""
    page.evaluate(drop, [f"{site}builds/guest.wasm", ["dropped.wasm"]])
    expect(page.locator("#outcome")).to_have_text(DONE, timeout=PATIENCE)
    assert saved_report(page)["build"]["name"] == "dropped.wasm"
    page.evaluate(drop, [f"{site}builds/guest.wasm", ["one.wasm", "two.wasm"]])
    expect(page.locator("#outcome")).to_have_text("2 builds side by side, all fine", timeout=PATIENCE)
    expect(page.locator("#matrix-table thead th")).to_have_text(["case", "2 one.wasm", "3 two.wasm"])


def test_keyboard_only(page: Any, site: str) -> None:
    """DG-3: picking, filtering, running, reading and saving need no mouse, and focus is always visible."""
    page.on("filechooser", lambda chooser: chooser.set_files(MUTANT))  # from the beginning: no dialog may escape it
    open_page(page, site, "?filter=abi")
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#outcome")).to_have_text(DONE, timeout=PATIENCE)
    expect(page.locator("#file")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("SA-5 memory")  # what is there is selected, so this replaces it
    page.keyboard.press("Enter")
    expect(page.locator("#bar")).to_be_hidden(timeout=PATIENCE)
    expect(page.locator("#outcome")).to_have_text(re.compile("NOT FINE"), timeout=PATIENCE)
    shown = page.locator("#cases > li > details[open] > pre")
    expect(shown).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.tagName + ' ' + (document.activeElement.id || '')")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", focused
        if page.evaluate("document.activeElement.matches('#cases > li > details > summary')"):
            break
    page.keyboard.press("Enter")
    expect(shown).to_be_hidden()
    page.keyboard.press("Enter")
    assert "sampler" in shown.inner_text()
    for _ in range(60):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.id") == "save":
            break
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert json.loads(Path(download.value.path()).read_text())["exit_code"] == 1


def test_everything_has_a_name(page: Any, site: str) -> None:
    """DG-3: every control has an accessible name, and what happens is announced."""
    open_page(page, site, "?filter=abi")
    pick(page, GUEST)
    nameless = page.evaluate(
        """() => Array.from(document.querySelectorAll("input, select, button, progress"), (element) => [
          element.outerHTML, element.labels?.length || element.ariaLabel || element.textContent.trim(),
        ]).filter(([, name]) => !name)"""
    )
    assert nameless == []
    expect(page.get_by_role("status").first).to_have_text(DONE)
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.fixture
def looping_site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of goldens of 40 cases, and a build that loops in those that call `generate`."""
    golden = write_goldens(
        tmp_path / SUB_PATH,
        {
            **{f"abi/quick-{number}": (case(INIT), [OK]) for number in range(10, 40)},
            **{
                f"loop/case-{number}": (
                    case({"generate": {"prompt": {"text": "a"}, "max_new_tokens": 1}}),
                    [{"status": "Ok", "result": ""}],
                )
                for number in range(10)
            },
        },
    )
    add_page(golden)
    build = tmp_path / "loop.wasm"
    build.write_bytes(answering(generate=wat_modules.FOREVER))
    server = serve(tmp_path)
    yield f"http://127.0.0.1:{server.server_address[1]}/", build
    server.shutdown()
    server.server_close()


def test_stop_while_the_build_loops(page: Any, looping_site: tuple[str, Path]) -> None:
    """ABI-4: while a build loops the page answers; Stop ends it at once, and what ran stays shown."""
    site, build = looping_site
    open_page(page, site, "?timeout=600")
    page.get_by_label("Build: pick").set_input_files(build)
    expect(page.locator("#current")).to_have_text(re.compile("^30 of 40"), timeout=PATIENCE)
    assert page.evaluate(SLOWEST_ANSWER) < 500
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#outcome")).to_have_text(re.compile("^stopped after 31 of 40 cases; NOT FINE"), timeout=5000)
    page.get_by_label("Verdict").select_option("all")
    assert len(shown_ids(page)) == 31
    report = saved_report(page)
    assert [entry["verdict"] for entry in report["cases"]] == ["MATCH"] * 30 + ["POISONED"]
    assert report["cases"][-1]["reason"] == "stopped by hand"
    assert report["exit_code"] == 1
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    page.get_by_label("Only cases that fit").fill("abi")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#outcome")).to_have_text(re.compile("^fine: 30 cases"), timeout=PATIENCE)


def test_limits(page: Any, looping_site: tuple[str, Path], tmp_path: Path) -> None:
    """ABI-4: the page stops looping calls by itself, and gives a build up that always loops, as Node does."""
    site, build = looping_site
    open_page(page, site, "?timeout=0.3")
    pick(page, build)
    node = run_node(build, "--golden", tmp_path / SUB_PATH, "--timeout", "0.3", "--json").report
    assert without_times(saved_report(page)) == without_times(node)
    assert node["summary"]["verdicts"] == {"MATCH": 30, "POISONED": 10}


def test_a_new_file_takes_over(page: Any, looping_site: tuple[str, Path], tmp_path: Path) -> None:
    """ABI-4: picking another build ends the run that goes on."""
    site, build = looping_site
    open_page(page, site, "?timeout=600&filter=abi&filter=loop/case-1")
    page.get_by_label("Build: pick").set_input_files(build)
    expect(page.locator("#current")).to_have_text(re.compile("^30 of 31"), timeout=PATIENCE)
    (tmp_path / "other.wasm").write_bytes(answering())
    page.get_by_label("Build: pick").set_input_files(tmp_path / "other.wasm")
    expect(page.locator("#outcome")).to_have_text(re.compile("^fine: 31 cases"), timeout=PATIENCE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no module", "not a WebAssembly module"),
        (wat_modules.build(without="generate"), "does not have the surface"),
    ],
)
def test_unfit_builds(page: Any, site: str, tmp_path: Path, data: bytes, message: str) -> None:
    """ABI-1: what is no module, or no build, is said in plain words."""
    (tmp_path / "unfit.wasm").write_bytes(data)
    open_page(page, site)
    page.get_by_label("Build: pick").set_input_files(tmp_path / "unfit.wasm")
    expect(page.locator("#outcome")).to_have_text(re.compile(message), timeout=PATIENCE)


def test_what_is_absent(page: Any, tmp_path: Path) -> None:
    """ID-1: a feature whose plain file the build refuses is named with status and number of cases, as Node does."""
    session = case(LOAD, models={"file": {"file": "models/m"}})
    cases = {"abi/init": (case(INIT), [OK]), "abi/load": (session, [OK])}
    golden = write_goldens(
        tmp_path / SUB_PATH, cases, {"models/m": GGUF}, plain={"gguf": b"GGUF"}, needs={"abi/load": ["gguf"]}
    )
    add_page(golden)
    build = tmp_path / "without.wasm"
    build.write_bytes(answering(load_model="(i32.const 10)"))
    server = serve(tmp_path)
    open_page(page, f"http://127.0.0.1:{server.server_address[1]}/")
    pick(page, build)
    told = "absent, because the build refuses a plain file of it: gguf (UnsupportedDType, 1 cases)"
    assert told in run_node(build, "--golden", golden).out.splitlines()
    expect(page.locator("#absent-list")).to_have_text(told)
    expect(page.locator("#absent-count")).to_have_text("1 feature absent, 1 case not run")
    assert without_times(saved_report(page)) == without_times(run_node(build, "--golden", golden, "--json").report)
    page.get_by_label("Verdict").select_option("all")
    assert shown_ids(page) == ["abi/init", "abi/load"]
    server.shutdown()
    server.server_close()


def test_nothing_fits(page: Any, site: str) -> None:
    """ABI-5: a filter that fits no case is said."""
    open_page(page, site, "?build=/builds/guest.wasm&filter=nonsense")
    expect(page.locator("#outcome")).to_have_text("no case fits nonsense", timeout=PATIENCE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Any, site: str, scheme: str, tmp_path: Path) -> None:
    """DG-3: text has a contrast of 4.5 or more in both color schemes, and the page follows the user's choice."""
    wanted = scheme == "light" and os.environ.get("SAVE_SCREENSHOT")
    page.emulate_media(color_scheme=scheme)
    open_page(page, site, "" if wanted else "?filter=sampling&filter=memory")
    pick(page, MUTANT)
    page.get_by_label("Verdict").select_option("all")
    for selector in (
        "h1",
        ".quiet",
        "#outcome",
        "th",
        "td button",
        ".verdict",
        ".first",
        "#run",
        "#file",
        "#legend dd",
        "#legend dt",
        "#run-list .wrong",
        "label span",
    ):
        for element in page.locator(f"{selector}:visible").all()[:300:25]:
            assert element.evaluate(CONTRAST) >= 4.5, (selector, element.inner_text())
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part < 64)")
    assert is_dark == (scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_label("Verdict").select_option("not fine")
    picture = SCREENSHOT if wanted else tmp_path / f"{scheme}.png"
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=picture, full_page=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
