"""What becomes of code points in word pieces, against llama.cpp's own tables."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path

from refruntime.tokenizers.word_pieces import words

VECTORS = Path(__file__).parent / "vectors" / "tokenizers" / "word_pieces.json"
LETTER = "x"
SURROGATES = range(0xD800, 0xE000)


def test_code_points_are_what_llama_cpp_makes_of_it() -> None:
    """GG-5: what parts words, stands alone, goes, or joins them; at both ends of every run and in between."""
    document = json.loads(VECTORS.read_text())
    kinds = "".join(run[0] * int(run[1:]) for run in document["kinds"].split())
    small, base = {}, {}
    for pair in document["small"].split():
        code, _, to = pair.partition(":")
        small[int(code, 16)] = int(to, 16)
    for entry in document["base"].split():
        span, _, to = entry.partition(":")
        first, _, last = span.partition("-")
        base |= dict.fromkeys(range(int(first, 16), int(last, 16) + 1), int(to, 16))
    assert len(kinds) == 0x110000
    borders = accumulate(int(run[1:]) for run in document["kinds"].split())
    near = {code + off for code in borders for off in (-2, -1, 0, 1)}
    for code in sorted({*near, *small, *base, *range(0x3400), *range(0, 0x110000, 61)} & {*range(0x110000)}):
        if code in SURROGATES:  # no UTF-8 has them
            continue
        plain = base.get(code, code)
        kind, character = kinds[plain], chr(small.get(plain, plain))
        found = list(words(LETTER + chr(code) + LETTER, lowercase=True, strip_accents=True))
        together = LETTER + (character if kind == "l" else "") + LETTER
        expected = {"s": [LETTER, LETTER], "a": [LETTER, character, LETTER]}.get(kind, [together])
        assert found == expected, f"U+{code:04X}"
        if code not in base:  # accents stay: as it is
            kept = list(words(chr(code), lowercase=False, strip_accents=False))
            assert kept == ([] if kind in "so" else [chr(code)]), f"U+{code:04X}"
