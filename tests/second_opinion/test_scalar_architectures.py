"""Bit for bit: the package's seq32 against a separately written float32 pass, one position and one sum at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.architectures import ARCHITECTURES
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import CompiledSeq32, libm
from tests.second_opinion.random_zoo import NAMES, recipe
from tests.second_opinion.scalar_architectures import Functions, Model
from tests.second_opinion.scalar_gemma4 import Gemma4

TOKENS = [1, 270, 281, 33, 270, 3, 40, 41, 42, 43]


def remembered(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Return a function that keeps what it returned: every head turns by the same angles."""
    kept: dict[tuple[bytes, ...], np.ndarray] = {}

    def once(*values: np.ndarray) -> np.ndarray:
        key = tuple(np.asarray(each).tobytes() for each in values)
        if key not in kept:
            kept[key] = function(*values)
        return kept[key].copy()

    return once


FUNCTIONS = Functions(libm.expf, *map(remembered, (libm.sinf, libm.cosf)), libm.tanhf, remembered(libm.powf))


@pytest.mark.parametrize("name", NAMES)
def test_bits_of_every_architecture(name: str) -> None:
    """FW-2, GG-11: the logits of ten positions have the bits that the contract's order gives."""
    made = recipe(name, 3)
    scalar = (Gemma4 if made.architecture == "gemma4" else Model)(
        made.architecture, made.metadata, made.tensors, FUNCTIONS
    )
    expected = np.array([scalar.forward(token) for token in TOKENS])
    assert expected.dtype == np.float32
    model = Transformer(validate_model(made.file(), Profile()), Profile(), CompiledSeq32())
    found = model.forward(TOKENS, model.new_cache(), first_logit=0)
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_every_architecture_is_ordered() -> None:
    """GG-11: no architecture escapes the comparison of bits."""
    assert {recipe(name, 3).architecture for name in NAMES} == set(ARCHITECTURES)
