"""Make a value when it is first asked for: weights of a mapped file, which many a use of a model never reads."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

from refruntime.errors import ContractError
from refruntime.memory_limit import within_machine

Made = TypeVar("Made")


class Later(Generic[Made]):
    """What is made when it is first called for, once, whichever thread calls; then its source is let go.

    Where the machine has no memory for it, `failure` names the `needed` bytes; the next call tries again.
    """

    def __init__(self, make: Callable[[], Made], needed: int, failure: type[ContractError]) -> None:
        self._make: Callable[[], Made] | None = make
        self._needed, self._failure, self._lock = needed, failure, RLock()

    def __call__(self) -> Made:
        """Return what was made."""
        with self._lock:
            if self._make is not None:
                with within_machine(self._needed, "the model", self._failure):
                    self._made = self._make()
                self._make = None
            return self._made
