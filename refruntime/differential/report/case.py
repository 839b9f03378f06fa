"""One case for people: what differs, and below it what would explain it and how to go on."""

from __future__ import annotations

import math
import re
import shlex
from typing import Final

from refruntime.cases.steps import Generate, Step, describe
from refruntime.contract.rules import load_rules
from refruntime.differential.case_result import CaseResult
from refruntime.differential.margins import Flip
from refruntime.differential.report.about import About, row
from refruntime.differential.report.values import SHOWN_ROWS, difference_lines, visible
from refruntime.differential.suite import EXPLAINABLE

ALL_ROWS: Final = 1000
SHOWN_RULES: Final = 3
"""Rules of a case that are told with their sentence; of a longer list only the ids, unless all is asked for."""

_SENTENCE: Final = re.compile(r"(?:\([^()]*\)|.)+?[.;](?=\s|$)")
"""A sentence or a clause; what ends one inside of parentheses does not count."""


def case_lines(result: CaseResult, about: About, traceback: str = "") -> list[str]:
    """Return what happened in one case: the verdict, the first divergence, its causes, the way to see it again.

    `traceback` is the file that holds the traceback of a crash; without it the report shows the traceback itself.
    """
    return [*found_lines(result, about), *cause_lines(result, about, traceback)]


# What differs --------------------------------------------------------------------------------------------------------


def found_lines(result: CaseResult, about: About, *, everything: bool = False) -> list[str]:
    """Return the verdict and the first divergence of a case; with `everything` all parts of its values."""
    head = f"{result.verdict} {result.case.name} [{about.build}]"
    first = result.comparison.first
    if first is not None and first.index < len(result.case.steps):
        head += f"  step {first.index} {call_text(result.case.steps[first.index])}   ({_matched(first.index)})"
    lines = [head]
    if result.reason:
        lines.append(row("  reason", result.reason, 2))
    if result.flip is not None:
        lines += _flip_lines(result.flip)
    if first is not None:
        most = ALL_ROWS if everything else SHOWN_ROWS
        lines += [line for item in result.comparison.differences for line in difference_lines(item, most)]
    return lines


def call_text(step: Step) -> str:
    """Return a call in one line, a prompt as the text that it is."""
    if not isinstance(step, Generate):
        return describe(step)
    prompt = visible(step.prompt[:40]) + ("..." if len(step.prompt) > 40 else "")
    return f"generate({prompt}, {step.max_new_tokens})"


def _matched(index: int) -> str:
    return "no step before" if index == 0 else "step 0 matches" if index == 1 else f"steps 0-{index - 1} match"


def _flip_lines(flip: Flip) -> list[str]:
    sides = f"oracle {_token(flip.reference_token, flip.reference_text)}    build "
    unit = " of the mass" if flip.drawn else ""
    verdict = "a near tie, but the build's logits are known to the bit" if flip.near_tie else "not a near tie"
    margin = "none that rounding explains" if math.isinf(flip.margin) else f"{flip.margin:.1e}{unit}"
    return [
        row("  token", sides + _token(flip.build_token, flip.build_text), 2),
        row("  margin", f"{margin:<15}  band {flip.band:.1e}        {verdict}", 2),
    ]


def _token(token: int, text: bytes) -> str:
    return f"{token} {visible(text)}"


# What would explain it -----------------------------------------------------------------------------------------------


def cause_lines(result: CaseResult, about: About, traceback: str = "", *, everything: bool = False) -> list[str]:
    """Return what explains the divergence of a case, how to go on where nothing does, and how to see it again."""
    lines: list[str] = []
    explanation = result.explanation
    if explanation is not None:
        lines += [row("  " + label, text, 2) for label, text in explanation.lines if label != "rule"]
        lines += _rule_lines(dict.fromkeys(explanation.rules), everything=True)
    if result.verdict in EXPLAINABLE and (explanation is None or not explanation.rules):
        lines += [row("" if place else "  go on", words, 2) for place, words in enumerate(go_on(result, about))]
        lines += _rule_lines(dict.fromkeys(result.case.rules), everything=everything)
    if traceback:
        lines.append(row("  crash", f"{result.crash.rstrip().splitlines()[-1]}; traceback in {traceback}", 2))
    elif result.crash:
        lines += ["  " + line for line in result.crash.rstrip().splitlines()]
    rules = ", ".join(result.case.rules)
    lines.append(row("  repro", repro(result, about) + (f"   ({rules})" if rules else ""), 2))
    return lines


def repro(result: CaseResult, about: About) -> str:
    """Return the command that gives a case again."""
    return f"{about.command} --filter {shlex.quote(result.case.name)}"


def _rule_lines(identifiers: dict[str, None], *, everything: bool) -> list[str]:
    known = [identifier for identifier in identifiers if identifier in load_rules()]
    if len(known) > SHOWN_RULES and not everything:
        return []
    return [row("  rule", f"{identifier}  {sentence(identifier)}", 2) for identifier in known]


def sentence(identifier: str) -> str:
    """Return the first sentence of a rule."""
    text = " ".join(load_rules()[identifier].text.split())
    found = _SENTENCE.match(text)
    return text if found is None else found.group().rstrip(";")


def go_on(result: CaseResult, about: About) -> list[str]:
    """Return two commands that lead on from a divergence which nothing explains; none where the build cannot be run."""
    first = result.comparison.first
    if about.path is None or first is None:
        return []
    family, _, rest = result.case.name.partition("/")
    golden = shlex.join(["refruntime", "diff", about.path, "--golden"])
    for path in about.models:
        name = path.replace("\\", "/").rpartition("/")[2]
        if family == "generate" and rest.startswith(f"{name}-"):
            return [shlex.join(["refruntime", "witness", about.path, "--model", path, *about.options]), golden]
    if family == "random":
        return [golden]
    until = min(first.index, len(result.case.steps) - 1)
    words = ["refruntime", "repl", "--case", result.case.name, "--until", str(until), "--wasm", about.path]
    return [shlex.join([*words, *about.options]), golden]
