"""Make the sampler vectors: `python make.py OUT_FOLDER LLAMA_CPP_PROGRAM RAND_PROGRAM PYTHON_WITH_TRANSFORMERS`.

The programs are made from `llama_cpp.cpp` and `rand.rs`; README.md says how.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SEEDS = (0, 1, 42, 299792458, 2**64 - 1)


def words(values: np.ndarray) -> list[str]:
    return [f"{word:08x}" for word in np.asarray(values, dtype=np.float32).view(np.uint32)]


def cases() -> list[dict[str, object]]:
    """Return logits [V] with settings; no two logits are equal except where `ties` says so."""
    generator = np.random.default_rng(20261122)
    published = np.log(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))
    rows = [published, *(generator.normal(0, 3, size).astype(np.float32) for size in (16, 60, 200))]
    for row in rows:
        assert np.unique(row).size == row.size
    settings = [
        (1.0, 0, 1.0, 0.0),
        (0.8, 0, 1.0, 0.0),
        (1.0, 3, 1.0, 0.0),
        (1.0, 0, 0.7, 0.0),
        (1.0, 0, 1.0, 0.26),
        (0.7, 10, 0.9, 0.0),
        (1.5, 40, 0.95, 0.05),
        (0.3, 12, 0.5, 0.02),
        (2.0, 0, 0.99, 0.001),
        (1.0, 1, 0.5, 0.5),
        (0.9, 8, 0.0, 0.0),
    ]
    made = [case(row, *chosen, seed=7 + index) for row in rows for index, chosen in enumerate(settings)]
    impossible = rows[1].copy()
    impossible[[2, 5, 9]] = -np.inf
    made.append(case(impossible, 0.8, 12, 0.95, 0.0, seed=3))
    made.append(case(rows[2], 0.0, 40, 0.9, 0.0, seed=11))
    tied = np.array([1.0, 2.0, 2.0, 0.5, 2.0, 1.0, 0.0, 1.0], dtype=np.float32)
    made += [case(tied, 1.0, 2, 1.0, 0.0, seed=5, ties=True), case(tied, 1.0, 0, 0.6, 0.0, seed=5, ties=True)]
    return made


def case(
    row: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float, seed: int, ties: bool = False
) -> dict[str, object]:
    return {
        "logits": words(row),
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "seed": seed,
        "ties": ties,
    }


def run(program: str, lines: list[str]) -> list[dict[str, object]]:
    shown = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in shown.splitlines()]


def pairs(given: list[dict[str, object]], made: list[dict[str, object]]) -> list[tuple[dict[str, object], object]]:
    return list(zip(given, made, strict=True))


def write(path: Path, made_with: str, rows: list[tuple[dict[str, object], object]]) -> None:
    lines = ",\n".join(json.dumps({"case": one, "result": other}) for one, other in rows)
    path.write_text(f'{{"made_with": {json.dumps(made_with)},\n"rows": [\n{lines}\n]}}\n')


def main() -> None:
    folder, llama_cpp, rand, python = sys.argv[1:]
    every = cases()
    distinct = [each for each in every if not each["ties"]]
    lines = [
        f"{each['temperature']} {each['top_k']} {each['top_p']} {each['min_p']} {each['seed']} 24 "
        f"{len(each['logits'])} {' '.join(each['logits'])}"
        for each in distinct
    ]
    results = run(llama_cpp, lines)
    write(Path(folder, "llama_cpp.json"), (HERE / "llama_cpp.version").read_text().strip(), pairs(distinct, results))

    warm = [each for each in every if each["temperature"]]
    with tempfile.TemporaryDirectory() as temporary:
        given, taken = Path(temporary, "cases.json"), Path(temporary, "results.json")
        given.write_text(json.dumps(warm))
        subprocess.run([python, str(HERE / "transformers_vectors.py"), str(given), str(taken)], check=True)
        answer = json.loads(taken.read_text())
    write(Path(folder, "transformers.json"), answer["made_with"], pairs(warm, answer["results"]))

    generator = np.random.default_rng(8)
    weights = [words(generator.random(size).astype(np.float32)) for size in (2, 7, 40, 300)]
    weights.append(words(np.array([0.0, 0.5, 0.0, 0.25, 0.25, 0.0], dtype=np.float32)))
    draws = [{"seed": str(seed), "weights": each} for seed in SEEDS for each in weights]
    results = run(rand, [f"{each['seed']} 24 {' '.join(each['weights'])}" for each in draws])
    write(Path(folder, "rand.json"), "the crate rand 0.8.5: StdRng, WeightedIndex<f32>", pairs(draws, results))


main()
