"""One wrong feature in the package must show on the random models too, which need no data from outside."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.architectures import ARCHITECTURES
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import F64
from tests.second_opinion.package_controls import CONTROLS, PackageControl
from tests.second_opinion.random_zoo import make

TOKENS = [1, *np.random.default_rng(5).integers(3, 260, 39).tolist()]


def logits_of(model: ValidatedModel) -> np.ndarray:
    transformer = Transformer(model, Profile(), F64())
    return transformer.forward(TOKENS, transformer.new_cache(), first_logit=0)


RANDOM = [control for control in CONTROLS if control.random is not None]


@pytest.mark.parametrize("control", RANDOM, ids=lambda control: f"{control.random}: {control.wrong}")
def test_one_wrong_feature_changes_the_logits(control: PackageControl) -> None:
    """GG-11, GG-12: ten times more than a float32 comparison allows; the right ones are held by another test."""
    assert control.random is not None
    model = validate_model(make(control.random, 1), control.profile)
    assert np.abs(logits_of(control.change(model)) - logits_of(model)).max() > 1e-3


def test_every_architecture_has_a_control() -> None:
    """GG-11: whatever tells an architecture from llama is switched off somewhere."""
    assert {name for control in CONTROLS for name in (control.zoo, control.random)} >= set(ARCHITECTURES)
