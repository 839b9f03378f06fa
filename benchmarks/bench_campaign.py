"""Measure a campaign: bytes of a task and of its result, processor time, and what 1, 2 and 4 workers do in a second."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from refruntime.battery.features import find_features  # noqa: E402
from refruntime.campaign.fuzzing import fuzz  # noqa: E402
from refruntime.campaign.ledger import Ledger  # noqa: E402
from refruntime.campaign.packed import PackedBuild, canonical  # noqa: E402
from refruntime.campaign.tasks import FuzzTask  # noqa: E402
from refruntime.campaign.workers import in_processes, in_this_process  # noqa: E402
from refruntime.contract.profile import Profile  # noqa: E402
from refruntime.engines.base import Limits  # noqa: E402
from refruntime.engines.wasm import WasmEngine, WasmModule  # noqa: E402

BATCHES, SESSIONS = 12, 50


def main() -> None:
    """Print one line for each number of workers."""
    module, limits, profile = (ROOT / "tests" / "guest" / "guest.wasm").read_bytes(), Limits(), Profile()
    compiled = WasmModule(module)
    found = find_features(lambda: WasmEngine(compiled), profile)
    build = PackedBuild.of("guest.wasm", module, lambda: WasmEngine(compiled), profile, limits, "auto", found)
    task = FuzzTask(build, 1, 0, SESSIONS)
    began = time.process_time()
    result = task.run()
    first = time.process_time() - began
    began = time.process_time()
    FuzzTask(build, 1, 1, SESSIONS).run()
    print(
        f"module {len(module):,} bytes; task {len(pickle.dumps(task)):,} bytes; result {len(canonical(result)):,} bytes"
    )
    print(
        f"task of {SESSIONS} sessions: first {first:.2f} s of processor time, then {time.process_time() - began:.2f} s"
    )
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for count in (1, 2, 4):
        workers = in_this_process() if count == 1 else in_processes(count)
        ledger = Ledger.open(None, {})
        began = time.perf_counter()
        summary, _ = fuzz(build, 1, ledger, workers, batches=BATCHES, sessions=SESSIONS)
        seconds = time.perf_counter() - began
        print(f"{count} workers: {summary.steps / seconds:,.0f} steps a second, {seconds:.1f} s with the start")


if __name__ == "__main__":
    main()
