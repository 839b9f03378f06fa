"""Special tokens are found in raw text as llama.cpp finds them, in linear time."""

from __future__ import annotations

import time
from random import Random

import pytest

from refruntime.tokenizers.occurrences import Occurrences
from refruntime.tokenizers.token_attributes import Attribute
from refruntime.tokenizers.vocabulary import WHITESPACE, Vocabulary


def split_plainly(vocabulary: Vocabulary, tokens: list[int], text: bytes) -> list[bytes | int]:
    """One token after the other takes its occurrences out of the fragments that are left: the rule word for word."""
    fragments: list[bytes | int] = [text] if text else []
    for token in tokens:
        parts: list[bytes | int] = []
        for fragment in fragments:
            if isinstance(fragment, int):
                parts.append(fragment)
                continue
            bits, spelt = vocabulary.attributes[token], vocabulary.texts[token]
            while spelt in fragment:
                left, fragment = fragment.split(spelt, 1)
                if bits & Attribute.LSTRIP:
                    left = left.rstrip(WHITESPACE)
                if bits & Attribute.RSTRIP:
                    fragment = fragment.lstrip(WHITESPACE)
                parts += [left, token] if left else [token]
            if fragment:
                parts.append(fragment)
        fragments = parts
    return fragments


def random_vocabulary(random: Random) -> Vocabulary:
    """A few user-defined and control tokens over few letters, so that they nest and overlap, with strip rules."""
    count = random.randrange(1, 9)
    texts = list(dict.fromkeys(bytes(random.choices(b"ab \n", k=random.randrange(1, 6))) for _ in range(count)))
    kinds = [random.choice((Attribute.USER_DEFINED, Attribute.CONTROL)) for _ in texts]
    strips = [
        random.choice((0, Attribute.LSTRIP, Attribute.RSTRIP, Attribute.LSTRIP | Attribute.RSTRIP)) for _ in texts
    ]
    attributes = [int(kind | strip) for kind, strip in zip(kinds, strips, strict=True)]
    return Vocabulary(texts, {text: index for index, text in enumerate(texts)}, attributes)


@pytest.mark.parametrize("seed", range(8))
def test_fragments_are_those_of_the_rule(seed: int) -> None:
    """GG-5: overlaps, nesting, equal lengths and strip rules give what taking one token after the other gives."""
    random = Random(seed)
    for _ in range(400):
        vocabulary = random_vocabulary(random)
        text = bytes(random.choices(b"ab \n", k=random.randrange(0, 40)))
        assert vocabulary.split(text) == split_plainly(vocabulary, vocabulary.user_defined, text)
        found = vocabulary.split(text, parse_special=True)
        assert found == split_plainly(vocabulary, vocabulary.special, text)


def test_every_occurrence_is_met() -> None:
    """GG-5: at each place the longest text that ends there, then all shorter ones, as a search for each finds them."""
    random = Random(1)
    for _ in range(200):
        texts = list(dict.fromkeys(bytes(random.choices(b"ab", k=random.randrange(1, 5))) for _ in range(6)))
        text = bytes(random.choices(b"ab", k=30))
        automaton = Occurrences(texts)
        found = set()
        for end, longest in automaton.ends(text):
            node = longest
            while node:
                found.add((end, texts[automaton.text(node)]))
                node = automaton.shorter(node)
        assert found == {(end, each) for each in texts for end in range(31) if text[:end].endswith(each)}


def user_defined(texts: list[bytes]) -> Vocabulary:
    return Vocabulary(texts, {text: i for i, text in enumerate(texts)}, [int(Attribute.USER_DEFINED)] * len(texts))


HOSTILE = {
    "each once": ([b"%05d" % i for i in range(10_000)], b" ".join(b"%05d" % i for i in range(10_000))),
    "nearly": ([b"a" * 40 + b"%05d" % i for i in range(10_000)], b"a" * 80_000),
    "nested": ([b"a" * i for i in range(1, 1_500)], b"a" * 80_999 + b"b"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_text(name: str) -> None:
    """GG-5: twice the text takes about twice the processor time, whatever the tokens are."""
    texts, text = HOSTILE[name]
    vocabulary = user_defined(texts)
    vocabulary.split(text[:100])  # the automaton is made once
    half, whole = (min(timed(vocabulary, part) for _ in range(3)) for part in (text[: len(text) // 2], text))
    assert whole < 8 * half + 0.05, f"{len(text) // 2} bytes took {half:.3f} s, {len(text)} bytes {whole:.3f} s"


def timed(vocabulary: Vocabulary, text: bytes) -> float:
    start = time.process_time()
    vocabulary.split(text)
    return time.process_time() - start
