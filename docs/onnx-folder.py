"""Write a GGUF file as transformers.js reads a model: FOLDER with config.json, tokenizer.json and onnx/model.onnx.

    pip install transformers gguf torch onnx
    python docs/onnx-folder.py model.gguf FOLDER

Weights are decoded to float32 by transformers, and every pass computes all positions: no cache.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers

NAMES = ["input_ids", "attention_mask"]


class Logits(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """A decoder that gives logits [1, T, V] of ids [1, T] and nothing else."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """Compute all positions."""
        return self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def main() -> None:
    """Read, trace, write."""
    model, folder = Path(sys.argv[1]), Path(sys.argv[2])
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    source: dict[str, Any] = {"gguf_file": model.name, "local_files_only": True}
    transformers.AutoTokenizer.from_pretrained(str(model.parent), **source).save_pretrained(folder)
    choices = {"dtype": torch.float32, "attn_implementation": "eager"}
    decoder = transformers.AutoModelForCausalLM.from_pretrained(str(model.parent), **source, **choices).eval()
    decoder.config.save_pretrained(folder)
    ids = torch.ones((1, 5), dtype=torch.int64)
    length = {name: {1: "positions"} for name in (*NAMES, "logits")}
    names: dict[str, Any] = {"input_names": NAMES, "output_names": ["logits"], "dynamic_axes": length}
    target = str(folder / "onnx" / "model.onnx")
    torch.onnx.export(Logits(decoder), (ids, torch.ones_like(ids)), target, **names, dynamo=False)


if __name__ == "__main__":
    main()
