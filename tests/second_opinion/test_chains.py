"""Samplers of other runtimes against what those runtimes computed themselves, and against their own tests."""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.samplers.catalogue import CANDLE, LLAMA_CPP, MISTRAL_RS, MISTRAL_RS_OLD, TRANSFORMERS
from refruntime.samplers.chain import Chain, Settings
from refruntime.samplers.draws import pick_by_weighted_index, units_of_chacha12
from refruntime.samplers.stages import Float32

VECTORS = Path(__file__).parent / "vectors" / "samplers"


@cache
def rows(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(row["case"], row["result"]) for row in json.loads((VECTORS / f"{name}.json").read_text())["rows"]]


def floats(words: list[str]) -> Float32:
    return np.array([int(word, 16) for word in words], dtype=np.uint32).view(np.float32)


def settings(case: dict[str, Any]) -> Settings:
    return Settings(case["temperature"], case["top_k"], case["top_p"], case["min_p"], case["seed"])


def logarithms(*shares: float) -> Float32:
    return np.log(np.array(shares, dtype=np.float32))


def described(row: tuple[dict[str, Any], dict[str, Any]]) -> str:
    case = row[0]
    ties = "-ties" if case["ties"] else ""
    return f"{len(case['logits'])}-t{case['temperature']}-k{case['top_k']}-p{case['top_p']}-m{case['min_p']}{ties}"


@pytest.mark.parametrize("row", rows("llama_cpp"), ids=described)
def test_llama_cpp(row: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """SA-2, SA-5: llama.cpp's own samplers leave the same tokens in the same order and draw the same ones."""
    case, result = row
    run = LLAMA_CPP.run(floats(case["logits"]), settings(case))
    assert run.candidates.ids.tolist() == result["ids"]
    theirs = floats(result["probabilities"])
    ours = np.array([run.probability(token) for token in result["ids"]], dtype=np.float32)
    np.testing.assert_array_max_ulp(ours, theirs, maxulp=1)
    assert LLAMA_CPP.units is not None
    units = islice(LLAMA_CPP.units(case["seed"]), len(result["tokens"]))
    assert [run.token(unit) for unit in units] == result["tokens"]


@pytest.mark.parametrize("row", rows("transformers"), ids=described)
def test_transformers(row: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """SA-2, SA-5: the warpers of transformers, in the order of `generate`, keep the same tokens, also equals."""
    case, result = row
    run = TRANSFORMERS.run(floats(case["logits"]), settings(case))
    assert run.candidates.ids.tolist() == result["ids"]
    theirs = floats(result["probabilities"])
    ours = np.array([run.probability(token) for token in result["ids"]])
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_transformers_names_its_warpers_in_this_order() -> None:
    """The stages stand in the order in which transformers builds its warpers."""
    full = max((result["warpers"] for _, result in rows("transformers")), key=len)
    warpers = [name.removesuffix("LogitsWarper") for name in full]
    assert warpers == ["Temperature", "TopK", "TopP", "MinP"]
    assert TRANSFORMERS.stages == ("temperature", "top_k", "top_p", "min_p", "softmax")


@pytest.mark.parametrize("row", rows("rand"), ids=lambda row: f"seed{row[0]['seed']}-{len(row[0]['weights'])}")
def test_rand(row: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """The generator and the weighted draw of candle give what the crate rand gives."""
    case, result = row
    seed, weights = int(case["seed"]), floats(case["weights"])
    assert list(islice(units_of_chacha12(seed), 20)) == [(word >> 9) / 2**23 for word in result["words"]]
    units = islice(units_of_chacha12(seed), len(result["places"]))
    assert [pick_by_weighted_index(weights, unit) for unit in units] == result["places"]


# The runtimes' own tests ---------------------------------------------------------------------------------------------

QUARTERS = (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"top_k": 1}, [1.0]),
        ({"top_k": 3}, [0.44444, 0.33333, 0.22222]),
        ({"top_k": 4}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_k": 0}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_p": 0.0}, [1.0]),
        ({"top_p": 0.7}, [0.571429, 0.428571]),
        ({"top_p": 0.8}, [0.44444, 0.33333, 0.22222]),
        ({"top_p": 1.0}, [0.1, 0.2, 0.3, 0.4]),
        ({"min_p": 0.24}, [0.1, 0.2, 0.3, 0.4]),
        ({"min_p": 0.26}, [0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9]),
        ({"min_p": 0.49}, [0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9]),
        ({"min_p": 0.51}, [0.3 / 0.7, 0.4 / 0.7]),
        ({"min_p": 0.76}, [1.0]),
        ({"min_p": 1.0}, [1.0]),
        ({"temperature": 1.0}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0.0}, [0.0, 0.0, 0.0, 1.0]),
    ],
    ids=str,
)
def test_llama_cpps_own_expectations(changes: dict[str, Any], expected: list[float]) -> None:
    """Probabilities that llama.cpp's tests/test-sampling.cpp expects for 0.1, 0.2, 0.3, 0.4, to 1e-5."""
    run = LLAMA_CPP.run(logarithms(*QUARTERS), Settings(**changes))
    shares = [run.probability(int(token)) for token in run.candidates.ids]
    assert shares == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"temperature": 0.0, "seed": 1337}, [3]),
        ({"temperature": 0.9, "seed": 42}, [0]),
        ({"temperature": 1.0, "top_p": 0.5, "seed": 42}, [2]),
        ({"temperature": 1.0, "top_k": 1, "seed": 42}, [3]),
        ({"temperature": 1.0, "top_k": 2, "seed": 42}, [3, 2]),
    ],
    ids=str,
)
def test_candles_own_expectations(changes: dict[str, Any], expected: list[int]) -> None:
    """Tokens that candle-transformers/tests/generation_tests.rs expects of the logits 0.1, 0.2, 0.3, 0.4."""
    chosen = Settings(**changes)
    run = CANDLE.run(np.array(QUARTERS, dtype=np.float32), chosen)
    assert CANDLE.units is not None
    assert [run.token(unit) for unit in islice(CANDLE.units(chosen.seed), len(expected))] == expected


def test_mistral_rs_own_expectations() -> None:
    """Of equals at the edge of top-k the lower ids stay, and the first maximum wins (tests in its sampler.rs)."""
    run = MISTRAL_RS.run(logarithms(0.1, 0.5, 0.5, 0.5, 0.2), Settings(top_k=2))
    assert run.candidates.ids.tolist() == [1, 2]
    greedy = MISTRAL_RS.run(np.array([-2.0, 4.0, 4.0, 1.0], dtype=np.float32), Settings(temperature=0.0))
    assert greedy.greedy
    assert greedy.candidates.ids.tolist() == [1]
    certain = MISTRAL_RS.run(np.array([0.0, 1.0, 2.0], dtype=np.float32), Settings(top_k=1))
    assert certain.probabilities == {2: 1.0}


def test_shares_after_top_k_by_hand() -> None:
    """0.4, 0.3, 0.2, 0.1 with top_k 3 and top_p 0.75: what the nucleus is a share of decides how many stay.

    Of the three that are left, 0.4 and 0.3 are 7/9 = 0.778 of the mass: two tokens. Of the whole vocabulary they are
    0.7, below 0.75, so that 0.2 stays as well (candle, older mistral.rs).
    """
    logits = logarithms(*QUARTERS)
    chosen = Settings(top_k=3, top_p=0.75)
    kept = {
        chain.name: set(chain.run(logits, chosen).probabilities)
        for chain in (LLAMA_CPP, TRANSFORMERS, CANDLE, MISTRAL_RS, MISTRAL_RS_OLD)
    }
    two, three = {2, 3}, {1, 2, 3}
    assert kept == {
        "llama.cpp": two,
        "transformers": two,
        "candle": three,
        "mistral.rs": two,
        "mistral.rs (old)": three,
    }


def test_temperature_before_or_behind_the_nucleus_by_hand() -> None:
    """0.6, 0.3, 0.1 with temperature 2 and top_p 0.85: llama.cpp cuts before it flattens, the others afterwards.

    Before: 0.6 + 0.3 = 0.9 reaches 0.85, two are left. Square roots 0.775, 0.548, 0.316 of 1.639 are 0.473, 0.334,
    0.193: two make 0.807, so that the third stays where the temperature comes first.
    """
    logits = logarithms(0.6, 0.3, 0.1)
    chosen = Settings(temperature=2.0, top_p=0.85)
    assert set(LLAMA_CPP.run(logits, chosen).probabilities) == {0, 1}
    for chain in (TRANSFORMERS, CANDLE, MISTRAL_RS, MISTRAL_RS_OLD):
        assert set(chain.run(logits, chosen).probabilities) == {0, 1, 2}, chain.name


def test_min_p_by_hand() -> None:
    """Weights 2 and 1 with min_p 0.499 and 0.51, and two equals with min_p 1, which is at the edge.

    The older mistral.rs does not look at min_p unless top_p is below 1.
    """
    logits, equals = logarithms(2.0, 1.0), logarithms(1.0, 1.0)
    for chain in (LLAMA_CPP, TRANSFORMERS, MISTRAL_RS):
        assert set(chain.run(logits, Settings(min_p=0.499)).probabilities) == {0, 1}, chain.name
        assert set(chain.run(logits, Settings(min_p=0.51)).probabilities) == {0}, chain.name
    assert set(LLAMA_CPP.run(equals, Settings(min_p=1.0)).probabilities) == {0, 1}
    assert set(TRANSFORMERS.run(equals, Settings(min_p=1.0)).probabilities) == {0, 1}
    assert set(MISTRAL_RS_OLD.run(logits, Settings(min_p=0.9)).probabilities) == {0, 1}
    assert set(MISTRAL_RS_OLD.run(logits, Settings(min_p=0.9, top_p=0.999)).probabilities) == {0}


@pytest.mark.parametrize(
    "chain", [LLAMA_CPP, TRANSFORMERS, CANDLE, MISTRAL_RS, MISTRAL_RS_OLD], ids=lambda chain: chain.name
)
def test_a_nucleus_that_is_met_exactly_by_hand(chain: Chain) -> None:
    """SA-5: of four quarters a top_p of one half keeps two with every runtime.

    Upwards 1/4 and 2/4 are not above 1 - 1/2 and go (transformers); downwards 2/4 is reached with the second one.
    """
    assert len(chain.run(np.zeros(4, np.float32), Settings(top_p=0.5)).probabilities) == 2
