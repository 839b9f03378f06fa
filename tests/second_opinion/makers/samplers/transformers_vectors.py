"""Let transformers warp logits: `python transformers_vectors.py CASES.json OUT.json` (needs torch and transformers).

The warpers and their order are those that `generate` builds for itself, so the order is checked too.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM


def main() -> None:
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=8,
        )
    )
    results = []
    for case in cases:
        logits = np.array([int(word, 16) for word in case["logits"]], dtype=np.uint32).view(np.float32)
        config = GenerationConfig(
            do_sample=True,
            temperature=case["temperature"],
            top_k=case["top_k"],
            top_p=case["top_p"],
            min_p=case["min_p"] or None,
        )
        ids = torch.zeros((1, 1), dtype=torch.long)
        warpers = model._get_logits_processor(
            generation_config=config, input_ids_seq_length=1, encoder_input_ids=ids, device="cpu"
        )
        scores = warpers(ids, torch.from_numpy(logits.copy())[None])
        probabilities = torch.nn.functional.softmax(scores, dim=-1)[0].numpy()
        kept = np.flatnonzero(np.isfinite(scores[0].numpy()))
        results.append(
            {
                "warpers": [type(warper).__name__ for warper in warpers],
                "ids": kept.tolist(),
                "probabilities": [f"{word:08x}" for word in probabilities[kept].view(np.uint32)],
            }
        )
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__}, CPU"
    with open(sys.argv[2], "w") as file:
        json.dump({"made_with": made_with, "results": results}, file)


main()
