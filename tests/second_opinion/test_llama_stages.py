"""The samplers of llama.cpp against its own functions: stored cases, and many more where a build is on the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.samplers.llama_cpp_chain import llama_stages
from refruntime.samplers.llama_cpp_draws import LlamaSampler
from tests.support.llama_samplers import (
    STAGES,
    by_llama,
    by_us,
    chain_by_llama,
    drawn_by_llama,
    possible,
    random_case,
    random_chain,
    random_draws,
)
from tests.support.scalar_ggml import VARIABLE, folder

VECTORS = np.load(Path(__file__).parent / "vectors/samplers/llama_stages.npz")
STORED = range(15)
MANY = 10_000


def same(ids: np.ndarray, logits: np.ndarray, theirs: tuple[np.ndarray, np.ndarray]) -> bool:
    """Say whether the same tokens are left in the same order with the same bits."""
    return np.array_equal(ids, theirs[0]) and np.array_equal(logits.view(np.uint32), theirs[1].view(np.uint32))


@pytest.mark.parametrize("stage", STAGES)
def test_stored_stages(stage: str) -> None:
    """SA-2: tokens, order and logits of what a stage leaves."""
    for seed in STORED:
        left = by_us(random_case(stage, seed))
        assert same(left.ids, left.logits, (VECTORS[f"{stage} {seed} ids"], VECTORS[f"{stage} {seed} logits"])), seed


def test_stored_chains() -> None:
    """SA-2: nine stages in llama.cpp's order."""
    for seed in STORED:
        logits, settings, history = random_chain(seed)
        left = llama_stages(logits, settings, history, 0.5)[-1][1]
        theirs = VECTORS[f"chain {seed} ids"], VECTORS[f"chain {seed} logits"]
        assert same(*possible(left.ids, left.logits), theirs), seed


@pytest.fixture(scope="module")
def llama() -> Any:
    """Load llama.cpp."""
    if folder() is None:
        pytest.skip(f"{VARIABLE} names no folder with a build of llama.cpp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_CPP_LIB_PATH", str(folder()))
        return pytest.importorskip("llama_cpp.llama_cpp", reason="llama-cpp-python declares llama.cpp's interface")


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_many_stages(llama: Any, stage: str) -> None:
    """SA-2: 10,000 random cases each."""
    wrong = []
    for seed in range(MANY):
        case = random_case(stage, 1000 + seed)
        left = by_us(case)
        if not same(left.ids, left.logits, by_llama(llama, case)):
            wrong.append(seed)
    assert not wrong


@pytest.mark.slow
def test_many_chains(llama: Any) -> None:
    """SA-2: 10,000 random chains."""
    wrong = []
    for seed in range(MANY):
        logits, settings, history = random_chain(1000 + seed)
        left = llama_stages(logits, settings, history, 0.5)[-1][1]
        if not same(*possible(left.ids, left.logits), possible(*chain_by_llama(llama, logits, settings, history))):
            wrong.append(seed)
    assert not wrong


def drawn_by_us(seed: int) -> list[int]:
    """Return the tokens that we draw."""
    rows, settings, history = random_draws(seed)
    sampler = LlamaSampler(settings, seed, history)
    return [sampler.draw(row) for row in rows]


def test_stored_draws() -> None:
    """SA-2: six tokens each, with the generators of the draw, of XTC and of Mirostat."""
    for seed in STORED:
        assert drawn_by_us(seed) == VECTORS[f"draws {seed} ids"].tolist(), seed


@pytest.mark.slow
def test_many_draws(llama: Any) -> None:
    """SA-2: 2,000 times six tokens."""
    for seed in range(1000, 3000):
        assert drawn_by_us(seed) == drawn_by_llama(llama, *random_draws(seed), seed), seed
