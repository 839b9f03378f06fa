"""Read orders off numbers that a hidden variation computed: no build is needed, only what would be in its memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime.battery.models.orders import PROMPT, orders_model
from refruntime.contract.profile import Profile
from refruntime.model.binding import bind_model
from refruntime.numerics.varied import PLAIN, Variation, Varied
from refruntime.witness.orders import OrderEvidence, fit
from refruntime.witness.orders.document import document
from refruntime.witness.orders.stages import STAGES

NAMES = tuple(f"blk.0.{kind}" for stage in STAGES for kind in stage.kinds)


class Computed(OrderEvidence):
    """The evidence of a build that computes like `hidden`, keeps all tensors but `without`."""

    def __init__(self, hidden: Variation, without: Sequence[str] = ()) -> None:
        bound = bind_model(orders_model(Profile()), Profile(), Varied(PLAIN, 1, "numpy"))
        self.transformer = bound.transformer
        self.ids = bound.tokenizer.encode(PROMPT, add_special=True)[:-1]
        self.first, self.last = range(4), range(len(self.ids) - 4, len(self.ids))
        held: list[NDArray[np.float32]] = []
        for name in NAMES:
            if name not in without:
                held += [row for _, row in self.rows(hidden, (name,))]
        self._values = np.unique(np.concatenate(held).view(np.uint32))


@pytest.mark.parametrize(
    "hidden",
    [
        "seq32",
        "matrices: 4 lanes, tail in the last lane, neighbours",
        pytest.param("matrices: 16 lanes, tail after, fours in order then halves, fused", marks=pytest.mark.slow),
        pytest.param("matrices: sequential, float64 sum", marks=pytest.mark.slow),
        pytest.param("squares: 8 lanes, tail apart, halves; inverse: float64 rounded once", marks=pytest.mark.slow),
        pytest.param(
            "matrices: blocks of 16; scores: reversed; mixed: pairwise; weights: 4 lanes, tail after, halves",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "exp: Cephes; softmax: multiply by the reciprocal; silu: multiply by the reciprocal", marks=pytest.mark.slow
        ),
        "power: exp of log; sine: Cephes",
    ],
)
def test_hidden_variation_is_found(hidden: str) -> None:
    """What was hidden is named or among those that give the same bits, and every row follows from what is named."""
    variation = Variation.read(hidden)
    found = fit(Computed(variation))
    assert found.uniform
    assert all(decision.complete for decision in found.decisions)
    for name in Variation.meanings():
        assert str(getattr(variation, name)) in {str(getattr(found.variation, name)), *found.equal_forms(name)}


@pytest.mark.slow
def test_tensors_that_are_kept_nowhere_are_decided_by_what_follows() -> None:
    """Scores that are overwritten at once are told by the weights that they lead to."""
    hidden = Variation.read("scores: 8 lanes, tail after, halves")
    found = fit(Computed(hidden, without=("blk.0.attn.scores",)))
    assert found.variation == hidden
    assert [decision.tensors for decision in found.decisions if not decision.seen] == [("blk.0.attn.scores",)]


def test_a_bug_is_no_order() -> None:
    """Where no form gives the bits the tensor is named, and what was decided before stays."""
    hidden = Variation.read("matrices: 8 lanes, tail in lanes, halves")
    found = fit(Computed(hidden, without=NAMES[NAMES.index("blk.0.ffn_hidden") :]))
    assert found.variation.matrices == hidden.matrices
    report = document(found)
    assert (report["verdict"], report["first_unexplained"]) == ("not uniform", "blk.0.ffn_hidden")


def test_orders_that_agree_on_these_widths_are_said() -> None:
    """Float64 sums in any order round to the same float32 here: all are listed, the simplest is taken."""
    report = document(fit(Computed(Variation.read("matrices: 4 lanes, tail after, halves, float64"))))
    assert report["numerics"] == {"matrices": "sequential, float64"}
    (decision,) = [one for one in report["decisions"] if one["equal_on_these_widths"]]
    assert "4 lanes, tail after, halves, float64" in decision["equal_on_these_widths"]["matrices"]
