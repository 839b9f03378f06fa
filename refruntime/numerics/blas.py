"""Keep the BLAS behind NumPy to one thread while other threads share out the work.

The threads of a BLAS wait for one another at the end of every product and spin while they wait. Where another process
has one of the processors, a product then takes as long as that process likes: a factor of 50 was measured. So a product
is cut into tiles that `compiled.threads` shares out, a BLAS of one thread multiplies each, and a thread that comes late
holds up nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


@lru_cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


class _Limit:
    """The limit of this process: set by the first pass that begins, taken back by the last one that ends."""

    def __init__(self) -> None:
        self._lock, self._passes = threading.Lock(), 0
        self._set: Any = None

    def begin(self) -> None:
        """Count a pass."""
        with self._lock:
            self._passes += 1
            if self._passes == 1:
                self._set = _controller().limit(limits=1)

    def end(self) -> None:
        """Count a pass as done."""
        with self._lock:
            self._passes -= 1
            if self._passes == 0:
                self._set.restore_original_limits()


_LIMIT = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread inside; passes may overlap, and the last one restores what was."""
    _LIMIT.begin()
    try:
        yield
    finally:
        _LIMIT.end()
