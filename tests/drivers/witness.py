"""Measure the witness on builds of the guest with seeded bugs: is the first wrong tensor the right one?

    python tests/drivers/witness.py                       # the bugs of tests/guest/first_wrong.json
    python tests/drivers/witness.py --unknown             # those of tests/guest/unknown_bugs.json
    python tests/drivers/witness.py --group practice      # those of tests/guest/unknown_bugs_practice.json
    python tests/drivers/witness.py --clean 500           # false alarms over so many positions of clean builds
    python tests/drivers/witness.py --clean 64 spm.f32.gguf
    python tests/drivers/witness.py rope_reversed gelu_for_silu

Modules are built into --builds once and kept. Needs what `tests/guest/build.py` needs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from refruntime.battery.sampler import sampler_cases  # noqa: E402
from refruntime.cases.steps import Configure, Generate  # noqa: E402
from refruntime.contract.profile import Profile  # noqa: E402
from refruntime.witness.build import PositionLook, Witness  # noqa: E402
from refruntime.witness.oracle import Sampling  # noqa: E402
from refruntime.witness.sightings import PART, UNSEEN  # noqa: E402
from tests.guest.build import GROUPS, build, file_name, find_toolchain, load_unknown_bugs  # noqa: E402

GUEST = ROOT / "tests" / "guest"
MODELS = ROOT / "golden" / "models"
MODEL, PROMPT, TOKENS = "stories.f32.slm1", "Once upon a time", 2
CLEAN_MODELS = (
    *("stories.f32.slm1", "stories.q8_0.slm1", "stories.q4_0.slm1", "stories-tied.q8_0.slm1"),
    *("stories.f32.gguf", "stories.q8_0.gguf", "spm.f32.gguf", "rope.f32.gguf"),
)
LEVELS = ("1", "2", "3", "s")


@dataclass(frozen=True)
class Outcome:
    """What the witness said of one bug, whether that is right, and what it took of the processor.

    `placed` says that the position is that of the table, too, or the table says none. Some tensors are evidence only at
    the position behind the one where they are first wrong.
    """

    bug: str
    said: str
    pattern: str
    text: str
    located: bool
    named: bool
    placed: bool
    seconds: float


def module(folder: Path, bug: str | None, level: str = "3") -> bytes:
    """Return a build of the guest, made when it is not there yet."""
    bugs = [bug] if bug else []
    path = folder / file_name([], bugs, opt_level=level)
    if not path.exists():
        build(folder, bugs=bugs, opt_level=level, toolchain=find_toolchain())
    return path.read_bytes()


def model_path(name: str) -> Path:
    """Return a model of the project, or any path."""
    return MODELS / name if (MODELS / name).exists() else Path(name)


def look(data: bytes, truth: dict[str, Any]) -> tuple[Witness, PositionLook]:
    """Look into a build as the bug's entry says: model, prompt, tokens, sampling."""
    if "case" in truth:
        case = next(case for case in sampler_cases(Profile()) if case.name == truth["case"])
        configured = next(step for step in case.steps if isinstance(step, Configure))
        generated = next(step for step in case.steps if isinstance(step, Generate))
        artifact, prompt, tokens = case.models["model"], generated.prompt, generated.max_new_tokens
        sampling = Sampling(configured.temperature, configured.top_k, configured.top_p, configured.seed)
    else:
        sampling = Sampling(**truth.get("sampling", {}))
        artifact = model_path(truth.get("model", MODEL)).read_bytes()
        prompt, tokens = truth.get("prompt", PROMPT).encode(), truth.get("tokens", TOKENS)
    witness = Witness(data, artifact, prompt, tokens, sampling, continued=truth.get("continued", 0))
    return witness, witness.earliest()


def judge(bug: str, truth: dict[str, Any], data: bytes) -> Outcome:
    """Look into a build and compare with what its bug changes."""
    began = time.process_time()
    try:
        _, seen = look(data, truth)
    except Exception as error:  # a crash is a miss that must be seen
        text = str(error)[:100]
        return Outcome(bug, type(error).__name__, "crash", text, False, False, False, time.process_time() - began)
    seconds = time.process_time() - began
    first = seen.look.first
    said = first.name if first is not None else seen.look.verdict
    pattern = first.pattern.kind if first is not None else ""
    where = first.pattern.where if first is not None else ""
    located = said in truth["tensors"] or (not truth["tensors"] and first is None)
    named = located and (first is None or bool({pattern, where} & set(truth["patterns"])))
    placed = located and (truth.get("position") in (None, seen.position) or said in truth.get("accepted", ()))
    text = f"position {seen.position}: {first.pattern.text}" if first is not None else ""
    return Outcome(bug, said, pattern, text, located, named, placed, seconds)


def known_bugs() -> dict[str, dict[str, Any]]:
    """Return what is the first wrong tensor of each seeded bug of arithmetic, weights and sampler."""
    table: dict[str, dict[str, Any]] = json.loads((GUEST / "first_wrong.json").read_text("utf-8"))
    return table


def of_unknown(truth: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of unknown_bugs.json, or of one of its groups, in the form of the others.

    `also` are further patterns that are true of the same numbers.
    """
    return {
        "model": f"stories.{truth.get('needs') or 'f32'}.slm1",
        "tokens": 12,
        **truth,
        "tensors": [truth["tensor"], *truth.get("accepted", ())],
        "patterns": [truth["pattern"], *truth.get("also", ())],
    }


def clean(folder: Path, positions: int, models: Sequence[str]) -> int:
    """Look at positions of clean builds of every storage type and optimisation level; return the false alarms."""
    alarms = seen = 0
    jobs = [(level, name) for name in models for level in LEVELS]
    each = -(-positions // len(jobs))
    for level, name in jobs:
        data = module(folder, None, level)
        witness = Witness(data, model_path(name).read_bytes(), PROMPT.encode(), TOKENS)
        last = len(witness.ids) - 1
        unseen: dict[str, int] = {}
        for position in sorted({round(index * last / max(1, each - 1)) for index in range(each)}):
            result = witness.look_at(position)
            seen += 1
            if result.verdict != "clean":
                alarms += 1
                print(f"  O{level} {name} position {position}: {result.verdict} {result.first and result.first.name}")
            for sighting in result.sightings:
                if sighting.state == "not seen" and sighting.reason in (PART, UNSEEN):
                    kind = sighting.name.split(".", 2)[-1]
                    unseen[kind] = unseen.get(kind, 0) + 1
        missing = ", ".join(f"{kind} {count} times" for kind, count in sorted(unseen.items())) or "nothing"
        print(f"O{level} {name}: {seen} positions, {alarms} alarms so far; not in memory: {missing}", flush=True)
    print(f"{seen} positions, {alarms} alarms")
    return alarms


def main() -> int:
    """Print one line a build and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bugs", nargs="*")
    parser.add_argument("--builds", type=Path, default=ROOT / ".cache" / "witness", help="where modules are kept")
    parser.add_argument("--unknown", action="store_true")
    parser.add_argument("--group", choices=GROUPS, help="unknown bugs that were written after the witness")
    parser.add_argument("--clean", type=int, metavar="POSITIONS")
    parsed = parser.parse_args()
    if parsed.clean:
        return 1 if clean(parsed.builds, parsed.clean, parsed.bugs or CLEAN_MODELS) else 0
    is_unknown = parsed.unknown or parsed.group is not None
    table: dict[str, dict[str, Any]] = load_unknown_bugs(parsed.group) if is_unknown else known_bugs()
    outcomes = []
    for bug in parsed.bugs or table:
        truth = of_unknown(table[bug]) if is_unknown else table[bug]
        outcome = judge(bug, truth, module(parsed.builds, bug))
        outcomes.append(outcome)
        mark = "ok  " if outcome.named else "part" if outcome.located else "MISS"
        print(
            f"{mark} {bug:28} {outcome.said:24} {outcome.pattern:18} {outcome.seconds:5.1f} s  {outcome.text}",
            flush=True,
        )
    located, named = sum(o.located for o in outcomes), sum(o.named for o in outcomes)
    placed = sum(o.placed for o in outcomes)
    print(
        f"{len(outcomes)} builds: {located} with the right tensor, {placed} at the very position, "
        f"{named} with the right pattern too"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
