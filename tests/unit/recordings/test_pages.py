"""Reports as HTML pages: complete, self-contained, harmless whatever a build or a file says."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from refruntime import Profile
from refruntime.battery.models.slm1 import story_model, table_model
from refruntime.cases.steps import RESET, Case, Configure, Generate, Load
from refruntime.cli import main
from refruntime.differential.choice import first_choice
from refruntime.differential.report.about import About
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.golden.verification import Verification, VerifyFinding
from refruntime.show.page.diff import Extra, diff_page
from refruntime.show.page.forward_map import forward_map
from refruntime.show.page.pieces import rule_text
from refruntime.show.page.verify import verify_page
from tests.support.builds import HIDDEN_LOGITS, MUTANTS, changed_build

PROFILE = Profile()
STORY = {"story": story_model(PROFILE)}
EVEN = {"even": table_model({}, otherwise=dict.fromkeys(b"abcdefgh", 0.0), profile=PROFILE)}
FINE = Case("good/fine", (Load("story"), Generate(b"a", 2)), STORY, ("GEN-5",))
RESETTING = Case("bad/reset", (Load("story"), Generate(b"a", 3), RESET, RESET), STORY, ("ST-5",))
DRAWING = Case("bad/draw", (Load("even"), Configure(1.0, 8, 0.6, 9), Generate(b"-", 8)), EVEN, ("PR-1",))
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e&amp;"
ABOUT = About(HOSTILE, "ab" * 32, PROFILE, notes=(HOSTILE,), facts={"engine": HOSTILE}, path="b.wasm")


class _Reader(HTMLParser):
    """Collect tags with their attributes, and the text outside of style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in ("rect",) or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def read(page: bytes) -> _Reader:
    """Parse a page whose tags all close, and which neither loads nor links anything."""
    reader = _Reader()
    reader.feed(page.decode())
    assert not reader.open
    assert [tag for tag, _ in reader.tags].count("script") == 1
    for _, attributes in reader.tags:
        assert not attributes.keys() & {"src", "srcset", "onclick", "onerror", "action"}
        assert attributes.get("href", "data:,") == "data:,"
    assert not re.search(rb"https?:|url\(|@import", page)
    return reader


def test_page_of_a_comparison() -> None:
    """PR-1, ST-5: families, the difference, the choice, what was not compared, provenance, commands; all escaped."""
    oracle = Oracle()
    hidden: dict[str, Any] = HIDDEN_LOGITS
    build = changed_build(Profile(reset_result="unchanged", xorshift="7,9,8", **hidden))
    suite = Suite(build, oracle).run([FINE, DRAWING, RESETTING], max_fail=2)
    draw = suite.cases[1]
    assert draw.run is not None
    choice = first_choice(draw.run, oracle)
    assert choice is not None
    assert choice.build_token is not None
    assert choice.token != choice.build_token
    assert draw.flip is not None
    assert (choice.token, choice.build_token) == (draw.flip.reference_token, draw.flip.build_token)
    assert sum(each.kept for each in choice.candidates) == 5  # 0.6 of eight equal weights
    sources = {"ST-5": "observed", "PR-1": "assumed"}
    text = read(diff_page(suite, ABOUT, Extra(sources, choice))).text
    for said in (
        "not fine",
        "1 MATCH, 2 MISMATCH",
        "First difference: bad/draw",
        "XorShift64",
        f"the oracle takes token {choice.token}, the build token {choice.build_token}",
        "The coin",
        "bad/reset",
        "the build does not show this field",
        "they lie behind the first difference of their case",
        "observed",
        "refruntime diff --filter bad/draw",
        "refruntime repl --case bad/draw --until 2 --wasm b.wasm",
        "<script>alert(1)</script>\u241b[2J\\u{202e}&amp;",
    ):
        assert said in text, said


def test_page_of_a_clean_build() -> None:
    """ABI-5: nothing is shown that is not there, and everything that was compared is said."""
    suite = Suite(changed_build(), Oracle()).run([FINE])
    reader = read(diff_page(suite, About("build.wasm", "ab" * 32, PROFILE), Extra()))
    assert "fine" in reader.text
    assert "not fine" not in reader.text
    assert "Everything was compared." in reader.text
    assert "First difference" not in reader.text


def test_page_of_goldens() -> None:
    """ABI-5: each finding with what was expected and found, counted by family."""
    result = Verification()
    result.cases = 2
    result.findings = [
        VerifyFinding("cases/sampling/a/expect.json: $.x", "1", HOSTILE),
        VerifyFinding("INDEX.json", "2", "3"),
    ]
    reader = read(verify_page(result, HOSTILE, "refruntime verify", "1.0"))
    for said in ("not fine", "2 findings in 2 cases", "sampling", "index and files", "refruntime verify"):
        assert said in reader.text
    assert "Nothing was verified" in read(verify_page(Verification(), "x", "refruntime verify", "1.0")).text


def test_map_of_the_forward_pass() -> None:
    """FW-6: one cell for each tensor of each layer, the first wrong one marked, with its numbers."""
    events = [
        {"tensor": name, "state": state}
        for name, state in (
            ("token_embd", "equal"),
            ("blk.0.attn_q", "equal"),
            ("blk.0.attn.scores", "wrong"),
            ("blk.1.attn_q", "not seen"),
            ("blk.1.attn.scores", "not seen"),
        )
    ]
    first = {"tensor": "blk.0.attn.scores", "position": 1, "text": HOSTILE, "pattern": "constant factor"}
    first |= {"expected": [0.5], "found": [0.25], "elements": [[0, 1]]}
    html = forward_map({"first": first, "events": events, "verdict": "wrong", "position": 1})
    assert len(re.findall(r'<i class="first wrong" title="blk.0.attn.scores: wrong">x</i>', html)) == 1
    assert html.count('class="nothing" title=') == 2
    assert "0.25" in html
    assert "[0, 1]" in html
    assert "<script>" not in html


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("SA-2", "(D; <em>options: lower id first, higher id first</em>)"),
        ("CL-sampler", "(xorshift64*)"),
        ("PR-4", "<em>options for load, reset, generate: untouched, reseeded from the configured seed</em>"),
        ("FW-7", "</code></bdi>; hidden = silu(gate) * up"),
    ],
)
def test_marks_of_a_rule_are_what_they_mean(rule: str, said: str) -> None:
    """ABI-5: options stand in italics, code as code, and an asterisk of a name or a product stays."""
    assert said in rule_text(rule)


@pytest.mark.slow
def test_what_lay_beside_the_cause_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SA-2: where a bug of the sampler explains every step, no number before the sampler is called wrong."""
    path = tmp_path / "report.html"
    words = ["--identify", "never", "--filter", "sampler/slope-top-k-1", "-q", "--html", str(path)]
    assert main(["diff", str(MUTANTS["top_k_off_by_one"]), *words]) == 1
    capsys.readouterr()
    text = read(path.read_bytes()).text
    assert "one candidate more than top_k is retained" in text
    assert set(re.findall(r"WRONG (\S+)", text)) <= {"sampler.choice"}  # the map is shown where it says the same


@pytest.mark.parametrize("extra", [[], ["--golden"]])
def test_commands_write_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str]) -> None:
    """ST-5: `--html` writes the page beside the report, for the battery and for goldens; the exit code stays."""
    chosen = "state/continuing-reset" if not extra else "generate"
    path = tmp_path / "report.html"
    words = [str(MUTANTS["reset_keeps_kv"]), *extra, "--filter", chosen, "--no-explain", "-q", "--html", str(path)]
    code = main(["diff", *words])
    capsys.readouterr()
    text = read(path.read_bytes()).text
    assert code == int("not fine" in text)
    assert "guest-bug-reset_keeps_kv.wasm" in text
    assert "sha256" in text


def test_the_page_of_a_wrong_build_shows_where_its_memory_goes_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FW-6: the map of the forward pass that the witness saw frames the first wrong tensor."""
    path = tmp_path / "report.html"
    assert (
        main(
            [
                "diff",
                str(MUTANTS["attention_scale_hidden"]),
                "--filter",
                "generate/slm1-f32-greedy",
                "-q",
                "--html",
                str(path),
            ]
        )
        == 1
    )
    capsys.readouterr()
    html = path.read_text(encoding="utf-8")
    assert len(re.findall(r'<i class="first wrong" title="blk.0.attn.scores: wrong">x</i>', html)) == 1
    assert "WRONG blk.0.attn.scores at position 1: all 2 of head 0 and the others times 0.5000000" in html


def test_page_of_goldens_shows_the_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SA-2: without the oracle's answers in the run too, the sampler's candidates, the whole rule, the same command."""
    path = tmp_path / "report.html"
    build = str(MUTANTS["top_k_off_by_one"])
    assert main(["diff", build, "--golden", "--filter", "sampling/top-k-[12]", "-q", "--html", str(path)]) == 1
    capsys.readouterr()
    page = path.read_bytes().decode()
    text = read(page.encode()).text
    assert f"refruntime diff {build} --golden --filter 'sampling/top-k-[12]'" in text
    assert f"refruntime repl --case sampling/top-k-1 --until 2 --wasm {build}" in text
    for said in ("The coin ", "is not among the retained ones", "Equal logits: lower id first", "differ at offset "):
        assert said in text, said
    assert re.search(r"<mark>[a-z]+&quot;</mark>", page)


def test_compare_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FW-4: divergence, positions, layers and the command stand in the page."""
    path = tmp_path / "compare.html"
    words = ["stories.q8_0.slm1", "--requantize", "q4_0", "--text", "Once upon a time", "--html", str(path)]
    assert main(["compare", *words]) == 0
    capsys.readouterr()
    text = read(path.read_bytes()).text
    for said in ("KL divergence A to B, mean", "Position by position", "--requantize q4_0", "were compared."):
        assert said in text
