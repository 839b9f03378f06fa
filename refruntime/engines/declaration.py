"""What a build declares about its contract, and which profile follows from it (ABI-5).

The published surface has no version export, so a build may carry a custom section `tinyrustlm.abi` whose content is
JSON: `{"contract": "0.1.0", "profile": {"SC-3": "no", ...}}`. The keys and values of `profile` are those of the table
`[rules]` in a profile file; rules that it does not name are not declared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from refruntime.contract.profile import CONTRACT_VERSION, Profile, ProfileError
from refruntime.engines.base import refusing_malformed
from refruntime.engines.interface import visible
from refruntime.instrument.reader import CUSTOM_SECTION, sections

SECTION_NAME: Final = "tinyrustlm.abi"
MAX_DECLARATION_BYTES: Final = 65_536


class DeclarationError(ValueError):
    """The declaration is malformed, too long, or there are several; the message says where."""


class ContractRefused(ValueError):
    """The declared contract cannot be compared with this oracle, or contradicts the profile that was given."""


@dataclass(frozen=True)
class Declaration:
    """What a module says of itself: `contract` is a version, `choices` maps each declared profile key to its value."""

    contract: str
    choices: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved:
    """The profile to compare with, and where it comes from.

    `source` is `given` (by the user), `declared` (by the module), `identified` (its answers told) or `assumed`.
    `sources` says the same of each profile
    key: a module that declares some keys leaves the others assumed. `notes` are sentences for a report.
    """

    profile: Profile
    source: Literal["declared", "assumed", "given", "identified"]
    sources: Mapping[str, str]
    notes: tuple[str, ...]


@refusing_malformed()
def read_declaration(module: bytes) -> Declaration | None:
    """Return what a module declares, None when it declares nothing: DeclarationError, InvalidModule."""
    found = [
        reader.take(reader.end - reader.position)
        for identifier, reader in sections(module)
        if identifier == CUSTOM_SECTION and reader.take(reader.number()) == SECTION_NAME.encode()
    ]
    if not found:
        return None
    if len(found) > 1:
        raise DeclarationError(f"{len(found)} sections {SECTION_NAME!r}; expected one")
    if len(found[0]) > MAX_DECLARATION_BYTES:
        raise DeclarationError(f"section {SECTION_NAME!r} has {len(found[0])} bytes; at most {MAX_DECLARATION_BYTES}")
    return parse_declaration(found[0])


def parse_declaration(content: bytes) -> Declaration:
    """Return what the content of the section says: DeclarationError."""
    return _declaration(_json_object(content))


def resolve_contract(declared: Declaration | None, given_profile: Profile | None = None) -> Resolved:
    """Choose the profile for a module: what the user gave, else what it declares, else the default: ContractRefused."""
    if declared is not None and declared.contract != CONTRACT_VERSION:
        raise ContractRefused(
            f"the module declares contract {_shown(declared.contract)}; this oracle knows {CONTRACT_VERSION} alone"
        )
    choices = declared.choices if declared is not None else {}
    keys = Profile.attributes()
    if given_profile is not None:
        given = given_profile.choices()
        contradictions = [
            f"{key}: declared {_shown(value)}, given {given[key]!r}"
            for key, value in choices.items()
            if given[key] != value
        ]
        if contradictions:
            raise ContractRefused(f"the profile contradicts the module's declaration: {'; '.join(contradictions)}")
        note = "and the module declares nothing" if declared is None else f"its {len(choices)} declared choices agree"
        return Resolved(given_profile, "given", dict.fromkeys(keys, "given"), (f"the profile was given; {note}",))
    if declared is None:
        note = f"the module declares no contract; {CONTRACT_VERSION} with the default profile is assumed"
        return Resolved(Profile(), "assumed", dict.fromkeys(keys, "assumed"), (note,))
    sources = {key: "declared" if key in choices else "assumed" for key in keys}
    note = f"the module declares contract {declared.contract} and {len(choices)} of {len(keys)} choices"
    if len(choices) < len(keys):
        note += "; the defaults of the others are assumed"
    return Resolved(Profile(**{keys[key]: value for key, value in choices.items()}), "declared", sources, (note,))


def _declaration(document: dict[str, Any]) -> Declaration:
    """Check every key and value: DeclarationError."""
    contract, choices = document.pop("contract", None), document.pop("profile", {})
    if document:
        raise DeclarationError(f"unknown key {_shown(min(document))}; expected 'contract' and 'profile'")
    if not isinstance(contract, str):
        raise DeclarationError(f"'contract': expected a version such as {CONTRACT_VERSION!r}, found {_shown(contract)}")
    if not isinstance(choices, dict):
        raise DeclarationError(f"'profile': expected an object from profile key to value, found {_shown(choices)}")
    if contract != CONTRACT_VERSION:  # its choices need not be those of this contract
        return Declaration(contract, choices)
    try:
        profile = Profile.from_choices(choices)
    except ProfileError as error:
        raise DeclarationError(f"'profile': {visible(str(error))}") from error
    return Declaration(contract, {key: value for key, value in profile.choices().items() if key in choices})


def _shown(value: object) -> str:
    return visible(repr(value))


def _json_object(content: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            raise DeclarationError("an object of the declaration names a key twice")
        return document

    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=unique)
    except DeclarationError:
        raise
    except UnicodeDecodeError as error:
        raise DeclarationError(f"the declaration is not UTF-8 at byte {error.start}") from error
    except ValueError as error:  # also a number with thousands of digits
        raise DeclarationError(f"the declaration is not JSON: {error}") from error
    except RecursionError:
        raise DeclarationError("the declaration is nested too deeply") from None
    if not isinstance(document, dict):
        raise DeclarationError(f"the declaration is {type(document).__name__}, expected an object")
    return document
