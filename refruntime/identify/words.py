"""The words that the names of diagnostics fields are made of."""

from __future__ import annotations

from refruntime.contract.profile import DIAGNOSTIC_NAMES


def words_of(place: str) -> list[str]:
    """Return the words of a place in lower case, however they are joined."""
    words, current = [], ""
    for character in place:
        if character.isalpha() and not (character.isupper() and current and current[-1].islower()):
            current += character
        else:
            words.append(current.lower())
            current = character if character.isalpha() else ""
    return [*words, current.lower()]


def own_words(name: str) -> set[str]:
    """Return the words that no other field has in its name."""
    return set(name.split("_")) - {word for other in DIAGNOSTIC_NAMES if other != name for word in other.split("_")}


def named_alike(place: str, name: str) -> bool:
    """Say whether the last name of a place has the words of a field's own, however they are joined."""
    return words_of(place.rpartition("/")[2]) == name.split("_")
