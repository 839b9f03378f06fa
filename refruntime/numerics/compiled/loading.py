"""When compiled loops are loaded: at once, never, or when so much was computed without them that loading pays."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

LOADING_PAYS: Final = 400_000_000
"""Multiplications in NumPy that take as long as loading the compiled loops."""

KERNELS: Final = ("auto", "numpy", "numba")

Notice = Callable[[str], None]
Loops = TypeVar("Loops")

_LOADING = threading.Lock()  # loops are made once for the process, whoever asks first


def tell_terminal(message: str) -> None:
    """Write a message to the standard error stream if a person reads it there."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"refruntime: {message}\n")


class Loader(Generic[Loops]):
    """Compiled loops that `load` brings, which is told whom to notify when they have to be compiled first.

    `kernels`: "numpy" never loads them; "numba" at once, ImportError where that cannot be; "auto" when it pays.
    """

    def __init__(self, kernels: str, load: Callable[[Notice], Loops], notice: Notice = tell_terminal) -> None:
        if kernels not in KERNELS:
            raise ValueError(f"unknown kernels {kernels!r}; expected one of {', '.join(KERNELS)}")
        self._load, self._notice, self._turning = load, notice, threading.Lock()
        self._left: float = LOADING_PAYS if kernels == "auto" else math.inf
        self.loops: Loops | None = self._loaded(notice) if kernels == "numba" else None

    @property
    def kernels(self) -> str:
        """Return which loops run now: `numpy` or `numba`."""
        return "numpy" if self.loops is None else "numba"

    def spend(self, multiplications: int) -> Loops | None:
        """Count work that begins; return the loops to do it with, None for NumPy."""
        if self._left <= 0:
            self._turn(self._notice)
        self._left -= multiplications
        return self.loops

    def prepare(self) -> None:
        """Load the loops now, where they are there and not excluded, instead of in the middle of somebody's work.

        Where another thread does it already, this waits for it.
        """
        with self._turning:
            if self._left < math.inf:
                self._turn(lambda _: None)

    def _turn(self, notice: Notice) -> None:
        self._left = math.inf
        try:
            self.loops = self._loaded(notice)
        except ModuleNotFoundError:
            return  # numba is optional
        except ImportError as error:  # it is there but does not suit this NumPy or Python
            notice(f"going on without compiled loops: {error}")

    def _loaded(self, notice: Notice) -> Loops:
        with _LOADING:
            return self._load(notice)
