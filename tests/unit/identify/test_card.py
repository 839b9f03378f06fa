"""The card of a build stays readable: many names become a few and a number (ID-1)."""

from __future__ import annotations

from refruntime.cases.features import Found
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.identify.checksum import Checksum
from refruntime.identify.identification import Identification
from refruntime.show.card import card_html, card_text
from refruntime.show.folding import folded

NAMES = [f"gguf/tokenizer/{word}-{number}" for number in range(30) for word in ("llama", "qwen", "gemma")]


def card() -> Identification:
    """Return a build that lacks ninety tokenizers and two storage types."""
    absent = dict.fromkeys(NAMES, Status.InvalidHeader) | dict.fromkeys(
        ["gguf/storage/q4_0", "gguf/storage/q5_0"], Status.UnsupportedDType
    )
    found = Identification("b.wasm", "0" * 64, 8)
    found.checksum = Checksum("contract", "observed", "the formula of the contract", Profile(), lambda data: data)
    found.features = Found(("slm1", *absent), absent)
    return found


def test_many_absent_names_are_a_few_and_a_number() -> None:
    """ID-1: the first names of a large group with the number of all others; a small group is whole."""
    text = card_text(card())
    line = next(line for line in text.splitlines() if "gguf/tokenizer" in line)
    assert line.endswith("gemma-1, llama-2, qwen-2 and 82 more")
    assert "(UnsupportedDType): q4_0, q5_0" in text
    assert "and 82 more" in card_html(card())


def test_the_card_fits_eighty_columns() -> None:
    """Each row goes on below where its text begins, in at most three lines."""
    for line in card_text(card()).splitlines():
        parts = folded(line, 80)
        assert len(parts) <= 3
        assert all(len(part) <= 80 for part in parts)
