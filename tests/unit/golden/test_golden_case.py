"""`case.json`: what it means as steps, and what is refused with file, place, expected and found."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refruntime.battery.catalogue import default_battery
from refruntime.cases.steps import Call, Configure, Generate, Load, Write
from refruntime.contract.profile import Profile
from refruntime.golden.case import parse_case, step_document
from refruntime.golden.reading import GoldenError
from refruntime.golden.values import disk_json, json_hash
from tests.support.golden_files import CASES, case

STEPS = [
    {"call": ["alloc", "18446744073709551615"], "bind": "large_one"},
    {"call": ["alloc", -1], "bind": "p"},
    {"bytes": {"hex": "ff", "repeat": 3}, "write": "p+4"},
    {"call": ["set_sampling_config", "nan", 40, "0x1.8p-1", "18446744073709551615"]},
    {"call": ["generate", "p+4", 3, 1]},
    {"configure": {"seed": -1, "temperature": "1e-50", "top_k": 5, "top_p": 1}},
    {"generate": {"max_new_tokens": 4294967297, "prompt": {"text": "h\u00e9"}}},
    {"_why": "a comment", "load": "story"},
]


def parsed(document: Any) -> Any:
    return parse_case("family/name", disk_json(document))


def test_every_step_means_what_the_format_says() -> None:
    """ABI-3, MEM-9: each kind of step, argument, place and bytes becomes the step that the format describes."""
    golden = parsed(case(STEPS))
    assert golden.steps[:3] == (
        Call("alloc", (2**64 - 1,), "large_one"), Call("alloc", (-1,), "p"), Write("p+4", b"\xff\xff\xff"),
    )  # fmt: skip
    config = golden.steps[3]
    assert isinstance(config, Call)
    assert isinstance(config.arguments[0], float)
    assert math.isnan(config.arguments[0])
    assert config.arguments[1:] == (40, 0.75, 2**64 - 1)
    assert golden.steps[4:] == (
        Call("generate", ("p+4", 3, 1)),
        Configure(1e-50, 5, 1.0, -1),
        Generate("h\u00e9".encode(), 2**32 + 1),
        Load("story"),
    )
    assert golden.family == "family"
    assert golden.hash == json_hash(json.loads(json.dumps(case(STEPS))))


def test_steps_are_written_as_they_are_read() -> None:
    """Every step of the battery survives the way into a file and back, bit for bit."""
    seen = set()
    for item in default_battery(Profile(), patterns=["state", "status", "sampler", "output"]):
        if item.name == "status/sampling-seed-wraps":  # 2^64 + 3 is more than the format has
            continue
        documents = [step_document(step) for step in item.steps]
        seen |= {key for document in documents for key in document}
        names = sorted(item.models)
        models = {name: {"file": "models/any.slm1"} for name in names}
        used = {step.model for step in item.steps if isinstance(step, Load)}
        document = case(documents) | {"models": {name: models[name] for name in sorted(used)}}
        back = parse_case("family/name", disk_json(document)).steps
        assert [repr(step) for step in back] == [repr(_plain(step)) for step in item.steps]
    assert seen == {"call", "bind", "write", "bytes", "load", "configure", "generate"}


def _plain(step: Any) -> Any:
    """Numbers have one Python type in a case that was read: the one of the parameter."""
    if isinstance(step, Configure):
        return Configure(float(step.temperature), int(step.top_k), float(step.top_p), int(step.seed))
    if isinstance(step, Call) and step.export == "set_sampling_config":
        values = [float(v) if place in (0, 2) else int(v) for place, v in enumerate(step.arguments)]
        return Call(step.export, tuple(values), step.bind)
    return step


def test_an_artifact_is_cut_patched_and_extended() -> None:
    """FORMAT section 3: length, patch and append, in this order."""
    spec = {"append": {"hex": "ee", "repeat": 2}, "file": "models/table-story.slm1", "length": 6}
    spec["patch"] = [{"at": 1, "hex": "aabb"}, {"at": 2, "hex": "cc"}]
    golden = parsed(case([{"load": "story"}]) | {"models": {"story": spec}})
    assert golden.case({"models/table-story.slm1": bytes(range(10))}.__getitem__).models == {
        "story": bytes([0, 0xAA, 0xCC, 3, 4, 5, 0xEE, 0xEE])
    }
    for key, value in (("length", 11), ("patch", [{"at": 5, "hex": "aabb"}])):
        wrong = parsed(case([{"load": "story"}]) | {"models": {"story": {**spec, key: value}}})
        with pytest.raises(GoldenError, match=r"\$\.models\.story"):
            wrong.case({"models/table-story.slm1": bytes(range(10))}.__getitem__)


def changed(change: Callable[[Any], Any]) -> Any:
    document = copy.deepcopy(case(STEPS))
    change(document)
    return document


WRONG: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "no rules": (lambda d: d.update(rules=[]), "$.rules", "a list of at least 1"),
    "rule twice": (lambda d: d.update(rules=["SA-1", "SA-1"]), "$.rules", "every rule once"),
    "rule no id": (lambda d: d.update(rules=["sa"]), "$.rules[0]", "the id of a rule"),
    "unknown key": (lambda d: d.update(modles={}), "$.modles", "one of the keys"),
    "missing key": (lambda d: d.pop("about"), "$", "the key 'about'"),
    "about two lines": (lambda d: d.update(about="a\nb"), "$.about", "a sentence"),
    "format 2": (lambda d: d.update(format=2), "$.format", "1"),
    "format true": (lambda d: d.update(format=True), "$.format", "1"),
    "models a list": (lambda d: d.update(models=[]), "$.models", "an object"),
    "file outside": (lambda d: d["models"]["story"].update(file="models/../x"), "$.models.story.file", "a path"),
    "file absolute": (lambda d: d["models"]["story"].update(file="/etc/passwd"), "$.models.story.file", "a path"),
    "file hidden": (lambda d: d["models"]["story"].update(file="models/.x"), "$.models.story.file", "a path"),
    "length negative": (lambda d: d["models"]["story"].update(length=-1), "$.models.story.length", "an integer 0"),
    "patch empty": (lambda d: d["models"]["story"].update(patch=[]), "$.models.story.patch", "at least 1"),
    "model unused": (lambda d: d["models"].update(other={"file": "models/x"}), "$.models", "models that a step loads"),
    "model unknown": (lambda d: d["steps"][7].update(load="stories"), "$.steps[7].load", "one of story"),
    "no steps": (lambda d: d.update(steps=[]), "$.steps", "at least 1"),
    "two kinds": (lambda d: d["steps"][7].update(call=["alloc", 1]), "$.steps[7]", "exactly one"),
    "no kind": (lambda d: d["steps"][7].pop("load"), "$.steps[7]", "exactly one"),
    "bind beside load": (lambda d: d["steps"][7].update(bind="x"), "$.steps[7].bind", "one of the keys"),
    "export unknown": (lambda d: d["steps"][0]["call"].__setitem__(0, "malloc"), "$.steps[0].call[0]", "one of alloc"),
    "too many arguments": (lambda d: d["steps"][0]["call"].append(1), "$.steps[0].call", "1 arguments"),
    "argument too large": (lambda d: d["steps"][0]["call"].__setitem__(1, str(2**64)), "$.steps[0].call[1]", "integer"),
    "argument a fraction": (lambda d: d["steps"][0]["call"].__setitem__(1, "1.5"), "$.steps[0].call[1]", "integer"),
    "place unbound": (lambda d: d["steps"][4]["call"].__setitem__(1, "q"), "$.steps[4].call[1]", "bound"),
    "place as float": (lambda d: d["steps"][3]["call"].__setitem__(1, "p"), "$.steps[3].call[1]", "a float"),
    "place before bind": (lambda d: d["steps"][2].update(write="later"), "$.steps[2].write", "bound"),
    "offset negative": (lambda d: d["steps"][2].update(write="p+-1"), "$.steps[2].write", "bound"),
    "bind of nothing": (lambda d: d["steps"][0].update(call=["dealloc", 1, 1]), "$.steps[0].bind", "no name"),
    "bind nan": (lambda d: d["steps"][0].update(bind="nan"), "$.steps[0].bind", "no"),
    "bind capital": (lambda d: d["steps"][0].update(bind="P"), "$.steps[0].bind", "a name"),
    "bytes odd": (lambda d: d["steps"][2].update(bytes="abc"), "$.steps[2].bytes", "two digits"),
    "bytes capital": (lambda d: d["steps"][2].update(bytes="AB"), "$.steps[2].bytes", "lower-case"),
    "bytes both": (lambda d: d["steps"][2].update(bytes={"hex": "", "text": ""}), "$.steps[2].bytes", "either"),
    "bytes too many": (lambda d: d["steps"][2]["bytes"].update(repeat=2**50), "$.steps[2].bytes", "at most"),
    "text surrogate": (lambda d: d["steps"][2].update(bytes={"text": "\ud800"}), "$.steps[2].bytes.text", "UTF-8"),
    "temperature word": (lambda d: d["steps"][5]["configure"].update(temperature="hot"), "$.steps[5].", "decimal"),
    "temperature null": (lambda d: d["steps"][5]["configure"].update(temperature=None), "$.steps[5].", "decimal"),
    "configure part": (lambda d: d["steps"][5]["configure"].pop("seed"), "$.steps[5].configure", "the key 'seed'"),
    "count text": (lambda d: d["steps"][6]["generate"].update(max_new_tokens="x"), "$.steps[6].", "an integer"),
    "opinion empty": (lambda d: d.update(opinion=""), "$.opinion", "a check"),
    "exact empty": (lambda d: d.update(exact=" "), "$.exact", "a sentence"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    """A wrong key, type, id or value is refused with its place, what was expected and what was found."""
    change, place, expected = WRONG[name]
    with pytest.raises(GoldenError) as caught:
        parsed(changed(change))
    assert caught.value.file == "cases/family/name/case.json"
    assert caught.value.path.startswith(place)
    assert expected in caught.value.expected
    assert caught.value.found


TEXTS = {
    "not ASCII": ('{"about": "\u00e9"}'.encode(), "", "ASCII"),
    "not JSON": (b'{"a": }', "", "JSON"),
    "nothing": (b"", "", "JSON"),
    "a fraction": (b'{"a": [1.5]}', "$.a[0]", "an integer"),
    "NaN": (b'{"a": NaN}', "$.a", "an integer"),
    "a large integer": (b'{"a": {"b": 9007199254740992}}', "$.a.b", "an integer"),
    "a huge integer": (b'{"a": ' + b"9" * 100_000 + b"}", "$.a", "an integer"),
    "a huge exponent": (b'{"a": 1e999999999}', "$.a", "an integer"),
    "a key twice": (b'{"x": {"a": 1, "a": 2}}', "$.x", "every key once"),
    "too deep": (b"[" * 40 + b"]" * 40, "", "levels deep"),
    "far too deep": (b"[" * 200_000 + b"]" * 200_000, "", "levels deep"),
    "an array": (b"[]", "$", "an object"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "", "ASCII"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_text_is_refused(name: str) -> None:
    """Deep nesting, huge numbers and wrong encodings give an error with a place, quickly, and never a crash."""
    data, place, expected = TEXTS[name]
    with pytest.raises(GoldenError) as caught:
        parse_case("family/name", data)
    assert caught.value.path == place
    assert expected in caught.value.expected


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever the bytes are, the outcome is a case or a GoldenError."""
    with pytest.raises(GoldenError):
        parse_case("family/name", data)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(CASES)), st.data())
def test_any_value_anywhere_is_read_or_refused(name: str, data: Any) -> None:
    """One value of a good case replaced by any other JSON value gives a case or a GoldenError, nothing else."""
    document = copy.deepcopy(CASES[name])
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(ANY)
    with suppress(GoldenError):
        golden = parse_case("family/name", json.dumps(document).encode(), form=False)
        assert golden.steps


def test_the_disk_form_is_asked_for() -> None:
    """A file in another form is refused with the place of the first other byte; its meaning is read where wanted."""
    document = case(STEPS)
    for data in (json.dumps(document).encode(), disk_json(document)[:-1], disk_json(document) + b"\n"):
        with pytest.raises(GoldenError, match="on-disk form"):
            parse_case("family/name", data)
        assert parse_case("family/name", data, form=False).hash == json_hash(document)
