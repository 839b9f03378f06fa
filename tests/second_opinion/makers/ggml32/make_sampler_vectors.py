"""Write tests/second_opinion/vectors/samplers/llama_stages.npz: what llama.cpp's samplers leave of random cases.

    LLAMA_CPP_LIB_PATH=/tmp/scalar-ggml/bin python -m tests.second_opinion.makers.ggml32.make_sampler_vectors

Needs llama-cpp-python, pointed to any build of llama.cpp with that interface.
"""

from __future__ import annotations

from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np

from tests.support.llama_samplers import (
    STAGES,
    by_llama,
    chain_by_llama,
    drawn_by_llama,
    possible,
    random_case,
    random_chain,
    random_draws,
)

CASES = 15
TARGET = Path(__file__).parents[2] / "vectors/samplers/llama_stages.npz"


def main() -> None:
    """Compute and write."""
    arrays = {}
    for seed in range(CASES):
        for stage in STAGES:
            arrays[f"{stage} {seed} ids"], arrays[f"{stage} {seed} logits"] = by_llama(llama, random_case(stage, seed))
        arrays[f"chain {seed} ids"], arrays[f"chain {seed} logits"] = possible(
            *chain_by_llama(llama, *random_chain(seed))
        )
        arrays[f"draws {seed} ids"] = np.array(drawn_by_llama(llama, *random_draws(seed), seed))
    packed = {name: array.astype(np.uint8) if name.endswith("ids") else array for name, array in arrays.items()}
    np.savez_compressed(TARGET, **packed)  # type: ignore[arg-type]  # names and arrays
    print(f"{TARGET}: {TARGET.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
