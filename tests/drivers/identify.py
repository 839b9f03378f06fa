"""Measure `identify` on random legal builds: what is found against the truth that stands beside each module.

    python tests/guest/random_builds.py --random 20 --seed 7 --out DIR          # or --with-bug known
    python tests/drivers/identify.py DIR [--compare TOKENS | --battery] [--jobs N] [--only NAME] [--json]

Each build is identified; every option, field, text and feature is held against the truth. `--compare` then runs cases
of the battery under the profile that was found, those that `identify` did not ask and as many more as generate that
many tokens; `--battery` runs the whole battery instead. What came out is kept beside each module (MODULE.outcome.json)
until the sources of the package change, so that a run which was stopped goes on where it was. Exit code 1 when anything
is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from refruntime.battery.catalogue import default_battery, generation_models
from refruntime.battery.features import feature_finder
from refruntime.battery.random_sessions import random_sessions
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
from refruntime.resources import sources_hash

UNSEEN = ("GG-6", "GG-7", *(switch.key for switch in Profile.switches() if switch.rule in ("GG-12", "GG-15")))
"""What shows in GGUF alone, which a build need not have."""
BEHIND = ("PR-4.load", "PR-4.reset")
"""What shows only where a generate does not reseed the generator."""
OF_SCALES = ("FW-4", "SL-6")
"""What concerns scales of SLM1 alone, so that a build without q8_0 and q4_0 has no such option."""
LAST_BITS = "FW-4"
"""What shows in logits alone; a build that shows none has it listed as open."""
SESSIONS, MOST_SEEDS = 40, 20
"""Random sessions that are compared when the battery has not tokens enough for a build that lacks features."""
WHOLE = -1
"""Tokens to compare, where the whole battery is compared and no random session."""
NUMERICS = CompiledSeq32()
"""One for all builds, so that what it bound for one serves the next."""
BATCHES = 10
"""Parts of the battery, each spread over all of it; a part more is compared while tokens are wanting."""


@dataclass
class Outcome:
    """What was wrong about one build, and what it cost.

    `told` says of a seeded bug: `named` (its rule is broken), `another rule`, `by the comparison` (a case of its rule
    differs), `by a case of another rule`, or `missed`.
    """

    name: str
    wrong: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    true_bug: str = ""
    told: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    tokens: int = 0
    differing: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    key: str = ""


def examine(path: Path, memory: Memory, tokens: int = 0) -> Outcome:
    """Identify one build and hold what was found against its truth; compare until `tokens` were generated."""
    truth = json.loads(path.with_name(path.name + ".json").read_text("utf-8"))
    module = path.read_bytes()
    compiled = WasmModule(module)
    fresh = partial(WasmEngine, compiled)
    began, began_cpu = time.perf_counter(), time.process_time()
    found = identify(module, fresh, NUMERICS, name=path.name, memory=memory)
    outcome = Outcome(path.name, seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - began_cpu)
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
    rules = [each.rule for each in found.bugs]
    if bug:
        right = {bug["rule"], *bug.get("also", ())}  # of bugs of the exam: rules that are right, too
        outcome.told = "named" if right & set(rules) else "another rule" if rules else "missed"
    if tokens and (not bug or outcome.told == "missed"):
        _compare(module, fresh, found.profile, tokens, outcome)
    if outcome.differing and not bug:
        outcome.wrong.append(f"{len(outcome.differing)} cases differ, such as {outcome.differing[0]}")
    elif tokens and not bug and outcome.tokens < tokens:
        outcome.wrong.append(f"only {outcome.tokens} tokens were compared")
    elif outcome.differing and outcome.told == "missed":
        outcome.told = "by the comparison" if bug["rule"] in outcome.rules else "by a case of another rule"
    return outcome


def _compare(module: bytes, fresh: Any, profile: Profile, tokens: int, outcome: Outcome) -> None:
    """Run cases under the profile that was found until so many tokens were generated, or there are no more."""
    fitting = fit_build(module, fresh, profile)
    oracle = Oracle(fitting.profile, CompiledSeq32())
    cases = default_battery(fitting.profile, {})
    numbers = [case for case in cases if case.name.startswith("generate/")]
    others = [case for case in cases if case not in numbers]
    features = feature_finder(fitting.fresh, oracle.profile)(cases)
    suite = Suite(fitting.fresh, oracle, features=lambda _: features)
    batches = [others[place::BATCHES] for place in range(BATCHES)]
    models = generation_models(fitting.profile)
    further = (tuple(random_sessions(seed, SESSIONS, models)) for seed in range(1, MOST_SEEDS + 1))
    for batch in chain([[*numbers, *batches[0]]], batches[1:], () if tokens == WHOLE else further):
        result = suite.run(batch)
        outcome.tokens += result.total.tokens
        wrong = [case.case for case in result.cases if case.verdict not in FINE]
        outcome.differing += [case.name for case in wrong]
        outcome.rules += [rule for case in wrong for rule in case.rules]
        if outcome.differing or (outcome.tokens >= tokens > WHOLE and not outcome.true_bug):
            break


def _options(found: Identification, truth: Mapping[str, Any], outcome: Outcome) -> None:
    """An observed option must be the true one; one that is assumed must be no other than the default."""
    declared, default = truth["declared"], Profile().choices()
    seen = {item.key for item in found.learnt if item.status == "observed"}
    shown = _shown_by_architectures(truth)
    outcome.wrong += [f"{key}: not observed, though the build has the architecture" for key in sorted(shown - seen)]
    if not truth.get("bug") and "gguf" not in truth["without"] and not {"GG-6", "GG-7"} <= seen:
        outcome.wrong.append("what ends a generation, or the largest context, is not observed")
    for item in found.learnt:
        right = declared.get(item.key, default[item.key])
        if item.status == "observed" and item.value != right:
            outcome.wrong.append(f"{item.key}: observed {item.value}, true {right}")
        elif item.status == "assumed":
            outcome.assumed.append(item.key)
            unseen = (
                (item.key in UNSEEN and item.key not in shown)
                or (item.key in BEHIND and declared.get("PR-4.generate") == "reseeded")
                or (item.key in OF_SCALES and {"q8_0", "q4_0"} <= set(truth["without"]))
                or (item.key == LAST_BITS and not _shows_logits(truth) and str(right) in item.reason)
            )
            if item.value != right and not unseen and not truth.get("bug"):
                outcome.wrong.append(f"{item.key}: assumed {item.value}, true {right}: {item.reason}")


def _shown_by_architectures(truth: Mapping[str, Any]) -> set[str]:
    """Return the switches that show in an architecture alone which the build has; a bug may hide them."""
    if truth.get("bug") or "gguf" in truth["without"]:
        return set()
    return {rule.replace(" ", ".") for rule in truth.get("architectures", {}).values()}


def _shows_logits(truth: Mapping[str, Any]) -> bool:
    """Say whether any number of a build's documents has the last bits of a logit."""
    lists = truth["fields"]["top_tokens"] and "form=top_tokens_without_logits" not in truth["choices"]
    return bool(lists or truth["fields"]["logits_summary"])


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
    cost = f"{outcome.seconds:.1f} s ({outcome.cpu_seconds:.1f} s of a processor)  {outcome.tokens} tokens"
    verdict = "; ".join(outcome.wrong) or "right"
    lines = [f"{outcome.name}  {cost}  {verdict}  assumed: {', '.join(outcome.assumed) or 'nothing'}"]
    if outcome.true_bug or outcome.bugs:
        lines += [f"  true bug {outcome.true_bug}", f"  {outcome.told}: " + "\n           ".join(outcome.bugs)]
        lines += [f"  differing: {', '.join(outcome.differing[:5])}"] if outcome.differing else []
    return lines


@cache
def _memory() -> Memory:
    """Return what a process keeps from one build to the next."""
    return Memory()


def outcome_of(path: Path, tokens: int) -> Outcome:
    """Return what came of a build, from beside it where the same sources have examined it so before."""
    module, truth = path.read_bytes(), path.with_name(path.name + ".json").read_bytes()
    parts = (sources_hash().encode(), Path(__file__).read_bytes(), str(tokens).encode(), module, truth)
    key = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    kept = path.with_name(path.name + ".outcome.json")
    if kept.exists():
        known = Outcome(**json.loads(kept.read_text("utf-8")))
        if known.key == key:
            return known
    outcome = examine(path, _memory(), tokens)
    outcome.key = key
    kept.write_text(json.dumps(asdict(outcome), indent=1) + "\n", "utf-8")
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine every module of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument(
        "--compare", type=int, default=0, metavar="TOKENS", help="generate and compare so many besides"
    )
    compared.add_argument(
        "--battery", dest="compare", action="store_const", const=WHOLE, help="compare the whole battery besides"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a memory of its own (default: 1)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only modules whose name has this in it")
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args(arguments)
    paths = sorted(parsed.folder.glob("*.wasm"))
    paths = [path for path in paths if not parsed.only or any(word in path.name for word in parsed.only)]
    outcomes = []
    with ProcessPoolExecutor(parsed.jobs) as pool:
        for outcome in pool.map(partial(outcome_of, tokens=parsed.compare), paths):
            outcomes.append(outcome)
            if not parsed.json:
                print("\n".join(_lines(outcome)), flush=True)
    if parsed.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    told = Counter(outcome.told for outcome in outcomes if outcome.told)
    if told:
        print("bugs: " + ", ".join(f"{count} {word}" for word, count in told.most_common()))
    print(f"{sum(not outcome.wrong for outcome in outcomes)} of {len(outcomes)} builds right")
    return int(any(outcome.wrong for outcome in outcomes) or not outcomes)


if __name__ == "__main__":
    raise SystemExit(main())
