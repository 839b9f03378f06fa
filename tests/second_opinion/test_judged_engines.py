"""Rows that engines of other people computed are judged as what they are set to.

`vectors/judged_engines.npz` holds log probabilities, of transformers logits, behind the first tokens of a text, asked
as `docs/judge-matrix.toml` asks: xllamacpp 2026.10.11549 (AVX2; defaults, without flash attention, and with a cache in
float32 too), transformers 5.24.0 on torch 2.13.0, mistral.rs 0.9.5 with a cache in float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.judge.judge import Judge
from refruntime.judge.observed import ObservedRows
from refruntime.judge.verdict import StageFinding
from refruntime.model.load import validate_model

MODELS = Path(__file__).parents[2] / "golden/models"
VECTORS = np.load(Path(__file__).parent / "vectors/judged_engines.npz")
QUANTISED = {"stories.q4_0", "stories.q8_0", "wide.q6_k"}
CACHES = {
    "default": "keys and values in f16, flash attention",
    "nofa": "keys and values in f16",
    "f32": "",
}
CASES = sorted({name.rpartition(" ")[0] for name in VECTORS.files})


def judged(case: str, change: np.ndarray | float = 0.0) -> StageFinding:
    """Return what is said of the logits of an engine."""
    engine, _, name = case.split()
    model = validate_model((MODELS / f"{name}.gguf").read_bytes(), Profile())
    ids, rows = VECTORS[f"{case} ids"], VECTORS[f"{case} rows"] + np.float32(change)
    places = tuple(range(len(ids) - len(rows), len(ids)))
    kind = "logits" if engine == "transformers" else "log probabilities"
    observed = ObservedRows(case, tuple(ids.tolist()), places, rows, kind)  # type: ignore[arg-type]
    return [one for one in Judge(model, Profile()).judge(observed).findings if one.stage == "logits"][-1]


def test_there_are_cases() -> None:
    """All engines, models and settings are there."""
    assert len(CASES) == 5 * 3 + 2 + 2


@pytest.mark.parametrize("case", CASES)
def test_an_engine_is_what_it_is_set_to(case: str) -> None:
    """Quantised inputs, the type of the cache and flash attention are told apart, or float32 is."""
    engine, setting, name = case.split()
    found = judged(case)
    inputs = ""
    if engine != "transformers" and name in QUANTISED:
        inputs = "inputs of products quantised as ggml does"
    if engine == "xllamacpp" and name == "small.f16":
        inputs = "inputs of products rounded to the type of the weights, as ggml does"
    says = ", ".join(part for part in (inputs, CACHES.get(setting, "")) if part)
    assert found.verdict == ("POLICY" if says else "ROUNDING"), found.text
    assert found.text.startswith((says or "float32 or better") + ": from "), found.text
    assert "not to be told from" not in found.text


def test_a_small_error_is_no_rounding() -> None:
    """Noise of a ten-thousandth, on rows of a quantised file too, is not what an engine is set to."""
    rng = np.random.default_rng(5)
    for case in ("xllamacpp default stories.q8_0", "transformers float32 stories.f32"):
        noise = rng.standard_normal(VECTORS[f"{case} rows"].shape).astype(np.float32) * 1e-4
        assert judged(case, noise).verdict in ("UNEXPLAINED", "FAULT")
