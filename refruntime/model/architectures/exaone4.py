"""exaone4: norms behind the blocks, normalised heads; the 32B model, told by its 64 layers, has windows.

With windows three of four layers see 4096 positions unless the file says otherwise, and only they rotate. With any
other number of layers the keys of windows are ignored and every layer rotates.

Source: llama.cpp `src/models/exaone4.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import Architecture

EXAONE4: Final = Architecture(
    "exaone4",
    rope_pairs="halves",
    rope_factors="one set",
    rope_of_windows_only=True,
    norm_before=False,
    norm_behind=True,
    norm_of_queries_and_keys="head",
    window_period=4,
    windows_with_layers=64,
    keys=frozenset({"rope.freq_base_swa"}),
    defaults={"attention.sliding_window": 4096},
)
