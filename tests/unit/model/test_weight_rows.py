"""Weights are decoded a few rows at a time: the parts must be the whole."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import F64, CompiledSeq32, Seq32
from refruntime.numerics import sources as weight_sources
from tests.support.slm1_by_hand import F32, Q4_0, Q8_0, build, model_tensors

GGUF_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1")


def slm1_model(dtype: int) -> ValidatedModel:
    """Load two layers whose rows differ from each other."""
    tensors = model_tensors(dtype, hidden=8, ffn=6, layers=2)
    sizes = {"hidden_size": 8, "ffn_size": 6, "layer_count": 2, "head_count": 2, "kv_head_count": 2, "head_dim": 4}
    return validate_model(bytes(build(tensors, **sizes)), Profile())


def gguf_model(path: Path, type_name: str) -> ValidatedModel:
    """Load a model that the `gguf` package wrote with random weights of one type."""
    kind = gguf.GGMLQuantizationType[type_name]
    random = np.random.default_rng(3)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(16)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", *(b"t%d" % index for index in range(18))])
    writer.add_token_scores([0.0] * 21)
    writer.add_token_types([2, 3, 3, *[1] * 18])
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (21, 32), "output_norm": (32,)}
    shapes |= {"blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {f"blk.0.attn_{part}": (32, 32) for part in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (64, 32), "blk.0.ffn_up": (64, 32), "blk.0.ffn_down": (32, 64)}
    for name, shape in shapes.items():
        values = random.standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return validate_model(path.read_bytes(), Profile())


def check_rows(model: ValidatedModel) -> None:
    """Compare single rows, uneven parts and an open end with the whole tensor."""
    for source in model.tensors.values():
        whole = source.rows()
        assert whole.shape == source.shape
        if whole.ndim == 1:
            continue
        count = whole.shape[0]
        assert len({row.tobytes() for row in whole}) > 1
        for start, stop in [(0, 1), (1, 2), (count - 1, count), (0, count), (2, 5), (3, None)]:
            part = source.rows(start, stop)
            assert part.dtype == np.float32
            assert part.tobytes() == whole[start:stop].tobytes()


@pytest.mark.parametrize("dtype", [F32, Q8_0, Q4_0])
def test_parts_of_slm1_tensors(dtype: int) -> None:
    """SL-2, FW-1: some rows of a tensor are those rows of the whole, with their own scales."""
    check_rows(slm1_model(dtype))


@pytest.mark.parametrize("type_name", GGUF_TYPES)
def test_parts_of_gguf_tensors(tmp_path: Path, type_name: str) -> None:
    """GG-8: some rows of a tensor are those rows of the whole, whatever the block."""
    check_rows(gguf_model(tmp_path / "model.gguf", type_name))


@pytest.mark.parametrize("numerics", [CompiledSeq32(), F64()])
def test_small_parts_store_the_same_matrix(monkeypatch: pytest.MonkeyPatch, numerics: Seq32 | F64) -> None:
    """FW-1, FW-4: how many rows are decoded at once shows nowhere, also where matrices share one store."""
    model = slm1_model(Q8_0)
    sources = [model.tensors[f"blk.0.attn_{part}.weight"] for part in "qkv"]
    expected = np.concatenate([source.rows() for source in sources])  # [24, 8]
    for at_once in (1, 9, 17, 24, 10_000):
        monkeypatch.setattr(weight_sources, "DECODED_AT_ONCE", at_once)
        stored = numerics.matrix(sources)
        rows = numerics.matrix_rows(stored, range(24))
        assert np.asarray(rows, np.float32).tobytes() == expected.tobytes()
        ranges = list(weight_sources.row_ranges((24, 8)))
        assert [row for start, stop in ranges for row in range(start, stop)] == list(range(24))
        assert max(stop - start for start, stop in ranges) <= max(1, at_once // 8)
