"""Measure from a mismatch to the tensor: the witness, beside the search through all hypotheses, in one run.

    python benchmarks/bench_witness.py [--json] [--build docs/kernel.wasm] [--search all|stories|none]

The build is the guest with an attention scale that is one percent too large. Models: two of the story models, and
random weights of the TinyLM-16M shape. `witness` is all of it: the run of the oracle, that of the build, the looks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from refruntime.battery.models.slm1 import TINYLM_16M, random_model
from refruntime.cases.steps import Case, Configure, Generate, Load
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle, run_pair
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.hypotheses.explain import Explainer
from refruntime.numerics import CompiledSeq32
from refruntime.witness.build import Witness
from refruntime.witness.oracle import Sampling

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "golden" / "models"
PROMPT = b"Once upon a time"
TOKENS = 8


def artifacts() -> dict[str, bytes]:
    """Return the models by name."""
    stories = {name: (MODELS / name).read_bytes() for name in ("stories.f32.slm1", "stories.q8_0.slm1")}
    return stories | {"TinyLM-16M, f32": random_model(1, TINYLM_16M, profile=Profile())}


def measured(action: Any) -> tuple[Any, dict[str, float]]:
    """Return what an action gives, and its seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = action()
    return result, {"seconds": time.perf_counter() - clock, "processor": time.process_time() - processor}


def compare(module: bytes, artifact: bytes, searches: bool) -> dict[str, Any]:
    """Measure both ways on one mismatch."""
    oracle = Oracle(Profile(), CompiledSeq32())
    compiled = WasmModule(module)
    steps = (Load("model"), Configure(), Generate(PROMPT, TOKENS))
    case = Case("bench/witness", steps, {"model": artifact})
    run, running = measured(lambda: run_pair(case, WasmEngine(compiled), oracle.engine(), oracle.profile))
    seen, looking = measured(
        lambda: Witness(module, artifact, PROMPT, TOKENS, Sampling(), numerics=oracle.numerics).earliest()
    )
    first = seen.look.first
    result = {"comparison": running, "witness": looking, "first": first and f"{first.name}: {first.pattern.text}"}
    if searches:
        explained, search = measured(lambda: Explainer(oracle)(run))
        result["search"] = search
        result["found"] = explained and [fit.hypothesis.name for fit in explained.fits]
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--build", type=Path, default=ROOT / "docs" / "kernel.wasm")
    parser.add_argument(
        "--search", choices=("all", "stories", "none"), default="stories", help="where it is measured too"
    )
    parsed = parser.parse_args()
    module = parsed.build.read_bytes()
    wanted = {"all": "", "stories": "stories", "none": "-"}[parsed.search]
    results = {name: compare(module, data, name.startswith(wanted)) for name, data in artifacts().items()}
    if parsed.json:
        print(json.dumps(results, indent=2))
        return
    for name, result in results.items():
        print(f"{name}: {result['first']}")
        for what in ("comparison", "witness", "search"):
            if what in result:
                took = result[what]
                print(f"  {what:10} {took['seconds']:7.1f} s, {took['processor']:7.1f} s of the processor")
        if "found" in result:
            print(f"  the search names {', '.join(result['found'] or ['nothing'])}")


if __name__ == "__main__":
    main()
