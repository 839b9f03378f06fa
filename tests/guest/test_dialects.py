"""The tables of strange builds and what is made of them, without building anything."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.guest import build
from tests.guest.dialects import (
    INNER_KEYS,
    KEYS,
    PUBLISHED,
    SWITCHES,
    Dialect,
    DialectError,
    checksum,
    load_dialects,
    names_of,
)
from tests.guest.random_builds import random_variants

SOURCE = "".join(path.read_text("utf-8") for path in sorted((Path(build.GUEST) / "src").glob("*.rs")))


@pytest.mark.parametrize("group", SWITCHES)
def test_tables_name_the_switches_of_the_source(group: str) -> None:
    """SL-5, DG-6: every name of a group is a switch in the source, and the other way round."""
    assert set(re.findall(rf'\b{group} = "(\w+)"', SOURCE)) == set(names_of(group))


def test_other_checksums_differ_from_the_published_one_and_from_each_other() -> None:
    """SL-5: each formula, start and rotation gives another sum of one file; the checksum field never counts."""
    file = bytes(range(256)) * 2
    dialects = [
        Dialect.of([f"{group}={name}"]) for group in ("formula", "start", "rotation") for name in names_of(group)
    ]
    sums = [checksum(file, dialect) for dialect in [Dialect(), *dialects]]
    assert len(set(sums)) == len(sums) >= 20
    other_field = file[:100] + b"\xff" * 8 + file[108:]
    assert [checksum(other_field, dialect) for dialect in [Dialect(), *dialects]] == sums


def test_checksum_by_hand() -> None:
    """SL-5: two bytes worked out by hand: the published formula, and the one in which the index is added."""
    start, prime, mask = 0xCBF29CE484222325, 0x100000001B3, 2**64 - 1

    def rotated(value: int) -> int:
        return (value << 5 | value >> 59) & mask

    first = rotated(start ^ 0x41) * prime & mask
    assert checksum(b"\x41\x42", Dialect()) == rotated(first ^ 0x42 ^ 1) * prime & mask
    assert (
        checksum(b"\x41\x42", Dialect.of(["formula=index_added"])) == rotated((first ^ 0x42) + 1 & mask) * prime & mask
    )


def test_every_scheme_names_every_key() -> None:
    """DG-3, DG-6, ERR-3: a scheme names all keys, no two alike; a set of texts has one for each code."""
    for scheme, names in load_dialects()["names"].items():
        assert set(names) == {*KEYS, *INNER_KEYS}, scheme
        assert len({names[key] for key in KEYS}) == len(KEYS), scheme
    for texts in load_dialects()["messages"].values():
        assert len(set(texts)) == len(texts) == 14
        assert not any("\n" in text for text in texts)


def test_what_cannot_be_together_is_refused() -> None:
    """DG-3: one name scheme at a time, one form of a field, and no two members in one place."""
    for choices in (["names=terse", "names=german"], ["form=ids_are_an_array", "form=ids_joined_by_spaces"]):
        with pytest.raises(DialectError, match="only one"):
            Dialect.of(choices)
    with pytest.raises(DialectError, match="need a sum in lanes"):
        Dialect.of(["sum=pairwise", "tail=on_its_own"])
    for choice in ("names=klingon", "colour=red"):
        with pytest.raises(DialectError, match="unknown"):
            Dialect.of([choice])


def test_fields_say_where_a_value_is() -> None:
    """DG-3: names and places of a combination, worked out by hand; a missing field has no place."""
    dialect = Dialect.of(["names=camel_case", "nesting=sampling", "missing=top_p", "extra=version"])
    assert dialect.fields["seed"] == ["sampling", "seed"]
    assert dialect.fields["top_k"] == ["sampling", "topK"]
    assert dialect.fields["top_p"] is None
    assert dialect.fields["kv_length"] == ["kvLength"]
    assert dialect.truth()["other_members"] == [["version", '"0.1.0"']]


@pytest.mark.parametrize("bugs", [None, "known", "unknown", "any"])
def test_random_variants_are_legal_and_repeatable(bugs: str | None) -> None:
    """ABI-5: a seed gives the same combinations again, all of them legal, hardly two alike."""
    variants = random_variants(60, 3, bugs)
    assert variants == random_variants(60, 3, bugs)
    assert len(set(variants)) >= 59
    assert all((variant.bug is None) == (bugs is None) for variant in variants)
    for variant in variants:
        build._check_options(variant.options)
        assert Dialect.of(variant.dialect.texts) == variant.dialect
        assert not variant.dialect.all("behaviour")
        assert variant.dialect.truth()["arithmetic"] == {}
    richer = random_variants(60, 3, bugs, architectures=True)
    assert [replace(each, options=(), dialect=PUBLISHED) for each in richer] == [
        replace(each, options=(), dialect=PUBLISHED) for each in variants
    ]
    for rich, plain in zip(richer, variants, strict=True):
        assert rich == plain or "gguf" not in plain.dialect.all("without")
        assert set(plain.options) <= set(rich.options)
        assert set(plain.dialect.texts) <= set(rich.dialect.texts)
        assert build.with_architectures(rich.options, rich.dialect) == rich.dialect
    assert {text for each in richer for text in each.dialect.all("architecture")} == set(names_of("architecture"))
    ordered = random_variants(30, 3, bugs, arithmetic=True)
    assert all(variant.dialect.one("sum") for variant in ordered)
    assert not any((variant.bug or "").startswith("dot_") for variant in ordered)
    assert sum(len(variant.options) >= 5 for variant in variants) >= 20
