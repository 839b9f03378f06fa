"""Measure how fast `ggml32` decodes beside a scalar build of llama.cpp, in the same run, and compare the bits.

    REFRUNTIME_SCALAR_GGML=/tmp/scalar-ggml/bin python benchmarks/bench_ggml32.py MODEL.gguf [--tokens 24] [--rounds 2]

Both run on one thread, one token at a time, without flash attention, with keys and values in float32. Each figure is
the minimum of the processor seconds over the rounds, which take turns. Needs llama-cpp-python for its declarations
(`tools/scalar_ggml/build.sh` says how its libraries are built).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import numerics_named

VARIABLE = "REFRUNTIME_SCALAR_GGML"
LEAST = 0.5
"""Share of the speed of the scalar build that is asked for."""

Decode = Callable[[], np.ndarray]


def by_llama(path: Path, tokens: list[int]) -> Decode:
    """Return what decodes tokens from an empty cache by the scalar build: the last logits [V]."""
    import llama_cpp.llama_cpp as llama

    model = llama.llama_model_load_from_file(os.fsencode(path), llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    settings.n_ctx, settings.n_threads, settings.n_threads_batch = len(tokens) + 8, 1, 1
    settings.type_k = settings.type_v = settings.flash_attn_type = 0
    context = llama.llama_init_from_model(model, settings)
    size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    batch = llama.llama_batch_init(1, 0, 1)

    def decode() -> np.ndarray:
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        for place, token in enumerate(tokens):
            batch.n_tokens, batch.token[0], batch.pos[0], batch.logits[0] = 1, token, place, 1
            batch.n_seq_id[0], batch.seq_id[0][0] = 1, 0
            assert llama.llama_decode(context, batch) == 0
        return np.array(np.ctypeslib.as_array(llama.llama_get_logits_ith(context, 0), (size,)))

    return decode


def by_us(path: Path, tokens: list[int]) -> Decode:
    """Return what decodes tokens from an empty cache by compiled loops on one thread."""
    model = validate_model(path.read_bytes(), Profile())
    transformer = Transformer(model, Profile(), numerics_named("ggml32", 1, "numba"))

    def decode() -> np.ndarray:
        cache = transformer.new_cache()
        return [transformer.forward([token], cache)[0] for token in tokens][-1]

    return decode


def main() -> None:
    """Measure and print; exit code 1 where bits differ or the speed is less than LEAST of the scalar build's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    libraries = os.environ.get(VARIABLE)
    if not libraries:
        raise SystemExit(f"{VARIABLE} names no folder with a scalar build of ggml")
    os.environ["LLAMA_CPP_LIB_PATH"] = libraries
    tokens = [1, *map(int, np.random.default_rng(3).integers(3, 250, asked.tokens - 1))]
    runs = {"llama.cpp, scalar": by_llama(asked.model, tokens), "ggml32, compiled": by_us(asked.model, tokens)}
    seconds = dict.fromkeys(runs, float("inf"))
    rows: dict[str, np.ndarray] = {}
    for _ in range(asked.rounds):
        for name, decode in runs.items():
            start = time.process_time()
            rows[name] = decode()
            seconds[name] = min(seconds[name], (time.process_time() - start) / len(tokens))
    theirs, ours = seconds.values()
    equal = np.array_equal(*(row.view(np.uint32) for row in rows.values()))
    document: dict[str, Any] = {"seconds_a_token": seconds, "speed": theirs / ours, "equal": equal}
    if asked.json:
        print(json.dumps(document))
    else:
        for name, each in seconds.items():
            print(f"{name:18} {each:.4f} s of processor time a token")
        bits = "the same bits" if equal else "OTHER BITS"
        print(f"ggml32 has {theirs / ours:.2f} of the speed, {LEAST} are asked for; {bits}")
    raise SystemExit(0 if equal and theirs / ours >= LEAST else 1)


if __name__ == "__main__":
    main()
