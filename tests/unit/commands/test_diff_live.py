"""What a person sees of `refruntime diff` while it runs: at once, aligned, with a way to go on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from refruntime import Profile
from refruntime.battery.models.slm1 import story_model
from refruntime.cases.steps import RESET, Case, Generate, Load
from refruntime.cli import main
from refruntime.commands.diff.live import QUIET, VERBOSE, Live, coloured
from refruntime.commands.diff.selection import LastRun, unknown_filter
from refruntime.differential.compare import Difference
from refruntime.differential.report.about import About
from refruntime.differential.report.case import cause_lines, go_on, sentence
from refruntime.differential.report.values import SHOWN_ROWS, difference_lines
from refruntime.differential.run import Oracle, PairRun
from refruntime.differential.suite import Suite
from refruntime.hypotheses.explain import CauseExplanation, Explainer
from tests.support.builds import GUEST, MUTANTS, changed_build

NOT_ASKED = ("--identify", "never")
STORY = {"story": story_model(Profile())}
FINE = Case("good/fine", (Load("story"), Generate(b"a", 2)), STORY, ("GEN-5",))
BAD = Case("state/reset", (Load("story"), Generate(b"a", 3), RESET), STORY, ("ST-5",))
ABOUT = About("build.wasm", "ab" * 32, Profile(), path="builds/build.wasm", options=("--profile", "my own.toml"))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remember failed cases in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def lines_of(field: str, mine: Any, theirs: Any, most: int = SHOWN_ROWS) -> list[str]:
    """Return the lines of one difference."""
    return list(difference_lines(Difference(0, field, mine, theirs), most))


# At once -------------------------------------------------------------------------------------------------------------


def test_divergence_is_written_before_its_causes_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    """ABI-5: what differs is on the screen when the search begins, and the causes come below it."""
    seen = []

    def explain(run: PairRun) -> CauseExplanation | None:
        seen.append(capsys.readouterr().out)
        return Explainer(Oracle())(run)

    live = Live(ABOUT)
    suite = Suite(changed_build(Profile(reset_result="unchanged")), Oracle(), explain)
    told: dict[str, Any] = {"before_explaining": live.before_explaining, "after_case": live.after_case}
    live.end(suite.run([FINE, BAD], **told))
    (before,) = seen
    assert "MISMATCH state/reset" in before
    assert '"bcd"' in before
    assert "repro" not in before
    after = capsys.readouterr().out
    assert after.startswith("  option    CONTRACT_GAP(ST-5 = unchanged)")
    assert "1 MATCH, 1 CONTRACT_GAP" in after


def test_interrupted_search_keeps_the_divergence(capsys: pytest.CaptureFixture[str]) -> None:
    """ABI-5: Ctrl-C while causes are searched counts the case, ends its block, and gives the summary."""

    def explain(_: PairRun) -> CauseExplanation | None:
        raise KeyboardInterrupt

    live = Live(ABOUT)
    suite = Suite(changed_build(Profile(reset_result="unchanged")), Oracle(), explain)
    told: dict[str, Any] = {"before_explaining": live.before_explaining, "after_case": live.after_case}
    result = suite.run([FINE, BAD, FINE], **told)
    live.end(result)
    out = capsys.readouterr().out
    assert (result.exit_code, result.skipped) == (130, 1)
    assert out.index("MISMATCH state/reset") < out.index("  repro") < out.index("1 MATCH, 1 MISMATCH")
    assert "1 cases did not run, because the run was interrupted" in out


@pytest.mark.parametrize(("verbosity", "blocks", "named"), [(QUIET, 0, 1), (0, 1, 1), (VERBOSE, 1, 3)])
def test_verbosity(capsys: pytest.CaptureFixture[str], verbosity: int, blocks: int, named: int) -> None:
    """ABI-5: quiet names what is not fine, verbose names every case; the sums are always there."""
    live = Live(ABOUT, verbosity)
    live.header()
    suite = Suite(changed_build(Profile(reset_result="unchanged")), Oracle())
    live.end(suite.run([FINE, BAD, FINE], after_case=live.after_case))
    out = capsys.readouterr().out
    assert out.count("bytes differ at offset") == blocks
    assert len(re.findall(r"^(MATCH|MISMATCH) \w+/", out, re.MULTILINE)) == named
    assert ("sha256" in out) == (verbosity != QUIET)
    assert "2 MATCH, 1 MISMATCH" in out


# Values --------------------------------------------------------------------------------------------------------------


def test_floats_are_aligned_with_their_bits() -> None:
    """DG-7: token, value and float32 bits stand below each other on both sides; a whole number there is a float too."""
    mine = [[32, 12.978738], [103, 5.559485], [7, 1.5]]
    heading, *rows = lines_of("top_tokens", mine, [[32, 13], [46, -6.108871], [7, 1.5]])
    assert heading.split() == ["top_tokens", "oracle", "build"]
    assert rows[0].split() == ["[0]", "32", "12.978738", "0x414fa8e9", "32", "13", "0x41500000"]
    assert rows[1].split() == ["[1]", "103", "5.559485", "0x40b1e74d", "46", "-6.108871", "0xc0c37bdf"]
    assert rows[2] == "    1 agree"
    assert [row.rindex("0x") for row in rows[:2]] == [rows[0].rindex("0x")] * 2
    assert heading.index("build") == rows[0].rindex("32")


def test_keys_stand_in_one_order() -> None:
    """DG-3: a build's order of keys changes nothing; keys that only one side has are said to be missing."""
    mine = {"min": -1.5, "max": 2.5, "mean": 0.5}
    rows = lines_of("logits_summary", mine, {"mean": 0.25, "other": 1, "min": -1.25})[1:]
    assert [row.split()[0] for row in rows] == ["min", "max", "mean", "other"]
    assert rows[1].split()[-1] == "(none)"
    assert "(none)" in rows[3]


def test_long_values_are_cut_between_numbers() -> None:
    """DG-6: of long lists the first parts that differ are shown, whole, and the others counted."""
    mine, theirs = list(range(10**9, 10**9 + 300)), list(range(10**9 + 1, 10**9 + 290))
    lines = lines_of("tokenizer_output", mine, theirs)
    assert lines[-1] == f"    {300 - SHOWN_ROWS} more differ"
    assert len(lines) == SHOWN_ROWS + 2
    assert all(re.fullmatch(r"\s+\[\d+\]\s+\d{10}\s+\d{10}", line) for line in lines[1:-1])
    assert len(lines_of("tokenizer_output", mine, theirs, 1000)) == 301
    (short,) = lines_of("kv_length", 3, 10**400)
    assert short.split()[-5:] == ["an", "integer", "of", "1329", "bits"]


@pytest.mark.parametrize("theirs", [None, "text\x1b[2J", float("nan"), [], {}, [[[[[[1]]]]]], {"a": {"b": [None]}}])
def test_any_value_of_a_build_is_shown(theirs: Any) -> None:
    """DG-6: a value of another type than the oracle's is shown, and none controls the terminal."""
    for mine in (3, [[1, 2.5]], {"min": 1.0}, "text"):
        lines = lines_of("field", mine, theirs)
        assert lines
        assert all(line.isprintable() for line in lines)


# How to go on --------------------------------------------------------------------------------------------------------


def test_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """ST-5: when no known cause fits, that is said, the nearest is named, and two commands lead on."""
    oracle = Oracle()
    explainer = Explainer(oracle, hypotheses=[h for h in Explainer(oracle).hypotheses if h.rule == "FW-6"][:1])
    suite = Suite(changed_build(Profile(reset_result="unchanged")), oracle, explainer)
    (result,) = suite.run([BAD]).cases
    text = cause_lines(result, ABOUT)
    assert any(line.startswith("  cause     none of ") for line in text)
    assert any(line.startswith("  nearest   none explains more") for line in text)
    commands = go_on(result, ABOUT)
    assert commands == [
        "refruntime repl --case state/reset --until 2 --wasm builds/build.wasm --profile 'my own.toml'",
        "refruntime diff builds/build.wasm --golden",
    ]
    assert f"  go on     {commands[0]}" in text
    assert any(line.startswith("  rule      ST-5  `reset_context` clears") for line in text)
    own = Case("generate/mine.slm1-greedy", BAD.steps, STORY, ("GEN-5",))
    (result,) = suite.run([own]).cases
    (first, _) = go_on(result, About("b", "", Profile(), path="b.wasm", models=("models/mine.slm1",)))
    assert first == "refruntime witness b.wasm --model models/mine.slm1"


@pytest.mark.slow
def test_way_to_go_on_works(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """ST-5: the commands that a report proposes for a build run as they are written."""
    build = MUTANTS["reset_keeps_kv"]
    assert main(["diff", str(build), "--filter", "state/continuing-reset", "--no-explain"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  go on")]
    words = shlex.split(line.removeprefix("  go on"))
    with open("/dev/null") as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert main(words[1:]) == 0


def test_sentences_of_rules() -> None:
    """FW-6: a rule is cited with its first sentence, not with a part of one."""
    assert sentence("SL-4") == "FNV-1a 64: 0xcbf29ce484222325, prime 0x100000001b3."
    assert sentence("FW-6").startswith("attention: `s_t = ")


def test_colour() -> None:
    """ABI-5: a verdict and the labels stand out; nothing else of a line changes."""
    assert coloured("MISMATCH a/b [x]") == "\x1b[31m\x1b[1mMISMATCH\x1b[0m a/b [x]"
    plain = "  first     scores differ"
    assert re.sub(r"\x1b\[\d+m", "", coloured(plain)) == plain != coloured(plain)


# Which cases ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [[], ["--list"], ["--random", "3"], ["--golden"]])
def test_unknown_filter_is_an_error_everywhere(capsys: pytest.CaptureFixture[str], mode: list[str]) -> None:
    """ABI-5: exit code 2 with what is near, also beside a filter that fits."""
    fitting = "random" if "--random" in mode else "sampling" if "--golden" in mode else "sampler"
    code = main(["diff", str(GUEST), *mode, "--filter", fitting, "--filter", f"{fitting[:3]}{fitting[4:]}"])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert f"Did you mean '{fitting}" in captured.err


def test_suggestions() -> None:
    """GEN-10: families, rules and names are suggested; nothing is where nothing is near."""
    cases = {"state/ready-reset": ("ST-5",), "sampler/draw": ("SA-2",)}
    assert "'state/ready-reset'" in unknown_filter("state/redy-reset", cases)
    assert "'SA-2'" in unknown_filter("sa-2", cases)
    assert "'sampler/draw'" in unknown_filter("draw", cases)
    assert "Did you mean" not in unknown_filter("zzzzzz", cases)
    assert "Families are state, sampler" in unknown_filter("zzzzzz", cases)


def test_last_failed_and_max_fail(capsys: pytest.CaptureFixture[str]) -> None:
    """ST-5: what failed runs again alone; what did not run is still known; a fixed build has nothing to repeat."""
    build, chosen = str(MUTANTS["reset_keeps_kv"]), ["--filter", "state/*-reset", "-q", "--no-explain", *NOT_ASKED]
    assert main(["diff", build, *chosen, "--max-fail", "2"]) == 1
    out = capsys.readouterr().out
    assert out.count("MISMATCH state/") == 2
    assert main(["diff", build, "--last-failed", "-q", "--no-explain", *NOT_ASKED]) == 1
    again = capsys.readouterr().out.splitlines()
    assert again[-1].startswith("2 cases")
    assert again[:2] == out.splitlines()[:2]
    assert main(["diff", str(GUEST), "--last-failed", *chosen]) == 0
    assert "no earlier run" in capsys.readouterr().err
    assert main(["diff", str(GUEST), "--last-failed", *chosen]) == 2
    assert "none of these cases failed" in capsys.readouterr().err


def test_remembering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-5: a case that did not run stays failed, another kind of comparison is apart, bad files are no trouble."""
    last = LastRun(tmp_path / "build.wasm", "battery")
    last.remember(["a", "b", "c"], ["a", "c"])
    last.remember(["a"], [])
    assert last.failed() == {"c"}
    assert LastRun(tmp_path / "build.wasm", "golden").failed() is None
    last.path.write_text("{")
    assert last.failed() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    last.remember(["a"], ["a"])
    assert last.failed() is None
