"""Measure `fast` and seq32 against transformers + torch float32 on one GGUF file, and against the memory's bandwidth.

    python benchmarks/bench_fast.py [--model FILE.gguf] [--tokens 64] [--prompt 128] [--json]

Without a file, a random llama of the TinyLM-16M shape is made. All runs share one process and one machine; every figure
is also a ratio. The peers are the optional group `peers` (pip install 'refruntime[peers]'); without them the benchmark
says so and measures the rest. The limit: weights of one token divided by the time that a large sgemv takes per byte.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.timing import best
from refruntime import open_model
from refruntime.api import Model
from refruntime.battery.models.gguf import LlamaShape, llama_model

TINYLM_16M = LlamaShape(hidden=512, layers=4, heads=8, kv_heads=8, ffn=2048, context=512)
ROUNDS = 3


def measure_ours(path: Path, numerics: Any, ids: list[int], tokens: int) -> dict[str, float]:
    """Return load, prefill and decode of one numeric profile."""
    load = best(lambda: open_model(path, numerics=numerics), ROUNDS)
    model: Model = open_model(path, numerics=numerics)
    transformer = model.transformer

    def decode() -> None:
        cache = transformer.new_cache()
        for token in ids[:tokens]:
            transformer.forward([token], cache)

    transformer.forward(ids, transformer.new_cache())
    prefill = best(lambda: transformer.forward(ids, transformer.new_cache()), ROUNDS)
    decoding = tokens / best(decode, ROUNDS)
    return {"load_seconds": load, "prefill_per_second": len(ids) / prefill, "decode_per_second": decoding}


def measure_torch(path: Path, ids: list[int], tokens: int) -> dict[str, float]:
    """Return load, prefill and decode of transformers on torch, float32, the same file. ImportError without them."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    begin = time.perf_counter()
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    load = time.perf_counter() - begin

    def decode() -> None:
        cache = None
        with torch.inference_mode():
            for token in ids[:tokens]:
                output = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
                cache = output.past_key_values

    def prefill() -> None:
        with torch.inference_mode():
            model(torch.tensor([ids]), use_cache=True)

    prefill()
    return {
        "load_seconds": load,
        "prefill_per_second": len(ids) / best(prefill, ROUNDS),
        "decode_per_second": tokens / best(decode, ROUNDS),
    }


def measure_bandwidth() -> float:
    """Return how many bytes of a matrix a large sgemv reads in a second."""
    rng = np.random.default_rng(2)
    matrix, vector = rng.random((16384, 4096), np.float32), rng.random(4096, np.float32)
    return matrix.nbytes / best(lambda: matrix @ vector, 5)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.model
        if path is None:
            path = Path(folder) / "tinylm-16m.gguf"
            path.write_bytes(llama_model(1, TINYLM_16M).data)
        figures = measure(path, arguments.tokens, arguments.prompt)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, row in figures.items():
        if isinstance(row, dict):
            print(f"{name:28}" + "  ".join(f"{key} {value:,.3f}" for key, value in row.items()))
        else:
            print(f"{name:28}{row:,.3f}" if isinstance(row, float) else f"{name:28}{row}")


def measure(path: Path, tokens: int, prompt: int) -> dict[str, Any]:
    """Return all figures."""
    from refruntime.numerics import CompiledSeq32, Fast

    model = open_model(path, numerics="fast")
    dimensions = model.hyperparameters
    ids = np.random.default_rng(0).integers(0, dimensions.vocab_size, prompt).tolist()
    figures: dict[str, Any] = {"fast": measure_ours(path, Fast("float32"), ids, tokens)}
    figures["fast, stored"] = measure_ours(path, Fast("stored"), ids, tokens)
    try:
        figures["seq32, numba"] = measure_ours(path, CompiledSeq32(kernels="numba"), ids, tokens)
    except ImportError as error:
        figures["seq32, numba"] = f"not measured: {error}"
    try:
        figures["torch"] = measure_torch(path, ids, tokens)
    except ImportError as error:
        figures["torch"] = f"not measured: {error}; pip install 'refruntime[peers]'"
    seq32 = open_model(path, numerics="seq32")
    difference = np.abs(seq32.logits(ids) - model.logits(ids)).max()
    figures["fast - seq32, largest logit"] = f"{difference:.3g}"
    read = sum(weight.nbytes for weight in _matrices(model)) / measure_bandwidth()
    figures["fast decode / bandwidth limit"] = figures["fast"]["decode_per_second"] * read
    if isinstance(figures["torch"], dict):
        for key in ("decode_per_second", "prefill_per_second"):
            figures[f"fast / torch, {key}"] = figures["fast"][key] / figures["torch"][key]
        figures["torch / fast, load_seconds"] = figures["torch"]["load_seconds"] / figures["fast"]["load_seconds"]
    if isinstance(figures["seq32, numba"], dict):
        ratio = figures["fast"]["decode_per_second"] / figures["seq32, numba"]["decode_per_second"]
        figures["fast / seq32, decode"] = ratio
    return figures


def _matrices(model: Model) -> list[np.ndarray[Any, Any]]:
    """Return the matrices that one token reads; the embedding gives only a row."""
    weights = model.transformer.weights.model
    projections = [weights.output]
    for layer in weights.layers:
        for part in (layer.mixer, layer.feed_forward):
            projections += [value for value in vars(part).values() if hasattr(value, "matrices")]
    return [matrix for projection in projections for matrix in projection.matrices]


if __name__ == "__main__":
    main()
