"""Compiled loops without their compiler: machine code that numba made once is kept on disk and called from there.

Importing numba takes longer than a small model takes to its first token. So numba is imported where a loop is compiled
for the first time on a machine, and never to call one. Knows nothing of what loops compute.
"""

from __future__ import annotations

from refruntime.machine_code.loop import Loop, prepare

__all__ = ["Loop", "prepare"]
