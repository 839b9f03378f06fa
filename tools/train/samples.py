"""Let a trained model write, and measure how much of its text the story grammar could have written."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy
import stories
import torch
from byte_pairs import BytePairEncoder
from network import HyperParameters, Weights, forward, quantize_all
from stories import ANIMALS, BOYS, COLORS, FOODS, GIFTS, GIRLS, HOBBIES, HOMES, SIZES, SPOTS, TOYS

BOS, EOS = 256, 257
PROMPTS = ("Once upon a time", "The little", "Mia ", "")
# Every name starts a story in the corpus too, so each makes one more continuation to judge.
JUDGED_PROMPTS = (*PROMPTS, *(f"{name} " for name in GIRLS + BOYS), *(f"The {size}" for size in SIZES))
FILLERS = {
    "SPOT": SPOTS + HOMES,
    "HOBBY": HOBBIES,
    "GIFT": GIFTS,
    "NAME": GIRLS + BOYS,
    "ANIMAL": ANIMALS,
    "SIZE": SIZES,
    "COLOR": COLORS,
    "TOY": TOYS,
    "FOOD": FOODS,
}


def greedy(sizes: HyperParameters, weights: Weights, prompt: list[int]) -> tuple[list[int], float]:
    """Return the generated ids, EOS included if it came, and the smallest margin between the two best logits."""
    tokens, smallest = list(prompt), float("inf")
    with torch.no_grad():
        while len(tokens) < sizes.max_context:
            best = forward(sizes, weights, torch.tensor([tokens]))[0, -1].topk(2)
            smallest = min(smallest, (best.values[0] - best.values[1]).item())
            tokens.append(int(best.indices[0]))
            if tokens[-1] == EOS:
                break
    return tokens[len(prompt) :], smallest


def sentence_shapes(text: str) -> list[str]:
    """Return the complete sentences of a text with every filler replaced by the name of its kind.

    `"Oh no!" said Mia.` counts as two: `"Oh no!"` and `said NAME.`
    """
    for kind, fillers in FILLERS.items():
        text = re.sub(rf"\b({'|'.join(sorted(fillers, key=len, reverse=True))})\b", kind, text)
    return [shape.strip() for shape in re.findall(r'[^.!?]*[.!?]"?', text)]


def sample_report(sizes: HyperParameters, weights: Weights, encoder: BytePairEncoder) -> dict[str, Any]:
    """Return greedy texts and their judgement for each weight type."""
    known = {shape for text in stories.generate_stories(40000, 1) for shape in sentence_shapes(text)}
    report: dict[str, Any] = {}
    for dtype in ("f32", "q8_0", "q4_0"):
        used = quantize_all(weights, dtype)
        texts: dict[str, str] = {}
        shapes: list[str] = []
        finished, smallest = 0, float("inf")
        for prompt in JUDGED_PROMPTS:
            ids, margin = greedy(sizes, used, [BOS, *encoder.encode(prompt)])
            finished += ids[-1] == EOS
            smallest = min(smallest, margin)
            text = encoder.decode(ids)
            shapes += sentence_shapes(prompt + text)
            if prompt in PROMPTS:
                texts[prompt] = text + ("<EOS>" if ids[-1] == EOS else "")
        strange = sorted({shape for shape in shapes if shape not in known})
        report[dtype] = {
            "texts": texts,
            "prompts": len(JUDGED_PROMPTS),
            "ended_with_eos": finished,
            "smallest_margin": smallest,
            "sentences": len(shapes),
            "sentences_of_the_grammar": sum(shape in known for shape in shapes),
            "other_sentences": strange,
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Print greedy texts of trained weights.")
    parser.add_argument("weights", type=Path, help="the .npz file that train.py wrote, its .json beside it")
    arguments = parser.parse_args()
    record = json.loads(arguments.weights.with_suffix(".json").read_text(encoding="ascii"))
    encoder = BytePairEncoder([(left, right) for left, right, _, _ in record["tokenizer"]["merges"]])
    with numpy.load(arguments.weights) as arrays:
        weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    print(json.dumps(sample_report(HyperParameters(**record["hyper_parameters"]), weights, encoder), indent=1))


if __name__ == "__main__":
    main()
