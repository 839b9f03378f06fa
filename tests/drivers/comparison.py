"""Test the comparison itself: every seeded bug of the guest must be caught, and most must be named.

    python tests/drivers/comparison.py                 # builds every variant of tests/guest; needs rustc for wasm32
    python tests/drivers/comparison.py --modules DIR   # takes the modules that `tests/guest/build.py --out DIR` made
    python tests/drivers/comparison.py --only rope_reversed --only sc3_no

For every bug: how many cases of the battery are not fine, and which hypothesis explains most of them. For every option
of a declared rule: which gap is found, and whether the build agrees under the written profile. The exit code is 1 when
a bug is not caught, the clean build is blamed, too few numeric bugs are named, or an option is not found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from refruntime.battery.catalogue import default_battery  # noqa: E402
from refruntime.battery.features import find_for_cases, needs_of  # noqa: E402
from refruntime.cases.observation import Observation  # noqa: E402
from refruntime.cases.steps import INIT, Case  # noqa: E402
from refruntime.differential.compare import compare_observations, offered_fields  # noqa: E402
from refruntime.differential.run import Oracle, PairRun, observe  # noqa: E402
from refruntime.differential.verdict import FINE, judge  # noqa: E402
from refruntime.engines.base import Engine, Limits  # noqa: E402
from refruntime.engines.wasm import WasmEngine, WasmModule  # noqa: E402
from refruntime.hypotheses.explain import Explainer  # noqa: E402
from refruntime.identify.ask import Memory, identify  # noqa: E402
from refruntime.memory import HostMisuse  # noqa: E402
from refruntime.numerics import CompiledSeq32  # noqa: E402

GUEST: Final = PROJECT / "tests" / "guest"
EXPLAINED_CASES: Final = 12
"""Diverging cases of one build that are explained; all are counted."""

LIMITS: Final = Limits(seconds=20)

NUMERIC_FAMILIES: Final = frozenset({"arithmetic", "rope", "attention", "ffn", "norm", "quantization", "sampler"})
"""Families of bugs of which at least three quarters must be named."""

CAUSES: Final[dict[str, str]] = json.loads((PROJECT / "tests" / "differential" / "causes.json").read_text("utf-8"))
"""Seeded bug -> the hypothesis that names it."""

OPTIONS: Final[dict[str, tuple[str, Any]]] = {
    option: next(iter(choice.items()))
    for option, choice in json.loads((PROJECT / "tests/guest/declared.json").read_text("utf-8")).items()
}
"""Option of the guest -> key and value in a profile."""


@dataclass(frozen=True)
class Recorded:
    """The battery with the oracle's answers. They do not depend on the build, so one run serves every build."""

    cases: tuple[Case, ...]
    answers: dict[str, list[Observation]]
    oracle: Oracle

    @classmethod
    def of(cls, cases: Sequence[Case], oracle: Oracle) -> Recorded:
        """Run every case on the oracle; one that does what the contract leaves undefined is left out."""
        answers = {}
        for case in cases:
            try:
                answers[case.name] = observe(case, oracle.engine(), oracle.profile)
            except HostMisuse:
                continue
        return cls(tuple(case for case in cases if case.name in answers), answers, oracle)


@dataclass(frozen=True)
class Caught:
    """What the comparison says of one build: `diverging` cases, and the hypotheses that explain most of `explained`."""

    name: str
    diverging: int
    explained: int
    causes: tuple[str, ...]

    @property
    def named(self) -> bool:
        """Say whether the right hypothesis is among those that explain most cases."""
        return CAUSES.get(self.name, "") in self.causes


def engines(module: Path) -> Callable[[], Engine]:
    """Return a function that makes fresh instances of a module."""
    compiled = WasmModule(module.read_bytes(), LIMITS)
    return lambda: WasmEngine(compiled, LIMITS)


def diverging(build: Callable[[], Engine], recorded: Recorded) -> Iterator[PairRun]:
    """Yield every case that is not fine; those that need what the build does not have say nothing (ID-1)."""
    profile = recorded.oracle.profile
    offered = offered_fields(observe(Case("offered", (INIT,)), build(), profile))
    found = find_for_cases(build, profile, recorded.cases)
    shown = () if found.required is None else (found.required,)
    answers = {**recorded.answers, **Recorded.of(shown, recorded.oracle).answers}
    for case in (*shown, *(case for case in recorded.cases if not found.reason(needs_of(case)))):
        theirs = observe(case, build(), profile)
        mine = answers[case.name][: len(theirs)]
        comparison = compare_observations(mine, theirs, offered)
        if judge(mine, theirs, comparison).verdict not in FINE:
            yield PairRun(case, mine, theirs, comparison)


def catch(name: str, build: Callable[[], Engine], recorded: Recorded, most: int | None = None) -> Caught:
    """Compare a build and explain what diverges; with `most` the comparison ends after so many diverging cases."""
    runs: list[PairRun] = []
    for run in diverging(build, recorded):
        runs.append(run)
        if len(runs) == most:
            break
    explainer = Explainer(recorded.oracle)
    for run in runs[:: max(1, len(runs) // EXPLAINED_CASES)][:EXPLAINED_CASES]:
        explainer(run)
    causes = explainer.causes()
    best = [cause for cause in causes if cause.explained == causes[0].explained]
    return Caught(name, len(runs), best[0].explained if best else 0, tuple(cause.hypothesis.name for cause in best))


def gap_of(name: str, path: Path, memory: Memory) -> tuple[bool, str]:
    """Identify an option build: whether it has this option and no other, and the lines to show."""
    found = identify(path.read_bytes(), engines(path), CompiledSeq32(), name=path.name, memory=memory)
    if found.problem:
        return False, found.problem
    key, value = OPTIONS[name]
    chosen = {each: choice for each, choice in found.profile.differences().items() if each not in ("ID-1", "GG-1")}
    text = ", ".join(f"{each} = {choice}" for each, choice in chosen.items())
    return chosen == {key: value} and not found.bugs, "; ".join([text, *(bug.line for bug in found.bugs)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 everything as it must be, 1 not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=Path, help="directory with built modules (default: build them)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this bug or option")
    parser.add_argument("--bugs", action="store_true", help="only the seeded bugs")
    parser.add_argument("--options", action="store_true", help="only the options of declared rules")
    parsed = parser.parse_args(arguments)
    everything = not (parsed.bugs or parsed.options)
    with tempfile.TemporaryDirectory() as scratch:
        bugs = [name for name in CAUSES if (not parsed.only or name in parsed.only)]
        options = [name for name in OPTIONS if (not parsed.only or name in parsed.only)]
        bugs, options = bugs if everything or parsed.bugs else [], options if everything or parsed.options else []
        folder = parsed.modules or _built(Path(scratch), bugs, options)
        good = _test_bugs(folder, bugs) if bugs else True
        return 0 if (_test_options(folder, options) if options else True) and good else 1


def _built(folder: Path, bugs: Sequence[str], options: Sequence[str]) -> Path:
    from tests.guest.build import build, find_toolchain

    tools = find_toolchain()
    for name in bugs:
        build(folder, bugs=[name], toolchain=tools)
    for name in options:
        build(folder, options=[name], toolchain=tools)
    return folder


def _test_bugs(folder: Path, names: Sequence[str]) -> bool:
    families = {name: entry["family"] for name, entry in json.loads((GUEST / "bugs.json").read_text("utf-8")).items()}
    oracle = Oracle()
    recorded = Recorded.of(default_battery(oracle.profile), oracle)
    blamed = sum(1 for _ in diverging(engines(GUEST / "guest.wasm"), recorded))
    print(f"clean build: {blamed} of {len(recorded.cases)} cases diverge")
    results = []
    for name in names:
        began = time.perf_counter()
        result = catch(name, engines(folder / f"guest-bug-{name}.wasm"), recorded)
        results.append(result)
        named = "named" if result.named else "NOT NAMED" if result.diverging else "NOT CAUGHT"
        seconds = time.perf_counter() - began
        print(
            f"{name:<32} {families[name]:<13} {result.diverging:>5} diverge  {named:<10} "
            f"{', '.join(result.causes[:3])}  ({seconds:.1f} s)",
            flush=True,
        )
    numeric = [result for result in results if families[result.name] in NUMERIC_FAMILIES]
    named = sum(result.named for result in numeric)
    caught = sum(result.diverging > 0 for result in results)
    print(f"caught {caught} of {len(results)}; named {sum(result.named for result in results)} of {len(results)}")
    print(f"named of arithmetic and sampler: {named} of {len(numeric)}")
    return blamed == 0 and caught == len(results) and 4 * named >= 3 * len(numeric)


def _test_options(folder: Path, names: Sequence[str]) -> bool:
    good = 0
    memory = Memory()
    for name in names:
        fine, text = gap_of(name, folder / f"guest-option-{name}.wasm", memory)
        good += fine
        print(f"{name:<26} {'found' if fine else 'NOT FOUND'}  {text}", flush=True)
    print(f"found {good} of {len(names)} options")
    return good == len(names)


if __name__ == "__main__":
    raise SystemExit(main())
