"""Run a campaign while its workers are killed, and hold it against the same campaign in one process.

    python tests/drivers/campaign.py tests/guest/mutants/*.wasm --every 30 --folder DIR

A scheduler and two workers of dask.distributed run as processes of their own. At every multiple of so many seconds both
workers are ended by SIGKILL, whatever they do, and two others begun. At the end the documents of both campaigns, what
their ledgers hold and how often each result stands in a shard are compared. Exit code 1 when anything differs, or when
no worker was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}
DASK = [sys.executable, "-m", "dask"]
WORKERS = 2


class Cluster:
    """A scheduler and workers that die."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.log = (folder / "cluster.log").open("ab")
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file"]
        self.scheduler = self._begin(*words, str(self.file))
        while not self.file.exists() or not self.file.read_text():
            if self.scheduler.poll() is not None:
                sys.exit(f"the scheduler ended: {self.log.name}")
            time.sleep(0.1)
        self.address: str = json.loads(self.file.read_text())["address"]
        self.workers: list[subprocess.Popen[bytes]] = []
        self.killed = 0
        self.begin_workers()

    def begin_workers(self) -> None:
        """Begin as many workers as there shall be."""
        words = ["worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
        self.workers = [self._begin(*words) for _ in range(WORKERS)]

    def kill_workers(self) -> None:
        """End every worker as a machine does that loses its power, and begin others."""
        for worker in self.workers:
            self.killed += worker.poll() is None
            worker.kill()
            worker.wait()
        self.begin_workers()

    def end(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self.log.close()

    def _begin(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*DASK, *words], env=HERE, cwd=self.file.parent, stdout=self.log, stderr=self.log)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Begin a cluster, and end it whatever happens."""
    begun = Cluster(folder)
    try:
        yield begun
    finally:
        begun.end()


def campaign(folder: Path, builds: list[Path], *options: str) -> subprocess.Popen[bytes]:
    """Begin the command; its document goes beside the folder of its results."""
    words = [sys.executable, "-m", "refruntime", "campaign", str(folder), *map(str, builds)]
    words += ["--identify", "never", "--json", *options]
    with folder.with_suffix(".document.json").open("wb") as document:
        return subprocess.Popen(words, env=HERE, stdout=document)


def results(folder: Path) -> tuple[dict[str, Any], Counter[str]]:
    """Return what the shards hold, task by task, and how often each task stands in them."""
    found: dict[str, Any] = {}
    times: Counter[str] = Counter()
    for shard in sorted((folder / "shards").glob("*.json")):
        for key, result in json.loads(shard.read_bytes()).items():
            if key in found and found[key] != result:
                sys.exit(f"two results of task {key}")
            found[key] = result
            times[key] += 1
    return found, times


def main() -> int:
    """Run both campaigns and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="+", type=Path)
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two deaths (default: 30)")
    parser.add_argument("--folder", type=Path, default=None, help="where both campaigns are kept")
    arguments = parser.parse_args()
    folder: Path = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    deaths: list[float] = []
    with cluster(folder) as begun:
        running = campaign(folder / "dying", arguments.builds, "--cluster", begun.address)
        start = time.monotonic()
        while running.poll() is None:
            if time.monotonic() - start >= arguments.every * (len(deaths) + 1):
                begun.kill_workers()
                deaths.append(round(time.monotonic() - start, 1))
                print(f"{deaths[-1]:7.1f} s: both workers killed", flush=True)
            time.sleep(0.05)
        print(f"{time.monotonic() - start:7.1f} s: done, exit code {running.returncode}", flush=True)
        killed = begun.killed
    alone = campaign(folder / "alone", arguments.builds, "--jobs", "1")
    alone.wait()
    documents = [(folder / f"{name}.document.json").read_bytes() for name in ("dying", "alone")]
    (dying, times), (one, _) = results(folder / "dying"), results(folder / "alone")
    twice = sorted(key for key, count in times.items() if count > 1)
    checks = {
        "workers were killed": killed > 0,
        "exit codes are equal": running.returncode == alone.returncode,
        "no task is missing": dying.keys() == one.keys(),
        "results are equal": dying == one,
        "documents are equal": documents[0] == documents[1] != b"",
    }
    print(f"{killed} workers killed; {len(dying)} tasks with workers that die, {len(one)} in one process")
    print(f"{len(twice)} results stand in two shards and are counted once")
    for name, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {name}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
