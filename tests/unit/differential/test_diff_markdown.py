"""The report as Markdown: complete, and nothing that a build says is markup in it."""

from __future__ import annotations

import re

from refruntime import Profile
from refruntime.battery.models.slm1 import story_model
from refruntime.cases.steps import RESET, Case, Generate, Load
from refruntime.differential.report.about import About
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.show.markdown import markdown_report
from tests.support.builds import HIDDEN_LOGITS, changed_build

PROFILE = Profile()
STORY = {"story": story_model(PROFILE)}
FINE = Case("good/fine", (Load("story"), Generate(b"a", 2)), STORY, ("GEN-5",))
RESETTING = Case("bad/<b>```", (Load("story"), Generate(b"a", 3), RESET, RESET), STORY, ("ST-5",))
HOSTILE = "<script>x</script> | `a` **b**\n# c\u202e"


def test_a_build_with_differences() -> None:
    """ST-5: verdicts by family, the first difference in full, the next folded, what was not compared, the command."""
    build = changed_build(Profile(reset_result="unchanged", **HIDDEN_LOGITS))  # type: ignore[arg-type]
    suite = Suite(build, Oracle()).run([FINE, RESETTING, RESETTING])
    about = About(HOSTILE, "ab" * 32, PROFILE, command="refruntime diff b.wasm", filters=("bad/*",))
    text = markdown_report(suite, about)
    lines = text.splitlines()
    head = "\u274c \\<script\\>x\\</script\\> \\| \\`a\\` \\*\\*b\\*\\* \\# c\\\\u\\{202e\\}: not fine"
    assert lines[0] == f"## {head}"
    assert "| bad | 2 | 6 |  | 2 |" in lines
    assert "### First difference: bad/\\<b\\>\\`\\`\\`" in lines
    assert "<details><summary>MISMATCH bad/&lt;b&gt;```</summary>" in lines
    assert "refruntime diff b.wasm --filter 'bad/*'" in lines
    assert any(line.startswith("Not compared, because the build does not show it: ") for line in lines)
    outside = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script>" not in outside
    assert re.findall(r"^````text$", text, re.MULTILINE) == ["````text"] * 2  # a fence longer than any in the case


def test_a_right_build() -> None:
    """GEN-5: nothing is shown that is not there."""
    text = markdown_report(Suite(changed_build(), Oracle()).run([FINE]), About("build.wasm", "ab" * 32, PROFILE))
    assert text.startswith("## \u2705 build.wasm: fine\n")
    assert "First difference" not in text
    assert "Not compared" not in text
