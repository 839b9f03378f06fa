"""What a module declares of its contract: read from its bytes, checked, and weighed against a given profile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from refruntime.contract.profile import CONTRACT_VERSION, Profile
from refruntime.engines.base import InvalidModule
from refruntime.engines.declaration import (
    MAX_DECLARATION_BYTES,
    ContractRefused,
    Declaration,
    DeclarationError,
    read_declaration,
    resolve_contract,
)
from tests.support.wat_modules import build, custom_section, to_wasm

EMPTY = b"\0asm\x01\0\0\0"


def declaring(content: bytes | dict[str, Any]) -> bytes:
    """Return a module that carries a declaration."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return EMPTY + custom_section("tinyrustlm.abi", raw)


# Reading -------------------------------------------------------------------------------------------------------------


def test_undeclared() -> None:
    """ABI-5: a module without the section declares nothing, whatever other sections it has."""
    assert read_declaration(EMPTY) is None
    assert read_declaration(build()) is None
    assert (
        read_declaration(build() + custom_section("producers", b"\0") + custom_section("tinyrustlm.ab", b"{}")) is None
    )


def test_section_by_hand() -> None:
    """ABI-5: the section is found by its bytes: id 0, size 48, name of 14 bytes, then the JSON text."""
    text = b'{"contract":"0.1.0","profile":{}}'
    module = EMPTY + b"\x00\x30\x0etinyrustlm.abi" + text
    assert read_declaration(module) == Declaration("0.1.0", {})


@pytest.mark.parametrize("place", ["front", "middle", "end"])
def test_section_may_stand_anywhere(place: str) -> None:
    """ABI-5: custom sections may come before, between and after the others."""
    section = custom_section("tinyrustlm.abi", b'{"contract":"0.1.0","profile":{"SC-3":"no"}}')
    module = build()
    first_section_end = 8 + 2 + module[9]  # id, size in one byte, content
    offset = {"front": 8, "middle": first_section_end, "end": len(module)}[place]
    assert read_declaration(module[:offset] + section + module[offset:]) == Declaration("0.1.0", {"SC-3": "no"})


def test_section_as_a_compiler_writes_it() -> None:
    """ABI-5: the text format's own notation for custom sections gives the same."""
    module = to_wasm(r'(module (@custom "tinyrustlm.abi" "{\"contract\": \"0.1.0\"}"))')
    assert read_declaration(module) == Declaration("0.1.0", {})


def test_every_kind_of_value() -> None:
    """ABI-5: keys and values are those of a profile file: options, integers, hex text, lists and tables."""
    choices = {
        "PR-2": "1",
        "SL-5.start": "0x10",
        "SL-5.rotation": 7,
        "GG-1": ["gguf"],
        "DG-3": {"kv_length": "kvLen", "seed": "s"},
    }
    declaration = read_declaration(declaring({"contract": CONTRACT_VERSION, "profile": choices}))
    assert declaration is not None
    in_toml = """[rules]
"PR-2" = "1"
"SL-5.start" = "0x10"
"SL-5.rotation" = 7
"GG-1" = ["gguf"]
"DG-3" = { kv_length = "kvLen", seed = "s" }
"""
    assert resolve_contract(declaration).profile == Profile.from_toml(in_toml)
    assert set(declaration.choices) == set(choices)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not UTF-8 at byte 0"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[]", "is list, expected an object"),
        (b"null", "is NoneType, expected an object"),
        (b"{}", "'contract': expected a version"),
        (b'{"profile":{}}', "'contract': expected a version"),
        (b'{"contract":1}', "'contract': expected a version such as '0.1.0', found 1"),
        (b'{"contract":"0.1.0","Profile":{}}', "unknown key 'Profile'"),
        (b'{"contract":"0.1.0","contract":"0.1.0"}', "an object of the declaration names a key twice"),
        (
            b'{"contract":"0.1.0","profile":{"SC-3":"no","SC-3":"yes"}}',
            "an object of the declaration names a key twice",
        ),
        (b'{"contract":"0.1.0","profile":[]}', "'profile': expected an object"),
        (b'{"contract":"0.1.0","profile":null}', "'profile': expected an object"),
        (b'{"contract":"0.1.0","profile":{"SC-99":"no"}}', "unknown rule key 'SC-99'"),
        (b'{"contract":"0.1.0","profile":{"SC-3":"maybe"}}', "SC-3: 'maybe' is no option"),
        (b'{"contract":"0.1.0","profile":{"SC-3":null}}', "SC-3: None is no option"),
        (b'{"contract":"0.1.0","profile":{"SC-3":["no"]}}', "SC-3"),
        (b'{"contract":"0.1.0","profile":{"SC-3":{"no":1}}}', "SC-3"),
        (b'{"contract":"0.1.0","profile":{"SL-5.start":"twelve"}}', "SL-5.start: expected an integer or a hex string"),
        (b'{"contract":"0.1.0","profile":{"SL-5.start":18446744073709551616}}', "SL-5.start: expected an integer 0"),
        (b'{"contract":"0.1.0","profile":{"SL-5.rotation":true}}', "SL-5.rotation: expected an integer"),
        (b'{"contract":"0.1.0","profile":{"SL-5.rotation":1.0}}', "SL-5.rotation: expected an integer"),
        (b'{"contract":"0.1.0","profile":{"GG-7":1e999}}', "GG-7: expected an integer"),
        (b'{"contract":"0.1.0","profile":{"GG-1":[["slm1"]]}}', "GG-1: expected a non-empty selection"),
        (b'{"contract":"0.1.0","profile":{"GG-1":[]}}', "GG-1: expected a non-empty selection"),
        (b'{"contract":"0.1.0","profile":{"GG-1":{"slm1":1}}}', "GG-1"),
        (b'{"contract":"0.1.0","profile":{"DG-3":{"kv_length":1}}}', "DG-3: expected a table"),
        (b'{"contract":"0.1.0","profile":{"DG-3":["kv"]}}', "DG-3: expected a table"),
        (b'{"contract":"0.1.0","profile":{"DG-3":["kv_length"]}}', "DG-3: expected a table"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"contract":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"contract":"0.1.0"}' + b" " * MAX_DECLARATION_BYTES, f"at most {MAX_DECLARATION_BYTES}"),
    ],
)
def test_malformed_declaration(content: bytes, expected: str) -> None:
    """ABI-5: what is wrong in a declaration is told, in a message that is not longer than a reader likes."""
    with pytest.raises(DeclarationError) as caught:
        read_declaration(declaring(content))
    assert expected in str(caught.value)
    assert ("not JSON" in str(caught.value)) == (expected == "not JSON")
    assert len(str(caught.value)) < 600


def test_two_declarations() -> None:
    """ABI-5: two sections could contradict each other, so they are refused even when they are equal."""
    section = custom_section("tinyrustlm.abi", b'{"contract":"0.1.0"}')
    with pytest.raises(DeclarationError, match="2 sections"):
        read_declaration(EMPTY + section + section)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (b"", "not a WebAssembly module"),
        (b'{"contract":"0.1.0"}', "not a WebAssembly module"),
        (b"\0asm\x0d\0\x01\0", "not a WebAssembly module"),
        (EMPTY + b"\0", "1 bytes at offset 9"),
        (EMPTY + b"\0\x80", "1 bytes at offset 10"),
        (EMPTY + b"\0\x05\x01", "has 5 bytes, but the module ends at 11"),
        (EMPTY + b"\0\xff\xff\xff\xff\x0f", "has 4294967295 bytes"),
        (EMPTY + b"\0\xff\xff\xff\xff\x10", "more than 32 bits"),
        (EMPTY + b"\0\xff\xff\xff\xff\xff\x00", "more than 32 bits"),
        (EMPTY + b"\0\x00", "1 bytes at offset 10"),
        (EMPTY + b"\0\x02\x05a", "5 bytes at offset 11 reach past 12"),
    ],
)
def test_malformed_sections(module: bytes, expected: str) -> None:
    """ABI-5: sections that do not fit are told with their place."""
    with pytest.raises(InvalidModule) as caught:
        read_declaration(module)
    assert expected in str(caught.value)


def test_padded_lengths_are_numbers_too() -> None:
    """ABI-5: linkers pad a LEB128 number to five bytes; its value counts."""
    text = b'{"contract":"0.1.0"}'
    size = 1 + 14 + len(text)
    module = EMPTY + b"\0" + bytes([size | 0x80, 0x80, 0x80, 0x80, 0]) + b"\x0etinyrustlm.abi" + text
    assert read_declaration(module) == Declaration("0.1.0", {})


# Weighing ------------------------------------------------------------------------------------------------------------


def test_nothing_declared_and_nothing_given() -> None:
    """ABI-5: without a declaration 0.1.0 and the default profile are assumed, and this is said."""
    resolved = resolve_contract(None)
    assert resolved.profile == Profile()
    assert resolved.source == "assumed"
    assert set(resolved.sources.values()) == {"assumed"}
    assert "declares no contract; 0.1.0 with the default profile is assumed" in resolved.notes[0]


def test_declared_choices_are_kept_apart_from_assumed_ones() -> None:
    """ABI-5: keys that a module does not name are assumed, also when it declares others."""
    resolved = resolve_contract(read_declaration(declaring({"contract": "0.1.0", "profile": {"SC-3": "no"}})))
    assert resolved.source == "declared"
    assert resolved.profile == Profile(sampling_config_reseeds="no")
    assert [key for key, source in resolved.sources.items() if source == "declared"] == ["SC-3"]
    assert set(resolved.sources.values()) == {"declared", "assumed"}
    assert "the defaults of the others are assumed" in resolved.notes[0]


def test_given_profile_stands_without_a_declaration() -> None:
    """ABI-5: what the user gives is neither declared nor assumed."""
    given = Profile(zero_seed="1")
    resolved = resolve_contract(None, given)
    assert (resolved.profile, resolved.source) == (given, "given")
    assert set(resolved.sources.values()) == {"given"}
    assert "declares nothing" in resolved.notes[0]


def test_given_profile_that_agrees() -> None:
    """ABI-5: a given profile may say more than the declaration, as long as it says nothing else."""
    declared = Declaration("0.1.0", {"SC-3": "no"})
    given = Profile(sampling_config_reseeds="no", zero_seed="1")
    resolved = resolve_contract(declared, given)
    assert (resolved.profile, resolved.source) == (given, "given")
    assert "its 1 declared choices agree" in resolved.notes[0]


def test_given_profile_that_contradicts() -> None:
    """ABI-5: a profile that contradicts the declaration is refused, and each contradiction is named."""
    declared = Declaration("0.1.0", {"SC-3": "no", "PR-2": "1", "ST-2": "no-op"})
    with pytest.raises(ContractRefused) as caught:
        resolve_contract(declared, Profile(zero_seed="88172645463325252"))
    assert "SC-3: declared 'no', given 'yes'" in str(caught.value)
    assert "PR-2: declared '1', given '88172645463325252'" in str(caught.value)
    assert "ST-2" not in str(caught.value)


@pytest.mark.parametrize("version", ["0.2.0", "0.1.1", "1.0.0", "0.0.9", "", "0.1.0-beta", "latest"])
@pytest.mark.parametrize("given", [None, Profile()])
def test_other_contracts_are_refused(version: str, given: Profile | None) -> None:
    """ABI-5: another contract version is refused by name, also when its keys are unknown or a profile is given."""
    declaration = read_declaration(declaring({"contract": version, "profile": {"ADAPTER-1": "two more exports"}}))
    assert declaration is not None
    with pytest.raises(ContractRefused, match=r"this oracle knows 0\.1\.0 alone") as caught:
        resolve_contract(declaration, given)
    assert repr(version) in str(caught.value)
