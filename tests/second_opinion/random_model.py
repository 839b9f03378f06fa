"""The making of a tiny random GGUF model: its parts, and the file written with gguf-py; no code of the package.

Weights are scaled so that attention is far from uniform and logits differ by a few units; norm weights are not 1,
biases not 0.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import gguf
import numpy as np
from numpy.typing import NDArray

HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, CONTEXT = 48, 6, 2, 72, 256
HEAD_DIM = HIDDEN // HEADS
EPSILON = 3e-3
"""Large, so that a wrong one shows."""
PIECES = ["\u2581", *"abcdefghijklmnopqrstuvwxyz", "\u2581a", "\u2581t", "th", "\u2581th"]
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
SCORES = [0.0] * 259 + [-float(rank) for rank in range(len(PIECES))]
TYPES = [2, 3, 3] + [6] * 256 + [1] * len(PIECES)  # unknown, control, byte, normal
VOCABULARY = len(TOKENS)


class Recipe:
    """Metadata and tensors of a model in the making; linear maps keep the size of what they map unless told."""

    def __init__(self, architecture: str, seed: int, layers: int) -> None:
        self.architecture = architecture
        self.layers = layers
        self.tensors: dict[str, NDArray[np.float32]] = {}
        self.metadata: dict[str, Any] = {}
        self._random = np.random.default_rng(seed)
        self.keys(
            block_count=layers,
            context_length=CONTEXT,
            embedding_length=HIDDEN,
            feed_forward_length=FEED_FORWARD,
            vocab_size=VOCABULARY,
        )
        self.attention_keys(head_count=HEADS)

    def keys(self, **values: Any) -> None:
        """Set hyper-parameters of the architecture; two underscores stand for a dot."""
        self.metadata |= {f"{self.architecture}.{name.replace('__', '.')}": value for name, value in values.items()}

    def attention_keys(self, **values: Any) -> None:
        self.keys(**{f"attention__{name}": value for name, value in values.items()})

    def rope_keys(self, **values: Any) -> None:
        self.keys(**{f"rope__{name}": value for name, value in values.items()})

    def yarn(self, factor: float, trained_context: int) -> None:
        self.rope_keys(scaling__type="yarn", scaling__factor=factor, scaling__original_context_length=trained_context)

    def tensor(self, name: str, *shape: int, size: float, around: float = 0.0) -> None:
        values = around + size * self._random.standard_normal(shape)
        self.tensors[name] = values.astype(np.float32)

    def linear(self, name: str, rows: int, columns: int = HIDDEN, gain: float = 1.0, bias: bool = False) -> None:
        self.tensor(f"{name}.weight", rows, columns, size=gain / np.sqrt(columns))
        if bias:
            self.tensor(f"{name}.bias", rows, size=0.5)

    def norm(self, name: str, *shape: int, gain: float = 1.0, bias: bool = False) -> None:
        self.tensor(f"{name}.weight", *(shape or (HIDDEN,)), size=0.3 * gain, around=gain)
        if bias:
            self.tensor(f"{name}.bias", *(shape or (HIDDEN,)), size=0.3)

    def embeddings(self, tied: bool, logits: float = 2.5) -> None:
        """Make embeddings and head such that normed rows give logits of about this standard deviation."""
        if tied:
            self.linear("token_embd", VOCABULARY, gain=logits)
        else:
            self.tensor("token_embd.weight", VOCABULARY, HIDDEN, size=1.0)
            self.linear("output", VOCABULARY, gain=logits)

    def output_norm(self, name: str = "output_norm", bias: bool = False) -> None:
        """Make the final norm; random signs keep a tied head from naming the token that was read."""
        self.norm(name, bias=bias)
        self.tensors[f"{name}.weight"] *= self._random.choice([-1, 1], HIDDEN).astype(np.float32)

    def attention(
        self,
        layer: str,
        heads: int = HEADS,
        kv_heads: int = KV_HEADS,
        head_dim: int = HEAD_DIM,
        gain: float = 1.6,
        bias: bool = False,
        output_bias: bool = False,
    ) -> None:
        self.linear(f"{layer}.attn_q", heads * head_dim, gain=gain, bias=bias)
        self.linear(f"{layer}.attn_k", kv_heads * head_dim, gain=gain, bias=bias)
        self.linear(f"{layer}.attn_v", kv_heads * head_dim, bias=bias)
        self.linear(f"{layer}.attn_output", HIDDEN, heads * head_dim, gain=1.5, bias=output_bias)

    def fused_attention(self, layer: str, kv_heads: int = HEADS, bias: bool = False) -> None:
        self.linear(f"{layer}.attn_qkv", (HEADS + 2 * kv_heads) * HEAD_DIM, gain=1.5, bias=bias)
        self.linear(f"{layer}.attn_output", HIDDEN, HEADS * HEAD_DIM, bias=bias)

    def head_norms(self, layer: str, head_dim: int) -> None:
        """Norm each head of q and k, to a size that keeps attention away from uniform."""
        self.norm(f"{layer}.attn_q_norm", head_dim, gain=1.6)
        self.norm(f"{layer}.attn_k_norm", head_dim, gain=1.6)

    def gated(self, layer: str, bias: bool = False) -> None:
        self.linear(f"{layer}.ffn_gate", FEED_FORWARD, gain=1.5, bias=bias)
        self.linear(f"{layer}.ffn_up", FEED_FORWARD, gain=1.5, bias=bias)
        self.linear(f"{layer}.ffn_down", HIDDEN, FEED_FORWARD, bias=bias)

    def plain(self, layer: str, bias: bool = True) -> None:
        self.linear(f"{layer}.ffn_up", FEED_FORWARD, gain=1.5, bias=bias)
        self.linear(f"{layer}.ffn_down", HIDDEN, FEED_FORWARD, bias=bias)

    def experts(self, layer: str, count: int, feed_forward: int) -> None:
        self.linear(f"{layer}.ffn_gate_inp", count, gain=1.5)
        for name, rows, columns in (("gate", feed_forward, HIDDEN), ("up", feed_forward, HIDDEN)):
            self.tensor(f"{layer}.ffn_{name}_exps.weight", count, rows, columns, size=1.5 / np.sqrt(columns))
        self.tensor(f"{layer}.ffn_down_exps.weight", count, HIDDEN, feed_forward, size=2 / np.sqrt(feed_forward))

    def fuse_attention(self) -> None:
        """Put q, k, v of every layer into one matrix, as older files have them."""
        for block in self.blocks:
            for kind in ("weight", "bias"):
                if f"{block}.attn_q.{kind}" in self.tensors:
                    parts = [self.tensors.pop(f"{block}.attn_{letter}.{kind}") for letter in "qkv"]
                    self.tensors[f"{block}.attn_qkv.{kind}"] = np.concatenate(parts)

    @property
    def blocks(self) -> list[str]:
        return [f"blk.{index}" for index in range(self.layers)]

    def write_vocabulary(self, writer: gguf.GGUFWriter) -> None:
        """Write the vocabulary, of VOCABULARY tokens."""
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(TOKENS)
        writer.add_token_scores(SCORES)
        writer.add_token_types(TYPES)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)

    def file(self) -> bytes:
        """Write the GGUF file and return its bytes."""
        path = Path(_folder().name) / "model.gguf"
        writer = _Writer(path, self.architecture)
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name("random")
        for name, value in self.metadata.items():
            _add(writer, name, value)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        self.write_vocabulary(writer)
        for name, array in self.tensors.items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for the files of this process, one after the other: thousands of folders cost seconds."""
    return tempfile.TemporaryDirectory()


class _Writer(gguf.GGUFWriter):
    """The writer of gguf-py, which packs the vocabulary that all models share once."""

    _packed: ClassVar[dict[tuple[int, str], bytes]] = {}

    def _pack_val(self, val: Any, *form: Any, **named: Any) -> bytes:
        if not any(val is shared for shared in (TOKENS, SCORES, TYPES)):
            return super()._pack_val(val, *form, **named)
        key = id(val), repr((form, named))
        if key not in self._packed:
            self._packed[key] = super()._pack_val(val, *form, **named)
        return self._packed[key]


def _add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, np.uint16):
        writer.add_uint16(name, int(value))
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)
