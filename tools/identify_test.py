"""Measure `identify` on random legal builds: what is found against the truth that stands beside each module.

    python tests/guest/random_builds.py --random 20 --seed 7 --out DIR          # or --with-bug known
    python tools/identify_test.py DIR [--compare] [--json]

Each build is identified; every option, field, text and feature is held against the truth. `--compare` then runs the
whole battery under the profile that was found and counts the generated tokens. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from refruntime.battery.catalogue import default_battery
from refruntime.battery.features import feature_finder
from refruntime.contract.dialect import place_of
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.identify.ask import Memory, identify
from refruntime.identify.identification import Identification
from refruntime.identify.sealed_engine import fit_build
from refruntime.numerics import CompiledSeq32

UNSEEN = ("GG-6", "GG-7", *(switch.key for switch in Profile.switches() if switch.rule == "GG-12"))
"""What shows in GGUF alone, which a build need not have."""


@dataclass
class Outcome:
    """What was wrong about one build, and what it cost.

    `told` says of a seeded bug: `named` (its rule is broken), `another rule`, `by the comparison alone`, or `missed`.
    """

    name: str
    wrong: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    true_bug: str = ""
    told: str = ""
    seconds: float = 0.0
    tokens: int = 0
    differing: list[str] = field(default_factory=list)


def examine(path: Path, memory: Memory, *, compare: bool) -> Outcome:
    """Identify one build and hold what was found against its truth."""
    truth = json.loads(path.with_name(path.name + ".json").read_text("utf-8"))
    module = path.read_bytes()
    compiled = WasmModule(module)
    numerics = CompiledSeq32()
    fresh = partial(WasmEngine, compiled)
    began = time.perf_counter()
    found = identify(module, fresh, numerics, name=path.name, memory=memory)
    outcome = Outcome(path.name, seconds=time.perf_counter() - began)
    bug = truth.get("bug")
    outcome.true_bug = json.dumps(bug) if bug else ""
    outcome.bugs = [bug.line for bug in found.bugs]
    if found.problem:
        if bug and bug["rule"] == "SL-5":  # no file can be made for such a build, and it says why
            outcome.told = "named"
        else:
            outcome.wrong.append(found.problem)
        return outcome
    _options(found, truth, outcome)
    _fields(found, truth, outcome)
    if not bug:
        outcome.wrong += [f"a bug in a right build: {line}" for line in outcome.bugs]
    if Profile.from_toml(found.profile.to_toml()) != found.profile:
        outcome.wrong.append("the profile does not read back")
    if compare:
        fitting = fit_build(module, fresh, found.profile)
        oracle = Oracle(fitting.profile, numerics)
        suite = Suite(fitting.fresh, oracle, features=feature_finder(fitting.fresh, oracle.profile))
        result = suite.run(default_battery(fitting.profile, {}))
        outcome.tokens = result.total.tokens
        outcome.differing = [case.case.name for case in result.cases if case.verdict not in FINE]
        if outcome.differing and not bug:
            outcome.wrong.append(f"{len(outcome.differing)} cases differ, such as {outcome.differing[0]}")
    if bug:
        rules = [each.rule for each in found.bugs]
        outcome.told = "named" if bug["rule"] in rules else "another rule" if rules else "missed"
        if outcome.told == "missed" and outcome.differing:
            outcome.told = "by the comparison alone"
    return outcome


def _options(found: Identification, truth: Mapping[str, Any], outcome: Outcome) -> None:
    """An observed option must be the true one; one that is assumed must be no other than the default."""
    declared, default = truth["declared"], Profile().choices()
    seen = {item.key for item in found.learnt if item.status == "observed"}
    if not truth.get("bug") and "gguf" not in truth["without"] and not {"GG-6", "GG-7"} <= seen:
        outcome.wrong.append("what ends a generation, or the largest context, is not observed")
    for item in found.learnt:
        right = declared.get(item.key, default[item.key])
        if item.status == "observed" and item.value != right:
            outcome.wrong.append(f"{item.key}: observed {item.value}, true {right}")
        elif item.status == "assumed":
            outcome.assumed.append(item.key)
            behind = item.key in ("PR-4.load", "PR-4.reset") and declared.get("PR-4.generate") == "reseeded"
            if item.value != right and not behind and item.key not in UNSEEN and not truth.get("bug"):
                outcome.wrong.append(f"{item.key}: assumed {item.value}, true {right}")


def _fields(found: Identification, truth: Mapping[str, Any], outcome: Outcome) -> None:
    """A field must lie where it is; one that is always 0 may be open, parts may lie below their place."""
    for name, path in truth["fields"].items():
        item = found.fields[name]
        place = place_of(tuple(path)) if path else ""
        constant = item.status == "assumed" and not item.place
        if (
            item.place != place
            and not constant
            and not item.place.startswith(_pointer(place))
            and item.reason != "in parts"
        ):
            outcome.wrong.append(f"{name}: found at {item.place!r}, true {place!r}")


def _pointer(place: str) -> str:
    return (place if place.startswith("/") else "/" + place) + "/"


def _lines(outcome: Outcome) -> list[str]:
    lines = [
        f"{outcome.name}  {outcome.seconds:.1f} s  {outcome.tokens} tokens  {'; '.join(outcome.wrong) or 'right'}"
        f"  assumed: {', '.join(outcome.assumed) or 'nothing'}"
    ]
    if outcome.true_bug or outcome.bugs:
        lines += [f"  true bug {outcome.true_bug}", f"  {outcome.told}: " + "\n           ".join(outcome.bugs)]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine every module of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--compare", action="store_true", help="run the whole battery under the profile too")
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args(arguments)
    memory = Memory()
    outcomes = []
    for path in sorted(parsed.folder.glob("*.wasm")):
        outcome = examine(path, memory, compare=parsed.compare)
        outcomes.append(outcome)
        if not parsed.json:
            print("\n".join(_lines(outcome)), flush=True)
    if parsed.json:
        print(json.dumps([outcome.__dict__ for outcome in outcomes], indent=1))
    told = Counter(outcome.told for outcome in outcomes if outcome.told)
    if told:
        print("bugs: " + ", ".join(f"{count} {word}" for word, count in told.most_common()))
    print(f"{sum(not outcome.wrong for outcome in outcomes)} of {len(outcomes)} builds right")
    return int(any(outcome.wrong for outcome in outcomes) or not outcomes)


if __name__ == "__main__":
    raise SystemExit(main())
