"""Where tasks run: here, in other processes, on a cluster; all are executors of `concurrent.futures`."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final

from refruntime.differential.parallel import spawned

LOCAL: Final = "local"
"""Address that stands for a cluster begun here, for this campaign alone."""

CONNECT_SECONDS: Final = 20
ASK_SECONDS: Final = 5.0


class NoCluster(Exception):
    """The software for clusters is not installed, or nothing answers at the address."""


@dataclass(frozen=True)
class Workers:
    """How an executor is begun; `open` is a context that ends it. `ahead` says how many tasks it is given at once."""

    open: Callable[[], Any]
    ahead: Callable[[], int]


class Here(Executor):
    """Run every task at once in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def in_this_process() -> Workers:
    """Return the plainest workers."""
    return Workers(lambda: nullcontext(Here()), lambda: 1)


def in_processes(count: int) -> Workers:
    """Return workers in so many processes of this machine."""
    return Workers(partial(spawned, count, _begin_worker), lambda: count + 2)


def on_cluster(address: str, count: int) -> Workers:
    """Return workers of a Dask cluster, or of one begun here with `count` processes: NoCluster."""
    try:
        distributed: Any = import_module("distributed")
    except ModuleNotFoundError as error:
        raise NoCluster("--cluster needs dask.distributed: pip install 'refruntime[cluster]'") from error

    for name in ("distributed", "tornado", "asyncio"):  # deaths of workers are told once, by the report
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    @contextmanager
    def begin() -> Iterator[Executor]:
        with _cluster(distributed, address, count) as where:
            try:
                client = distributed.Client(where, timeout=CONNECT_SECONDS, set_as_default=False)
            except (OSError, ValueError, TimeoutError) as error:
                raise NoCluster(f"no scheduler answers at {address}: {error}") from error
            with client:
                crowd.client = client
                yield client.get_executor(pure=False)

    crowd = _Crowd(count)
    return Workers(begin, crowd.ahead)


@dataclass
class _Crowd:
    """How many workers a cluster has; that may change at any time."""

    threads: int
    client: Any = None
    asked: float = -math.inf

    def ahead(self) -> int:
        """Return three tasks for each thread, so that none waits for the next one."""
        if self.client is not None and time.monotonic() - self.asked > ASK_SECONDS:
            self.asked = time.monotonic()
            try:
                self.threads = sum(self.client.nthreads().values()) or self.threads
            except Exception:  # the scheduler is away: whatever that raises, the last number serves
                return 3 * self.threads
        return 3 * self.threads


@contextmanager
def _cluster(distributed: Any, address: str, count: int) -> Iterator[Any]:
    if address != LOCAL:
        yield address
        return
    free = "127.0.0.1:0"  # without an address it takes port 8787 of all interfaces, and warns where that is taken
    options = {"n_workers": count, "threads_per_worker": 1, "processes": True, "dashboard_address": free}
    try:
        cluster = distributed.LocalCluster(**options, host="127.0.0.1", silence_logs=50)
    except (OSError, RuntimeError, TimeoutError) as error:
        raise NoCluster(f"a cluster cannot be begun here: {error}") from error
    with cluster:
        yield cluster


def _begin_worker() -> None:
    """Leave interrupts to the process that reports, and end when it is no more: nobody else takes the results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
