"""Numbers of texts: what a dictionary says, whether or not one was made."""

from __future__ import annotations

import pickle
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from refruntime.string_table import StringTable
from refruntime.tokenizers import text_numbers
from refruntime.tokenizers.text_numbers import TextNumbers

TEXTS = st.lists(
    st.binary(max_size=3) | st.text("ab\0", max_size=20).map(str.encode) | st.sampled_from([b"x" * 64, b"x" * 65]),
    max_size=60,
)


def first_places(texts: list[bytes]) -> dict[bytes, int]:
    return {text: texts.index(text) for text in texts}


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(st.binary(max_size=3), max_size=5))
@example([b"a", b"b", b"a"], [])
def test_the_first_of_equal_texts_counts(texts: list[bytes], others: list[bytes]) -> None:
    """GG-5: a text that is there has its first number, another one none, however it is looked for."""
    numbers, expected = TextNumbers(StringTable.of(texts)), first_places(texts)
    for text in [*texts, *others, b"", b"x" * 63, b"x" * 66]:
        assert numbers.get(text) == expected.get(text)
        assert (text in numbers) == (text in expected)
    assert dict(numbers) == expected
    assert len(numbers) == len(expected)
    later = [at for at, text in enumerate(texts) if expected[text] != at]
    assert numbers.repeated() == ((expected[texts[later[0]]], later[0]) if later else None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=40))
def test_all_hashes_at_once_are_those_one_by_one(texts: list[bytes]) -> None:
    """GG-5: what is searched for has the hash that the table has, up to texts that are hashed by themselves."""
    found = text_numbers._hashes(StringTable.of(texts)).tolist()
    assert found == [text_numbers._hash(text) for text in texts]


def test_texts_with_one_hash_are_told_apart() -> None:
    """GG-3: a file that was made so that hashes meet costs a dictionary, and answers stay right."""
    texts = [b"%d" % index for index in range(100)]
    with mock.patch.object(text_numbers, "_hashes", lambda table: text_numbers.np.zeros(len(table), "u8")):
        numbers = TextNumbers(StringTable.of(texts))
    assert numbers.repeated() is None
    assert [numbers.get(text) for text in texts] == list(range(100))


def test_a_dictionary_is_made_when_it_pays() -> None:
    """GG-5: some texts are searched for; from the one on whose search pays for a dictionary, it answers."""
    texts = [b"text %d" % index for index in range(16 * 10)]
    numbers = TextNumbers(StringTable.of(texts))
    with mock.patch.object(TextNumbers, "_all", side_effect=AssertionError):
        assert [numbers.get(text) for text in texts[:10]] == list(range(10))
        with pytest.raises(AssertionError):
            numbers.get(texts[0])
    assert [numbers.get(text) for text in texts] == list(range(160))
    assert numbers[texts[5]] == 5
    with pytest.raises(KeyError):
        numbers[b"another"]


def test_numbers_of_texts_can_go_to_another_process() -> None:
    """GG-5: hashes do not depend on the process."""
    numbers = pickle.loads(pickle.dumps(TextNumbers(StringTable.of([b"a", b"b" * 100]))))
    assert numbers.get(b"b" * 100) == 1
