"""Compute the vectors of byte-pair tokenizers again, with llama.cpp's own code.

Usage: python tests/second_opinion/makers/tokenizers/make_vectors.py LLAMA_CPP [--check]

LLAMA_CPP is a folder with the sources of llama.cpp, such as `vendor/llama.cpp` in the source package of
llama-cpp-python. Needs g++ and gcc. Texts and vocabularies stay those of the files; the answers are computed anew.
With --check nothing is written, and the exit code is 1 if a file would change.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[4]
VECTORS = PROJECT / "tests" / "second_opinion" / "vectors" / "tokenizers"
sys.path.insert(0, str(PROJECT))

from tests.support.gguf_by_hand import I32, STRING, U32, array, gguf_file, key, scalar  # noqa: E402

LLAMA_SOURCES = [
    "unicode",
    "unicode-data",
    "llama-impl",
    "llama-model-loader",
    "llama-arch",
    "llama-mmap",
    "llama-hparams",
]
GGML_SOURCES = [
    *(
        "gguf.cpp",
        "ggml.cpp",
        "ggml-backend.cpp",
        "ggml-backend-reg.cpp",
        "ggml-backend-dl.cpp",
        "ggml-backend-meta.cpp",
    ),
    *("ggml-threading.cpp", "ggml.c", "ggml-alloc.c", "ggml-quants.c"),
]
OTHER_TOKENIZERS = {"whitespace"}  # a name of `pre` that goes with a `model` of its own


def build_probe(sources: Path, folder: Path) -> Path:
    """Compile probe.cpp with the parts of llama.cpp that it needs; a minute or two."""
    (folder / "ggml-version.h").write_text('#define GGML_VERSION "0"\n#define GGML_COMMIT "0"\n')
    paths = [sources / "include", sources / "src", sources / "ggml" / "include", sources / "ggml" / "src"]
    flags = ["-O1", "-w", "-D_GNU_SOURCE", "-ffunction-sections", "-fdata-sections", f"-I{folder}"]
    flags += [f"-I{path}" for path in paths]
    files = [Path(__file__).with_name("probe.cpp")]
    files += [sources / "src" / f"{name}.cpp" for name in LLAMA_SOURCES]
    files += [sources / "ggml" / "src" / name for name in GGML_SOURCES]
    objects = []
    for file in files:
        objects.append(folder / f"{file.name}.o")
        compiler = ["gcc", "-std=c11"] if file.suffix == ".c" else ["g++", "-std=c++17"]
        subprocess.run([*compiler, *flags, "-c", str(file), "-o", str(objects[-1])], check=True)
    probe = folder / "probe"
    subprocess.run(["g++", "-o", str(probe), *map(str, objects), "-Wl,--gc-sections", "-lpthread", "-ldl"], check=True)
    return probe


def vocabulary_file(vocabulary: dict[str, Any], model: str, pre: str | None) -> bytes:
    values = {
        "general.architecture": scalar(STRING, "llama"),
        "tokenizer.ggml.model": scalar(STRING, model),
        "tokenizer.ggml.tokens": array(STRING, vocabulary["tokens"]),
        "tokenizer.ggml.token_type": array(I32, vocabulary["types"]),
        "tokenizer.ggml.merges": array(STRING, vocabulary["merges"]),
        "tokenizer.ggml.bos_token_id": scalar(U32, vocabulary["bos"]),
        "tokenizer.ggml.eos_token_id": scalar(U32, vocabulary["eos"]),
    }
    if pre is not None:
        values["tokenizer.ggml.pre"] = scalar(STRING, pre)
    return gguf_file([key(name, value) for name, value in values.items()])


def ask(probe: Path, file: bytes, requests: list[str]) -> list[str]:
    """Return one answer for each request."""
    path = probe.with_name("vocabulary.gguf")
    path.write_bytes(file)
    process = subprocess.run(
        [str(probe), str(path)],
        input="".join(f"{each}\n" for each in requests),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [each.strip() for each in process.stdout.splitlines()]
    if len(answers) != len(requests):
        raise SystemExit(f"{len(requests)} requests, {len(answers)} answers: {process.stderr[-500:]}")
    return answers


def pre_tokenizer_names(sources: Path) -> list[str]:
    """Return every name that llama.cpp compares `tokenizer.ggml.pre` with."""
    text = (sources / "src" / "llama-vocab.cpp").read_text(encoding="utf-8")
    names = dict.fromkeys(re.findall(r'tokenizer_pre == "([^"]+)"', text))
    return [name for name in names if name not in OTHER_TOKENIZERS]


def splits(probe: Path, sources: Path, texts: list[str], vocabulary: dict[str, Any]) -> str:
    """Return splits.json: names grouped by their regular expressions, with the lengths of the words of each text."""
    groups: dict[str, dict[str, Any]] = {}
    requests = ["regexes", *(f"split {text.encode().hex()}" for text in texts)]
    for name in sorted(pre_tokenizer_names(sources)):
        regexes, *lengths = ask(probe, vocabulary_file(vocabulary, "gpt2", name), requests)
        group = groups.setdefault(regexes, {"names": [], "lengths": lengths})
        group["names"].append(name)
    entries = [
        f'{{"names": {json.dumps(each["names"])},\n "lengths": [\n{lines(each["lengths"])}]}}'
        for each in groups.values()
    ]
    return f'{{\n"texts": [\n{lines(texts)}\n],\n"splits": [\n' + ",\n".join(entries) + "\n]\n}\n"


def small_vocabularies(probe: Path, document: dict[str, Any]) -> str:
    """Return small_vocabularies.json with the flags, ids and pieces computed again."""
    texts = document["texts"]
    parts = []
    for name, vocabulary in document["vocabularies"].items():
        requests = [f"piece {token}" for token in range(len(vocabulary["tokens"]))]
        answers = ask(probe, vocabulary_file(vocabulary, vocabulary["model"], "gpt-2"), requests)
        pieces = [[answer.split()[0][1:], int(answer.split()[1])] for answer in answers]
        runs = []
        for run in vocabulary["runs"]:
            cases = run["cases"]
            requests = [f"encode {special} {parse} {texts[text].encode().hex()}" for special, parse, text, _ in cases]
            flags, *ids = ask(probe, vocabulary_file(vocabulary, run["model"], run["pre"]), ["flags", *requests])
            add_bos, add_eos = (each == "1" for each in flags.split())
            head = {"model": run["model"], "pre": run["pre"], "add_bos": add_bos, "add_eos": add_eos}
            answered = [[*case[:3], answer] for case, answer in zip(cases, ids, strict=True)]
            runs.append(json.dumps(head)[:-1] + f', "cases": [\n{lines(answered)}]}}')
        kept = {each: vocabulary[each] for each in ("model", "tokens", "types", "merges", "bos", "eos")}
        fields = "".join(f'"{field}": {json.dumps(value)},\n' for field, value in {**kept, "pieces": pieces}.items())
        parts.append(f'"{name}": {{\n{fields}"runs": [\n' + ",\n".join(runs) + "]}")
    return f'{{\n"texts": [\n{lines(texts)}\n],\n"vocabularies": {{\n' + ",\n".join(parts) + "}\n}\n"


def lines(values: list[Any]) -> str:
    return ",\n".join(map(json.dumps, values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, metavar="LLAMA_CPP")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    known = {name: json.loads((VECTORS / name).read_text()) for name in ("splits.json", "small_vocabularies.json")}
    byte_level = known["small_vocabularies.json"]["vocabularies"]["byte_level"]
    with tempfile.TemporaryDirectory() as folder:
        probe = build_probe(options.sources.resolve(), Path(folder))
        computed = {
            "splits.json": splits(probe, options.sources, known["splits.json"]["texts"], byte_level),
            "small_vocabularies.json": small_vocabularies(probe, known["small_vocabularies.json"]),
        }
    changed = [name for name, text in computed.items() if text != (VECTORS / name).read_text()]
    for name in changed:
        print(f"{name} {'would change' if options.check else 'written'}")
        if not options.check:
            (VECTORS / name).write_text(computed[name])
    raise SystemExit(1 if options.check and changed else 0)


if __name__ == "__main__":
    main()
