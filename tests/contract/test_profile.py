"""The profile itself: reading, writing, fingerprint, refusals."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime import Profile
from refruntime.contract import CONTRACT_VERSION, DIAGNOSTIC_NAMES, ProfileError, Status

OTHER_VALUES: dict[str, Any] = {
    "SL-5.order": "xor byte, multiply, rotate by index % 63 + 1, add index",
    "ERR-3": (("InvalidLength", "bad length"),),
    "SL-5.start": 7,
    "SL-5.rotation": 6,
    "GG-1": ("gguf",),
    "GG-7": 4096,
    "ID-1": ("slm1/storage/q4_0", "gguf/architecture/gemma"),
    "DG-3": (("seed", "rng_seed"),),
}


def changed(key: str) -> Profile:
    """Return the default profile with one field changed."""
    for item in fields(Profile):
        if item.metadata["key"] == key:
            options = item.metadata.get("options")
            return dataclasses.replace(Profile(), **{item.name: options[1] if options else OTHER_VALUES[key]})
    raise LookupError(key)


KEYS = [item.metadata["key"] for item in fields(Profile)]


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    values: dict[str, Any] = {}
    for item in fields(Profile):
        options = item.metadata.get("options")
        if options:
            values[item.name] = draw(st.sampled_from(options))
    orders = ("mix, multiply, rotate", "xor byte, rotate 9, multiply, xor index, rotate, multiply 0x3", "rotate, mix")
    values["checksum_order"] = draw(st.sampled_from(orders))
    values["checksum_start"] = draw(st.integers(0, 2**64 - 1))
    values["checksum_rotation"] = draw(st.integers(0, 63))
    values["containers"] = draw(st.sampled_from([("slm1",), ("gguf",), ("slm1", "gguf")]))
    features = ("slm1/tokenizer/bpe1", "gguf/storage/q4_k", *(f"gguf/tokenizer/{name}" for name in "abcdefghijkl"))
    values["absent_features"] = tuple(draw(st.lists(st.sampled_from(features), unique=True)))
    values["gguf_context_limit"] = draw(st.integers(1, 2**31 - 1))
    words = st.text("abcdefgh_XYZ 0123456789'\"\\é", min_size=1, max_size=12)
    names = draw(st.lists(st.sampled_from(DIAGNOSTIC_NAMES), unique=True, max_size=4))
    others = draw(st.lists(words, unique=True, min_size=len(names), max_size=len(names)))
    values["diagnostic_names"] = tuple(sorted(zip(names, others, strict=True)))
    failures = draw(st.lists(st.sampled_from([status.name for status in Status if status]), unique=True, max_size=4))
    values["failure_messages"] = tuple((name, draw(words)) for name in failures)
    return Profile(**values)


@settings(max_examples=200)
@given(profiles())
def test_toml_round_trip(profile: Profile) -> None:
    """DG-3, SL-5, GG-1: what is written reads back as an equal profile with the same fingerprint."""
    text = profile.to_toml()
    again = Profile.from_toml(text)
    assert again == profile
    assert again.fingerprint == profile.fingerprint
    assert again.to_toml() == text
    document = tomllib.loads(text)
    assert document["contract"] == CONTRACT_VERSION
    assert list(document["rules"]) == [key for key in KEYS if key != "ID-1" or profile.absent_features]


@pytest.mark.parametrize("key", KEYS)
def test_every_field_changes_the_fingerprint(key: str) -> None:
    """ABI-5: two profiles that differ anywhere have different fingerprints."""
    profile = changed(key)
    assert profile != Profile()
    assert profile.fingerprint != Profile().fingerprint
    assert list(profile.differences()) == [key]


def test_fingerprints_are_distinct_and_stable() -> None:
    """ABI-5: the fingerprint is the same in another process with another hash seed, and no two of these agree."""
    prints = [changed(key).fingerprint for key in KEYS] + [Profile().fingerprint]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)
    code = "from refruntime import Profile; print(Profile().fingerprint)"
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, check=True, text=True, env={"PYTHONHASHSEED": "7"})
    assert shown.stdout.strip() == Profile().fingerprint


def test_another_contract_has_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-5: the same choices under a new contract version are another profile."""
    before = Profile().fingerprint
    monkeypatch.setattr("refruntime.contract.profile.CONTRACT_VERSION", CONTRACT_VERSION + "+1")
    assert Profile().fingerprint != before


def test_order_and_repetition_mean_nothing() -> None:
    """GG-1, DG-3: profiles that say the same are equal, whatever the order, and have one fingerprint."""
    containers = Profile(containers=("gguf", "slm1", "gguf"))
    assert (containers, containers.fingerprint) == (Profile(), Profile().fingerprint)
    renamed = Profile(diagnostic_names=(("top_k", "k"), ("seed", "s"), ("top_p", "top_p")))
    same = Profile.from_toml('[rules]\n"DG-3" = {seed = "s", top_k = "k"}\n')
    assert (renamed, renamed.fingerprint) == (same, same.fingerprint)
    assert Profile.from_toml(renamed.to_toml()) == renamed
    told = Profile(
        failure_messages=(("GenerationFailed", "no"), ("InvalidLength", "bad"), ("NullPointer", "null pointer"))
    )
    again = Profile.from_toml('[rules]\n"ERR-3" = {InvalidLength = "bad", GenerationFailed = "no"}\n')
    assert (told, told.fingerprint) == (again, again.fingerprint)


def test_default_is_the_first_option() -> None:
    """ERR-4, GEN-9: the default profile takes the first option everywhere, and differs from itself in nothing."""
    for switch in Profile.switches():
        assert getattr(Profile(), switch.attribute) == switch.options[0]
    assert Profile().differences() == {}
    assert Profile.from_toml("") == Profile.from_toml(f'contract = "{CONTRACT_VERSION}"\n[rules]\n') == Profile()


def test_some_keys_suffice() -> None:
    """GEN-9, SL-5: absent keys keep the default; the checksum start may be a hex string or an integer."""
    profile = Profile.from_toml('[rules]\n"GEN-9" = "lossy"\n"SL-5.start" = "0xFF"\n"SL-5.rotation" = 3\n')
    assert profile == Profile(invalid_output_utf8="lossy", checksum_start=255, checksum_rotation=3)
    assert Profile.from_toml('[rules]\n"SL-5.start" = 255\n') == Profile(checksum_start=255)


BAD_TOML: dict[str, tuple[str, str]] = {
    "not TOML": ("[rules", "not TOML"),
    "nested too deeply": ("rules = " + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "unknown table": ("[rule]\n", "'rule'"),
    "unknown rule": ('[rules]\n"GEN-99" = "x"\n', "'GEN-99'"),
    "other contract": ('contract = "9.9.9"\n', "'9.9.9'"),
    "contract of another type": ("contract = 1\n", "1"),
    "rules is no table": ('rules = "x"\n', "not a table"),
    "unknown option": ('[rules]\n"GEN-9" = "4"\n', "GEN-9: '4'"),
    "option of another type": ('[rules]\n"GEN-9" = 3\n', "GEN-9: 3"),
    "option is a list": ('[rules]\n"GEN-9" = ["3"]\n', "GEN-9"),
    "start too large": ('[rules]\n"SL-5.start" = "0x10000000000000000"\n', "SL-5.start"),
    "start negative": ('[rules]\n"SL-5.start" = -1\n', "SL-5.start"),
    "start no number": ('[rules]\n"SL-5.start" = "first"\n', "'first'"),
    "start is a fraction": ('[rules]\n"SL-5.start" = 1.5\n', "SL-5.start"),
    "rotation 64": ('[rules]\n"SL-5.rotation" = 64\n', "SL-5.rotation"),
    "rotation is true": ('[rules]\n"SL-5.rotation" = true\n', "SL-5.rotation"),
    "no container": ('[rules]\n"GG-1" = []\n', "GG-1"),
    "unknown container": ('[rules]\n"GG-1" = ["onnx"]\n', "onnx"),
    "containers as text": ('[rules]\n"GG-1" = "slm1"\n', "GG-1"),
    "containers in lists": ('[rules]\n"GG-1" = [["slm1"]]\n', "GG-1"),
    "limit 0": ('[rules]\n"GG-7" = 0\n', "GG-7"),
    "limit too large": ('[rules]\n"GG-7" = 2147483648\n', "GG-7"),
    "text for success": ('[rules]\n"ERR-3" = {Ok = "fine"}\n', "ERR-3"),
    "text for an unknown status": ('[rules]\n"ERR-3" = {Broken = "x"}\n', "ERR-3"),
    "text is a number": ('[rules]\n"ERR-3" = {InvalidLength = 2}\n', "ERR-3"),
    "texts as a list": ('[rules]\n"ERR-3" = ["x"]\n', "ERR-3"),
    "a rule whose keys have suffixes": ('[rules]\n"SA-5" = ">"\n', "SA-5.crossing, SA-5.comparison"),
    "unknown key renamed": ('[rules]\n"DG-3" = {speed = "x"}\n', "DG-3"),
    "name is a number": ('[rules]\n"DG-3" = {seed = 5}\n', "DG-3"),
    "names as a list": ('[rules]\n"DG-3" = ["seed"]\n', "DG-3"),
    "two keys of one name": ('[rules]\n"DG-3" = {seed = "n", top_k = "n"}\n', "DG-3"),
    "name of another key": ('[rules]\n"DG-3" = {seed = "top_k"}\n', "DG-3"),
}


@pytest.mark.parametrize("name", list(BAD_TOML))
def test_bad_toml_is_refused_by_name(name: str) -> None:
    """DG-3, SL-5, GG-1, GG-7: every refusal is a ProfileError that names what is wrong."""
    text, named = BAD_TOML[name]
    with pytest.raises(ProfileError) as caught:
        Profile.from_toml(text)
    assert named in str(caught.value)


BAD_VALUES: list[dict[str, Any]] = [
    {"failed_call_result": "nothing"},
    {"failed_call_result": None},
    {"checksum_start": 2**64},
    {"checksum_start": -1},
    {"checksum_start": True},
    {"checksum_rotation": 64},
    {"checksum_rotation": 5.0},
    {"containers": ()},
    {"containers": ["slm1"]},
    {"containers": ("slm1", "onnx")},
    {"gguf_context_limit": 0},
    {"absent_features": ["slm1/storage/q4_0"]},
    {"absent_features": ("slm1/color/red",)},
    {"gguf_context_limit": "2048"},
    {"failure_messages": {"InvalidLength": "x"}},
    {"failure_messages": (("InvalidLength", "x"), ("InvalidLength", "y"))},
    {"failure_messages": (("InvalidLength",),)},
    {"failure_messages": (("InvalidLength", None),)},
    {"diagnostic_names": {"seed": "x"}},
    {"diagnostic_names": (("sneed", "x"),)},
    {"diagnostic_names": (("seed", 1),)},
    {"containers": (["slm1"],)},
    {"diagnostic_names": ("seed",)},
    {"diagnostic_names": (("seed",),)},
    {"diagnostic_names": (("seed", "a"), ("seed", "b"))},
    {"diagnostic_names": (("seed", "a"), ("top_k", "a"))},
]


@pytest.mark.parametrize("values", BAD_VALUES, ids=str)
def test_bad_values_are_refused_by_name(values: dict[str, Any]) -> None:
    """ERR-4, SL-5, GG-1, GG-7, DG-3: a profile with a wrong value cannot be made; the message names the rule key."""
    (attribute,) = values
    (key,) = [item.metadata["key"] for item in fields(Profile) if item.name == attribute]
    with pytest.raises(ProfileError, match=key):
        Profile(**values)


def test_swapped_names_are_fine() -> None:
    """DG-3: two keys may exchange their names, since no key is there twice."""
    profile = Profile(diagnostic_names=(("seed", "top_k"), ("top_k", "seed")))
    assert Profile.from_toml(profile.to_toml()) == profile


@pytest.mark.parametrize(
    "name",
    [
        "größe",
        "😀",
        "tab\tname",
        'quote"and\\',
        "\x7f",
        "\x1f",
        "line\nbreak",
        "\u2028",
    ],
)
def test_any_name_survives_toml(name: str) -> None:
    """DG-3: a build may use any text as a key."""
    profile = Profile(diagnostic_names=(("seed", name),))
    assert Profile.from_toml(profile.to_toml()) == profile


def test_profiles_are_frozen_and_hashable() -> None:
    """ABI-5: a profile cannot change under a running module, and can be a key."""
    profile = Profile()
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.xorshift = "7,9,8"  # type: ignore[misc]
    assert len({profile, Profile(), changed("GEN-9")}) == 2


def test_switches_describe_themselves() -> None:
    """ERR-4, PR-4: a switch knows its rule, its field and its options."""
    for switch in Profile.switches():
        assert switch.key.split(".")[0] == switch.rule
        assert switch.attribute in {item.name for item in fields(Profile)}
        assert len(set(switch.options)) == len(switch.options) > 1
        assert switch.meaning
