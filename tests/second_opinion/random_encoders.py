"""Recipes of random encoders, with a vocabulary of word pieces."""

from __future__ import annotations

import string
import zlib

import gguf

from tests.second_opinion.random_model import (
    CONTEXT,
    EPSILON,
    FEED_FORWARD,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    VOCABULARY,
    Recipe,
)

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*string.ascii_lowercase, *string.digits, "\u00e9", "\u00df", "\u4e2d", "\u0431", "e\u0301"]
PIECES = ["ing", "able", "un", "th", "the", "hello", "world", "er", "ed", "\u6587"]
PUNCTUATION = [*string.punctuation, "\u2026", "\u20ac"]
SPELT = [*MARKS, *(f"\u2581{each}" for each in (*LETTERS, *PIECES, *PUNCTUATION)), *LETTERS, *PIECES]
TOKENS = [*SPELT, *(f"[unused{number}]" for number in range(VOCABULARY - len(SPELT)))]
TYPES = [*[3] * len(MARKS), *[1] * (VOCABULARY - len(MARKS))]  # control, normal
POOLINGS = {"none": 0, "mean": 1, "cls": 2, "last": 3}
TEXTS = [
    "hello world",
    "The unthinkable; e\u0301t\u00c9 \u4e2d\u6587 42!",
    "a",
    "worlds  of\tthe\n\u00df\u20ac \u2026 hello-er ed. \u044f",
]


class EncoderRecipe(Recipe):
    """An encoder in the making."""

    def write_vocabulary(self, writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("default")
        writer.add_token_type_count(2)
        writer.add_token_list(TOKENS)
        writer.add_token_types(TYPES)
        writer.add_pad_token_id(0)
        writer.add_unk_token_id(1)
        writer.add_bos_token_id(2)
        writer.add_sep_token_id(3)
        writer.add_mask_token_id(4)


def bert(seed: int, pooling: str = "cls") -> EncoderRecipe:
    """BERT: learned positions, biases everywhere, GELU without a gate."""
    model = _encoder("bert", seed, pooling)
    model.tensor("position_embd.weight", CONTEXT, HIDDEN, size=0.7)
    for block in model.blocks:
        model.attention(block, kv_heads=HEADS, head_dim=HEAD_DIM, bias=True, output_bias=True)
        model.norm(f"{block}.attn_output_norm", bias=True)
        model.plain(block)
        model.norm(f"{block}.layer_output_norm", bias=True)
    return model


def nomic_bert(seed: int, pooling: str = "mean") -> EncoderRecipe:
    """nomic-bert: rotated heads from one matrix, a gated feed-forward block, no biases but those of norms."""
    model = _encoder("nomic-bert", seed, pooling)
    model.rope_keys(freq_base=1000.0)
    for block in model.blocks:
        model.fused_attention(block)
        model.norm(f"{block}.attn_output_norm", bias=True)
        model.gated(block)
        model.norm(f"{block}.layer_output_norm", bias=True)
    return model


def _encoder(architecture: str, seed: int, pooling: str) -> EncoderRecipe:
    model = EncoderRecipe(architecture, zlib.crc32(f"{architecture} {seed}".encode()), layers=3)
    model.attention_keys(layer_norm_epsilon=EPSILON, causal=False)
    model.keys(pooling_type=POOLINGS[pooling], feed_forward_length=FEED_FORWARD)
    model.tensor("token_embd.weight", VOCABULARY, HIDDEN, size=1.0)
    model.tensor("token_types.weight", 2, HIDDEN, size=0.7)
    model.norm("token_embd_norm", bias=True)
    return model


ENCODERS = {"bert": bert, "nomic-bert": nomic_bert}
