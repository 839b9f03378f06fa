"""Measure how long a GGUF file with a large vocabulary takes to open, against gguf-py's reader, in one run.

Usage: python benchmarks/bench_gguf_open.py [--tokens 152000] [--merges 151000] [--repeat 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.timing import best
from refruntime.containers.gguf import read_gguf


def write_vocabulary(path: Path, tokens: int, merges: int) -> None:
    """Write a file with token texts of 1 to 16 bytes, scores, types, merges and one small tensor."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 10, tokens)
    letters = generator.integers(97, 123, (tokens, 10), dtype=np.uint8)
    texts = [b"%x." % index + letters[index, : lengths[index]].tobytes() for index in range(tokens)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(texts)
    writer.add_token_scores([float(-index) for index in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.add_token_merges([f"{texts[i].decode()} {texts[-i].decode()}" for i in range(merges)])
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measure(tokens: int, merges: int, repeat: int) -> dict[str, float]:
    """Write one file and open it with both readers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_vocabulary(path, tokens, merges)
        data = path.read_bytes()
        ours, theirs = read_gguf(data).metadata["tokenizer.ggml.tokens"], gguf.GGUFReader(path)
        if ours != theirs.fields["tokenizer.ggml.tokens"].contents():
            raise SystemExit("the two readers disagree about the tokens")
        opened = best(lambda: read_gguf(data), repeat)
        reference = best(lambda: gguf.GGUFReader(path), max(1, repeat // 2))
        texts = best(lambda: read_gguf(data).metadata.strings("tokenizer.ggml.tokens"), repeat)
    return {
        "bytes": len(data),
        "tokens": tokens,
        "merges": merges,
        "open_seconds": opened,
        "open_and_tokens_seconds": texts,
        "gguf_py_open_seconds": reference,
        "ratio_open": reference / opened,
        "ratio_open_and_tokens": reference / texts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=152_000)
    parser.add_argument("--merges", type=int, default=151_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments.tokens, arguments.merges, arguments.repeat)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['bytes']:,} bytes, {arguments.tokens:,} tokens, {arguments.merges:,} merges; best of the runs")
    for name, seconds, ratio in (
        ("open", "open_seconds", "ratio_open"),
        ("open + token texts", "open_and_tokens_seconds", "ratio_open_and_tokens"),
    ):
        print(f"{name:20}{result[seconds] * 1e3:9.1f} ms   {result[ratio]:6.1f} x faster than gguf-py's open")
    print(f"{'gguf-py open':20}{result['gguf_py_open_seconds'] * 1e3:9.1f} ms")


if __name__ == "__main__":
    main()
