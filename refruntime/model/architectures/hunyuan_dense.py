"""hunyuan-dense: llama in halves whose heads are normalised behind the rotary embedding.

Source: llama.cpp `src/models/hunyuan-vl.cpp`, which serves this architecture too. A converter folds the stretching of
the rotary base into the base.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import Architecture

HUNYUAN_DENSE: Final = Architecture(
    "hunyuan-dense",
    rope_pairs="halves",
    norm_of_queries_and_keys="head",
    heads_normalised_behind_rope=True,
)
