"""Write a model with the byte vocabulary as GGUF, by way of the `gguf` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from refruntime.convert.byte_vocabulary import TOKENS, TYPES, special_ids
from refruntime.convert.refusal import ConversionRefused
from refruntime.model.validated import ValidatedModel, WeightSource

_STORED = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
_BLOCK = 32


def write_gguf(model: ValidatedModel, dtype: str, path: Path) -> None:
    """Write the model as architecture `llama`; matrices in `dtype`, vectors always f32. ConversionRefused."""
    if model.tokenizer.kind != "btok":
        raise ConversionRefused(
            "a BPE1 tokenizer merges by rank over byte ids with specials in between, which no tokenizer of GGUF does",
            expected="a BTOK tokenizer",
            found=model.tokenizer.kind,
        )
    if model.tokenizer.vocab_size != len(TOKENS):
        raise ConversionRefused(
            "ids from 260 on decode to `?`, which no further GGUF token can",
            expected=f"a vocabulary of {len(TOKENS)} ids",
            found=model.tokenizer.vocab_size,
        )
    _refuse_odd_rows(model, dtype)
    writer = gguf.GGUFWriter(path, "llama")
    try:
        _add_metadata(writer, model, dtype)
        for name, source in model.tensors.items():
            _add_tensor(writer, name, source, dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _refuse_odd_rows(model: ValidatedModel, dtype: str) -> None:
    if dtype == "f32":
        return
    for source in model.tensors.values():
        if len(source.shape) == 2 and source.shape[1] % _BLOCK:
            raise ConversionRefused(
                f"GGUF stores {dtype} in blocks of {_BLOCK} values of a row",
                expected=f"rows of a multiple of {_BLOCK}",
                found=f"{source.name} with rows of {source.shape[1]}",
            )


def _add_metadata(writer: Any, model: ValidatedModel, dtype: str) -> None:
    dimensions = model.hyperparameters
    writer.add_file_type(_STORED[dtype][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(dimensions.max_context)
    writer.add_embedding_length(dimensions.hidden_size)
    writer.add_block_count(dimensions.layer_count)
    writer.add_feed_forward_length(dimensions.ffn_size)
    writer.add_head_count(dimensions.head_count)
    writer.add_head_count_kv(dimensions.kv_head_count)
    writer.add_layer_norm_rms_eps(dimensions.rms_norm_epsilon)
    writer.add_rope_dimension_count(dimensions.head_dim)
    writer.add_rope_freq_base(dimensions.rope.theta)
    writer.add_vocab_size(dimensions.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types(TYPES)
    ids = special_ids()
    writer.add_bos_token_id(ids["bos"])
    writer.add_eos_token_id(ids["eos"])
    writer.add_pad_token_id(ids["pad"])
    writer.add_unk_token_id(ids["unk"])
    writer.add_add_bos_token(True)
    # BTOK puts EOS behind a prompt and GEN-2 takes it away again; other runtimes would not take it away.
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def _add_tensor(writer: Any, name: str, source: WeightSource, dtype: str) -> None:
    values: NDArray[np.float32] = source.rows()
    if values.ndim < 2 or dtype == "f32":
        writer.add_tensor(name, values)
        return
    if not np.isfinite(values).all():
        raise ConversionRefused(
            "only finite values can be quantised", expected="finite weights", found=f"others in {source.name}"
        )
    stored = _STORED[dtype][0]
    writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)
