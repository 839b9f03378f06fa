"""Train one of the story models and write its raw float32 weights.

    python tools/train/train.py --model stories --output stories.npz

Beside the weights a JSON file of the same name records sizes, tokenizer, corpus hash, losses and sample texts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.nn.functional as functional
from byte_pairs import FIRST_MERGED_ID, BytePairEncoder, Pair, learn_merges
from network import HyperParameters, Weights, forward, initial_weights, quantize_all
from samples import sample_report
from stories import SplitMix64, generate_stories
from torch import Tensor

BOS, EOS, PAD = 256, 257, 258


@dataclass(frozen=True)
class Recipe:
    """Everything that decides one training run."""

    vocab_size: int
    tied_output: bool
    seed: int
    story_count: int = 40000
    story_seed: int = 1
    validation_count: int = 500
    validation_seed: int = 2
    steps: int = 2000
    batch_size: int = 16
    peak_learning_rate: float = 3e-3
    last_learning_rate: float = 1e-4
    warmup_steps: int = 100
    weight_decay: float = 0.05
    # From this share of the steps on, every second step sees the weights rounded to q4_0.
    quantized_from: float = 0.5


RECIPES = {
    "stories": Recipe(vocab_size=260, tied_output=False, seed=1),
    "stories-tied": Recipe(vocab_size=260, tied_output=True, seed=2),
    # Merged tokens halve the length of a story, and continuing a prompt that ends inside a token takes more practice.
    "stories-bpe": Recipe(vocab_size=384, tied_output=True, seed=3, batch_size=48),
}


def encode_story(encoder: BytePairEncoder, story: str, generator: SplitMix64) -> list[int]:
    """Return BOS, the story, EOS.

    Every second story is cut once and encoded in two parts. A prompt ends anywhere, also where a merged token would
    go on, and the model has to know how such a text continues. Without merges the cut changes nothing.
    """
    cut = generator.below(len(story)) if generator.below(2) else 0
    return [BOS, *encoder.encode(story[:cut]), *encoder.encode(story[cut:]), EOS]


def make_batch(stories: Sequence[Sequence[int]], context: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets [B, T], padded with PAD; a story that is longer than the context is cut."""
    length = min(max(map(len, stories)), context + 1)
    rows = [list(story[:length]) + [PAD] * (length - len(story)) for story in stories]
    tokens = torch.tensor(rows)
    return tokens[:, :-1], tokens[:, 1:]


def mean_loss(sizes: HyperParameters, weights: Weights, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy in nats a token; padding does not count."""
    logits = forward(sizes, weights, inputs)
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Rise linearly, then fall along half a cosine."""
    if step < recipe.warmup_steps:
        return recipe.peak_learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps)
    span = recipe.peak_learning_rate - recipe.last_learning_rate
    return recipe.last_learning_rate + span * (1 + math.cos(math.pi * progress)) / 2


def train(
    recipe: Recipe, sizes: HyperParameters, stories: list[list[int]], validation: list[list[int]]
) -> tuple[Weights, list[dict[str, float]]]:
    """Return trained weights and the log of losses."""
    weights = initial_weights(sizes, recipe.seed)
    for weight in weights.values():
        weight.requires_grad_()
    matrices = [weight for weight in weights.values() if weight.dim() == 2]
    vectors = [weight for weight in weights.values() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    held_out = make_batch(validation, sizes.max_context)
    log: list[dict[str, float]] = []
    order: list[int] = []
    start = time.monotonic()
    for step in range(recipe.steps):
        if len(order) < recipe.batch_size:
            order = torch.randperm(len(stories), generator=generator).tolist()
        batch = [stories[order.pop()] for _ in range(recipe.batch_size)]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        quantized = step >= recipe.steps * recipe.quantized_from and step % 2 == 1
        seen_weights = quantize_all(weights, "q4_0" if quantized else "f32")
        loss = mean_loss(sizes, seen_weights, *make_batch(batch, sizes.max_context))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        if (step + 1) % 200 == 0 or step + 1 == recipe.steps:
            with torch.no_grad():
                losses = {
                    dtype: mean_loss(sizes, quantize_all(weights, dtype), *held_out).item()
                    for dtype in ("f32", "q8_0", "q4_0")
                }
            log.append({"step": step + 1, **{dtype: round(value, 5) for dtype, value in losses.items()}})
            print(f"{log[-1]}  {time.monotonic() - start:.0f} s", flush=True)
    return {name: weight.detach() for name, weight in weights.items()}, log


def token_table(encoder: BytePairEncoder, merges: Sequence[Pair]) -> dict[str, Any]:
    """Return the merged tokens and merges as a BPE1 section lists them (contract rule SL-9)."""
    ids = range(FIRST_MERGED_ID, FIRST_MERGED_ID + len(merges))
    return {
        "tokens": [{"id": token, "bytes": encoder.token_bytes[token].hex()} for token in ids],
        "merges": [
            [left, right, token, rank] for rank, ((left, right), token) in enumerate(zip(merges, ids, strict=True))
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=RECIPES, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    recipe = RECIPES[arguments.model]
    sizes = HyperParameters(vocab_size=recipe.vocab_size, tied_output=recipe.tied_output)
    texts = list(generate_stories(recipe.story_count, recipe.story_seed))
    merges = learn_merges(texts, recipe.vocab_size - FIRST_MERGED_ID)
    encoder = BytePairEncoder(merges)
    cuts = SplitMix64(recipe.seed)
    stories = [encode_story(encoder, text, cuts) for text in texts]
    known = set(texts)
    unseen = [text for text in generate_stories(recipe.validation_count, recipe.validation_seed) if text not in known]
    validation = [[BOS, *encoder.encode(text), EOS] for text in unseen]

    weights, log = train(recipe, sizes, stories, validation)
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    numpy.savez(arguments.output, allow_pickle=False, **arrays)
    report = {
        "model": arguments.model,
        "hyper_parameters": asdict(sizes),
        "recipe": asdict(recipe),
        "tokenizer": token_table(encoder, merges),
        "corpus_sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        "software": {"torch": torch.__version__, "numpy": numpy.__version__, "threads": arguments.threads},
        "parameter_count": sum(array.size for array in arrays.values()),
        "validation_loss_nats_per_token": log,
        "samples": sample_report(sizes, weights, encoder),
    }
    arguments.output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
