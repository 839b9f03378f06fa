"""Compare whole models in `ggml32` with a scalar build of llama.cpp, bit by bit (`tools/scalar_ggml/build.sh`).

    REFRUNTIME_SCALAR_GGML=/tmp/scalar-ggml/bin python -m tests.drivers.scalar_build MODEL.gguf... [--positions 256]
    ... --numerics ggml32,kv=f16,flash=on,threads=2 --positions 530 --last 8 --alone 8

Tokens are random. Prompts go in by `--together`; the last `--alone` tokens one by one, on the threads of the numerics.
Models that a file is too large for tests are compared so. Exit code 1 where a bit differs.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import numerics_named
from refruntime.numerics.ggml32.switches import read_switches
from tests.support.scalar_ggml import VARIABLE, differing, folder, logits, quiet

CACHES = {"f32": 0, "f16": 1, "q8_0": 8}


def main() -> None:
    """Compare each model and print how many numbers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--numerics", default="ggml32")
    parser.add_argument("--positions", type=int, default=256)
    parser.add_argument("--together", type=int, default=32)
    parser.add_argument("--alone", type=int, default=0)
    parser.add_argument("--last", type=int, default=0, help="compare the last rows alone; 0: all")
    parser.add_argument("--seed", type=int, default=4)
    asked = parser.parse_args()
    libraries = folder()
    if libraries is None:
        raise SystemExit(f"{VARIABLE} names no folder with a scalar build of ggml")
    os.environ["LLAMA_CPP_LIB_PATH"] = str(libraries)
    with quiet():
        import llama_cpp.llama_cpp as llama

        llama.llama_backend_init()
    wrong = 0
    for path in asked.models:
        wrong += compare(llama, path, asked)
    raise SystemExit(1 if wrong else 0)


def compare(llama: object, path: Path, asked: argparse.Namespace) -> int:
    """Return how many numbers of a model differ."""
    model = validate_model(path.read_bytes(), Profile())
    model = replace(model, hyperparameters=replace(model.hyperparameters, max_context=asked.positions))
    vocabulary = min(model.hyperparameters.vocab_size, 50_000)
    ids = list(map(int, np.random.default_rng(asked.seed).integers(3, vocabulary, asked.positions)))
    numerics = numerics_named(asked.numerics)
    switches = read_switches(asked.numerics)
    start = time.process_time()
    with quiet():
        settings = CACHES[switches.kv], int(switches.flash != "off" or switches.kv == "q8_0")
        theirs = logits(llama, path, ids, *settings, asked.together, asked.alone, switches.threads, asked.last)
    between = time.process_time()
    transformer = Transformer(model, Profile(), numerics)
    ours = transformer.forward(ids, transformer.new_cache(), first_logit=-(asked.last or len(ids)))
    count = differing(ours, theirs)
    took = f"{between - start:.0f} s, ours {time.process_time() - between:.0f} s"
    largest = float(np.abs(ours - theirs).max())
    print(f"{path.name}: {count} of {ours.size} numbers differ, by {largest:.2g} at most ({took})", flush=True)
    return count


if __name__ == "__main__":
    main()
