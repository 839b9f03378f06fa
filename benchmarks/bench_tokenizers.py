"""Measure how long a large vocabulary takes to load and text takes to encode and decode.

Usage: python benchmarks/bench_tokenizers.py [FILE.gguf ...] [--megabytes 1] [--repeat 3] [--json]

Without a file a byte-pair vocabulary of 151,936 random tokens (the size of Qwen 2) is made up. The text mixes source
code of this project with made-up prose in several scripts; "new" means that no word of it was seen before.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.timing import best
from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.model.gguf.tokenizer import read_tokenizer
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.spelling import to_alphabet

PROJECT = Path(__file__).resolve().parent.parent
LONG_WORDS = ("a", "ab", "日", " ", "\n", "!", "1")


def write_vocabulary(path: Path, tokens: int = 151_936) -> None:
    """Write a byte-pair vocabulary: the bytes, then merges of random earlier tokens, short ones more often."""
    chooser = random.Random(0)
    texts = [to_alphabet(bytes([byte])).decode() for byte in range(256)]
    known = set(texts)
    merges = []
    letters = [each for each in texts if each.isalpha()]
    while len(texts) < tokens:
        left = chooser.choice(letters if chooser.random() < 0.5 else texts)
        right = chooser.choice(letters)
        if len(left) < 12 and left + right not in known:
            known.add(left + right)
            texts.append(left + right)
            merges.append(f"{left} {right}")
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types([1] * tokens)
    writer.add_token_merges(merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def mixed_text(size: int) -> str:
    """Return about `size` bytes: one half source code, one half prose whose words follow a power law."""
    chooser = random.Random(1)
    code = "".join(path.read_text(encoding="utf-8") for path in sorted(PROJECT.glob("refruntime/**/*.py")))
    alphabets = [
        "etaoinshrdlucmfw",
        "етаоинсрвлкм",
        "αεοιτσνρ",
        "的一是不了人我在有他",
        "あいうえおかきく",
        "0123456789",
    ]
    words = []
    for _ in range(20_000):
        alphabet = chooser.choices(alphabets, (8, 2, 1, 1, 1, 1))[0]
        words.append("".join(chooser.choices(alphabet, k=chooser.randint(1, 9))))
    prose: list[str] = []
    length = 0
    while length < size // 2:
        prose.append(words[int(len(words) * chooser.random() ** 3)] + chooser.choice([" ", " ", " ", ", ", ". ", "\n"]))
        length += len(prose[-1].encode())
    code = (code * (size // 2 // len(code) + 1))[: size // 2]
    return code + "".join(prose)


def measure(path: Path, text: bytes, repeat: int) -> dict[str, Any]:
    """Load one vocabulary, encode and decode the text."""
    data = path.read_bytes()

    def load() -> Tokenizer:
        return read_tokenizer(read_gguf(data).metadata, Profile())

    tokenizer = load()
    times = {"load": best(load, repeat), "encode_new": best(lambda: load().encode(text), repeat)}
    times["encode_new"] -= times["load"]
    ids = tokenizer.encode(text)
    times["encode_again"] = best(lambda: tokenizer.encode(text), repeat)
    times["decode"] = best(lambda: tokenizer.decode(ids), repeat)
    for word in LONG_WORDS:
        long = (word * 100_000)[:100_000].encode()
        times[f"100,000 characters of {word!r}"] = best(lambda long=long: tokenizer.encode(long), 1)  # type: ignore[misc]
    return {
        "vocabulary": path.name,
        "kind": tokenizer.kind,
        "tokens": tokenizer.vocab_size,
        "bytes": len(text),
        "ids": len(ids),
        "seconds": {name: round(seconds, 4) for name, seconds in times.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    text = mixed_text(int(options.megabytes * 1e6)).encode()
    with tempfile.TemporaryDirectory() as folder:
        files = options.files
        if not files:
            files = [Path(folder) / "random.gguf"]
            write_vocabulary(files[0])
        results = [measure(path, text, options.repeat) for path in files]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        print("{vocabulary}: {kind}, {tokens:,} tokens; {bytes:,} bytes give {ids:,} ids".format(**result))
        for name, seconds in result["seconds"].items():
            print(f"  {name:<28} {seconds:7.3f} s")


if __name__ == "__main__":
    main()
