"""Hold the numeric limits of the contract, each with its rule."""

from __future__ import annotations

from typing import Final

MAX_TRANSFER_BYTES: Final = 134_217_728
"""Largest `alloc` and largest slice given to `load_model` or `generate` (MEM-1, MEM-2)."""

MAX_TOP_K: Final = 1024
"""Largest `top_k`, and the most candidates that the sampler retains (SC-2, SA-2)."""

MAX_RESULT_BYTES: Final = 65_536
"""Longest result text in bytes (GEN-10)."""

MAX_BUFFER_BYTES: Final = 2_147_483_647
"""Largest buffer that can exist on wasm32 (section 13, Statuses)."""

PAGE_BYTES: Final = 65_536
"""Size of a WebAssembly memory page (MEM-5)."""

MAX_PAGES: Final = 65_536
"""Most pages that a 32-bit memory can have (MEM-5)."""

TOP_TOKENS: Final = 5
"""Number of candidates in the diagnostics (DG-4)."""
