"""Synthetic SLM1 models with random weights, for tests and benchmarks."""

from __future__ import annotations

import numpy as np

from refruntime.containers.slm1_format import DType, Slm1Parameters
from refruntime.containers.slm1_writer import write_slm1
from refruntime.contract.profile import Profile
from refruntime.model.slm1.encode import encode_tensor
from refruntime.tokenizers.btok import BtokTokenizer

Weights = dict[str, np.ndarray]

SMALL = {"vocab_size": 260, "hidden_size": 32, "layer_count": 2, "head_count": 4, "ffn_size": 96, "max_context": 64}
TINYLM_16M = {
    "vocab_size": 260,
    "hidden_size": 512,
    "layer_count": 4,
    "head_count": 8,
    "ffn_size": 2048,
    "max_context": 512,
}


def parameters(*, tied: bool = False, **dimensions: int) -> Slm1Parameters:
    """Complete the header fields of a model with equal heads."""
    heads = dimensions["head_count"]
    return Slm1Parameters(
        flags=int(tied),
        kv_head_count=heads,
        head_dim=dimensions["hidden_size"] // heads,
        rope_theta=10000.0,
        rms_norm_epsilon=float(np.float32(1e-5)),
        **dimensions,
    )


def random_weights(seed: int, *, tied: bool = False, **dimensions: int) -> Weights:
    """Draw weights that keep activations near unit size and logits well spread."""
    rng = np.random.default_rng(seed)
    vocab, hidden, ffn = dimensions["vocab_size"], dimensions["hidden_size"], dimensions["ffn_size"]

    def matrix(out: int, inputs: int, gain: float = 1.0) -> np.ndarray:
        return (rng.standard_normal((out, inputs)) * gain / np.sqrt(inputs)).astype(np.float32)

    def norm() -> np.ndarray:
        return (1 + 0.1 * rng.standard_normal(hidden)).astype(np.float32)

    weights = {"tok_embeddings.weight": rng.standard_normal((vocab, hidden)).astype(np.float32), "norm.weight": norm()}
    if not tied:
        weights["output.weight"] = matrix(vocab, hidden, 2.5)
    for layer in range(dimensions["layer_count"]):
        block = f"layers.{layer}."
        weights |= {block + "attn_norm.weight": norm(), block + "ffn_norm.weight": norm()}
        weights |= {f"{block}{name}.weight": matrix(hidden, hidden, 1.5) for name in ("wq", "wk", "wv", "wo")}
        weights |= {f"{block}{name}.weight": matrix(ffn, hidden) for name in ("w1", "w3")}
        weights[block + "w2.weight"] = matrix(hidden, ffn)
    return weights


def slm1_file(
    weights: Weights, *, dtype: DType = DType.F32, tied: bool = False, profile: Profile | None = None, **dims: int
) -> bytes:
    """Write the weights as an SLM1 file with the byte tokenizer."""
    tensors = [encode_tensor(name, values, dtype) for name, values in weights.items()]
    tokenizer = BtokTokenizer(dims["vocab_size"]).section_bytes()
    return write_slm1(parameters(tied=tied, **dims), tokenizer, tensors, profile or Profile())
