"""Samplers of other runtimes by name: the same settings, other stages, another order, another draw.

    run = CHAINS["llama.cpp"].run(logits, Settings(temperature=0.8, top_k=40, top_p=0.95))
    run.probability(token), run.cut_by(token), run.interval(token)

The distribution that a chain leaves follows the arithmetic of its runtime, stage by stage; of exponentials and of sums
that a runtime adds in vectors, the last bit can differ between machines. Whether the draw is repeated too is said by
`generator`. Sources: llama.cpp `src/llama-sampler.cpp` and the order in `common/common.h`; transformers
`generation/logits_process.py` and the order in `generation/utils.py`; candle `candle-transformers/src/generation`;
mistral.rs `mistralrs-core/src/sampler.rs`; the crate rand 0.8 `distributions/weighted_index.rs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from refruntime.samplers import stages
from refruntime.samplers.chain import Chain, Function, Settings
from refruntime.samplers.draws import (
    pick_by_double_sum,
    pick_by_id,
    pick_by_weighted_index,
    units_of_chacha12,
    units_of_mt19937,
)
from refruntime.samplers.stages import Candidates


def _llama_cpp_temperature(left: Candidates, settings: Settings, _vocabulary: int) -> Candidates:
    if np.float32(settings.temperature) <= 0:
        return stages.others_impossible(left)
    return stages.divide(left, settings.temperature)


LLAMA_CPP: Final = Chain(
    "llama.cpp",
    (
        ("top_k", lambda left, settings, _: stages.sort_and_keep(left, settings.top_k)),
        ("top_p", lambda left, settings, _: stages.sort_and_keep_mass(left, settings.top_p)),
        ("min_p", lambda left, settings, _: stages.keep_near_logits(left, settings.min_p)),
        ("temperature", _llama_cpp_temperature),
        ("softmax", lambda left, _settings, _vocabulary: stages.powers(left)),
    ),
    stages.first_greatest,
    -1.0,  # temperature 0 is a stage like any other, and draws
    pick_by_double_sum,
    "std::mt19937 with libstdc++'s uniform double, from the low 32 bits of the seed; seed 2^32 - 1 means a random one",
    lambda seed: units_of_mt19937(seed & 0xFFFFFFFF),
    "the order of equal logits (std::partial_sort)",
)

TRANSFORMERS: Final = Chain(
    "transformers",
    (
        ("temperature", lambda left, s, _: left if s.temperature == 1 else stages.divide(left, s.temperature)),
        ("top_k", lambda left, settings, _: stages.keep_not_below(left, settings.top_k)),
        ("top_p", lambda left, settings, _: stages.drop_lower_mass(left, settings.top_p)),
        ("min_p", lambda left, settings, _: stages.keep_near_weights(left, settings.min_p)),
        ("softmax", lambda left, _settings, _vocabulary: stages.softmax_of_exact_sum(left)),
    ),
    stages.first_greatest,
    5e-324,
    pick_by_id,
    "torch.multinomial, not repeated: the greatest weight / exponential noise wins, so that no one unit value decides",
    open="the order of equal logits (torch.sort), and the order of vectorised sums",
)

CANDLE: Final = Chain(
    "candle",
    (
        ("temperature", lambda left, settings, _: stages.multiply_by_reciprocal(left, settings.temperature)),
        ("softmax", lambda left, _settings, _vocabulary: stages.softmax(left)),
        ("top_k", lambda left, settings, _: stages.keep_greatest_weights(left, settings.top_k)),
        ("top_p", lambda left, settings, size: stages.clear_beyond_mass_of_kept(left, settings.top_p, size)),
    ),
    stages.last_greatest,
    1e-7,
    pick_by_weighted_index,
    "rand 0.8's StdRng (ChaCha12) with its WeightedIndex",
    units_of_chacha12,
    "the order in which the tokens of a top-k are drawn from (Rust's select_nth_unstable); the greatest first here",
    min_p=False,
)

_MISTRAL_RS_BEGIN: Final[tuple[tuple[str, Function], ...]] = (
    ("temperature", lambda left, settings, _: stages.multiply_by_reciprocal(left, settings.temperature)),
    ("softmax", lambda left, _settings, _vocabulary: stages.softmax(left)),
    ("top_k", lambda left, settings, _: stages.clear_smaller_weights(left, settings.top_k)),
)

MISTRAL_RS: Final = Chain(
    "mistral.rs",
    (
        *_MISTRAL_RS_BEGIN,
        ("top_p", lambda left, settings, _: stages.clear_beyond_mass(left, settings.top_p, of_the_rest=True)),
        ("min_p", lambda left, settings, _: stages.clear_far_weights(left, settings.min_p)),
    ),
    stages.first_greatest,
    1e-7,
    pick_by_weighted_index,
    "Isaac64 with rand's WeightedIndex, the generator not repeated: it is shared by the requests of a batch",
)

MISTRAL_RS_OLD: Final = Chain(
    "mistral.rs (old)",
    (
        *_MISTRAL_RS_BEGIN,
        ("top_p", lambda left, settings, _: stages.clear_beyond_mass(left, settings.top_p)),
        ("min_p", lambda left, s, _: stages.clear_far_weights(left, s.min_p) if 0 < s.top_p < 1 else left),
    ),
    MISTRAL_RS.greedy,
    MISTRAL_RS.greedy_below,
    MISTRAL_RS.pick,
    MISTRAL_RS.generator,
    open="meant are versions whose top_p is a share of the whole vocabulary, and whose min_p needs a top_p below 1",
)

CHAINS: Final[Mapping[str, Chain]] = {
    chain.name: chain for chain in (LLAMA_CPP, TRANSFORMERS, CANDLE, MISTRAL_RS, MISTRAL_RS_OLD)
}
"""Chains of other runtimes by name; `chain_contract.py` has that of the contract."""
