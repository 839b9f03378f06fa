"""Variations of seq32: names, files, and that nothing changes where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.battery.models.orders import PROMPT, orders_model
from refruntime.contract.profile import Profile
from refruntime.model.binding import bind_model
from refruntime.numerics import Numerics, Seq32
from refruntime.numerics.base import Array
from refruntime.numerics.varied import PLAIN, Variation, VariationError, Varied

MODEL = orders_model(Profile())
LANES = Variation.read("sums: 8 lanes, tail after, halves; exp: Cephes; softmax: multiply by the reciprocal")


def _logits(numerics: Numerics, several: bool = True) -> Array:
    bound = bind_model(MODEL, Profile(), numerics)
    ids = bound.tokenizer.encode(PROMPT, add_special=True)[:-1]
    cache = bound.transformer.new_cache()
    if several:
        return bound.transformer.forward(ids, cache, first_logit=0)
    return np.concatenate([bound.transformer.forward([token], cache) for token in ids])


def test_plain_is_seq32() -> None:
    """Without a change the bits are those of seq32."""
    assert np.array_equal(_logits(Varied(PLAIN, 1, "numpy")), _logits(Seq32()))


def test_positions_do_not_depend_on_how_many_are_computed_together() -> None:
    """GEN-4 holds under a variation: one pass or one for each position give the same bits, which are not seq32's."""
    together = _logits(Varied(LANES, 1, "numpy"))
    assert np.array_equal(together, _logits(Varied(LANES, 1, "numpy"), several=False))
    assert not np.array_equal(together, _logits(Seq32()))


def test_a_form_changes_nothing_else() -> None:
    """Another order of squares is no other order of what attention adds."""
    numbers = np.random.Generator(np.random.PCG64(3))
    q, k, v = (numbers.normal(size=shape).astype(np.float32) for shape in ((5, 2, 18), (18, 2, 21), (21, 2, 18)))
    plain = Seq32().attention(q, k, v, 16)
    varied = Varied(Variation.read("squares: 8 lanes"), 1, "numpy").attention(q, k, v, 16)
    assert all(np.array_equal(a, b) for a, b in zip(plain, varied, strict=True))


@pytest.mark.slow
def test_every_form_computes_nearly_the_same() -> None:
    """Each form alone stays near seq32: it is another rounding, never another formula."""
    plain = _logits(Seq32())
    for name in Variation.meanings():
        for form in Variation.options(name)[:40]:
            if "1 steps" in str(form) or "2 steps" in str(form):  # too coarse to be near
                continue
            logits = _logits(Varied(Variation.of({name: str(form)}), 1, "numpy"))
            assert np.allclose(logits, plain, rtol=1e-3, atol=2e-2), (name, form)


def test_file() -> None:
    """A file is read back; it says that it is no part of the contract, and remarks stay with their field."""
    text = LANES.to_toml({"matrices": "24 of 24 rows\nequal: nothing"})
    assert Variation.from_toml(text) == LANES
    assert "no part of the contract" in text
    assert '# equal: nothing\nmatrices = "8 lanes, tail after, halves"' in text


def test_names() -> None:
    """A name says what differs; it can be given back."""
    assert PLAIN.name == "seq32"
    assert Variation.read("4 lanes").name == "matrices: 4 lanes, tail in lanes, in order"
    assert Variation.read("seq32") == PLAIN
    assert LANES.name.startswith("sums: 8 lanes, tail after, halves; ")
    assert Variation.read(LANES.name) == LANES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[numerics]\nmatrices = 3\n", "matrices is 3"),
        ('[numerics]\nmatrices = "6 lanes, halves"\n', "cannot be reduced"),
        ('[numerics]\nexp = "guess"\n', "exp is 'guess'; expected one of libm"),
        ('[numerics]\ncolour = "red"\n', "unknown operation 'colour'"),
        ('[numerics]\nbase = "fast"\n', "expected base"),
        ("[rules]\n", "expected the table"),
        ("not toml", "not TOML"),
    ],
)
def test_wrong_files(text: str, message: str) -> None:
    """What was expected is said."""
    with pytest.raises(VariationError, match=message):
        Variation.from_toml(text)
