"""What a build has is found out with one plain file for each feature, before it is judged."""

from __future__ import annotations

import pytest

from refruntime.battery.catalogue import default_battery
from refruntime.battery.features import FEATURES, find_features, find_for_cases
from refruntime.battery.models.gguf import U32, LlamaShape, llama_model, value
from refruntime.battery.models.plain import plain_gguf
from refruntime.cases.features import Found, ask
from refruntime.cases.needs import features_of, needs_of
from refruntime.cases.steps import Case, Load, Write
from refruntime.client import Client
from refruntime.contract.features import feature, with_needs
from refruntime.contract.profile import Profile
from refruntime.contract.rules import load_rules
from refruntime.contract.status import Status
from refruntime.engines.base import Engine, EngineLimit, EngineTrap
from refruntime.engines.reference import ReferenceEngine
from tests.support.builds import without

PROFILE = Profile()


def test_the_oracle_has_every_feature() -> None:
    """ID-1: every plain file is well-formed: the oracle loads it."""
    found = find_features(ReferenceEngine, PROFILE)
    assert found.asked == tuple(FEATURES)
    assert not found.absent
    assert found.required is None


@pytest.mark.parametrize("name", FEATURES)
def test_a_plain_file_needs_nothing_else(name: str) -> None:
    """ID-1: what is read off a plain file is its feature and what the table says that it stands on."""
    data = FEATURES[name].make(PROFILE)
    assert features_of(data) == with_needs([name]) == tuple(sorted({name, *FEATURES[name].needs}))
    assert len(data) < 100_000
    assert FEATURES[name].title
    assert FEATURES[name].group in ("container", "storage", "tokenizer", "output", "architecture", "rotary")


def test_the_table_names_what_the_contract_names() -> None:
    """GG-11, GG-14, GG-15: every architecture but llama, which the container comes with, is a feature."""
    rules = load_rules()
    texts = [
        rules[name].text.partition("Architectures: ")[2].partition(". ")[0] for name in ("GG-11", "GG-14", "GG-15")
    ]
    expected = {name.strip() for text in texts for name in text.split(",")} - {"llama"}
    assert {name.rpartition("/")[2] for name in FEATURES if "/architecture/" in name} == expected


@pytest.mark.parametrize("status", [4, 6, 10])
def test_a_refused_feature_is_absent_with_its_reason(status: int) -> None:
    """ID-1: refused with 4, 6 or 10 a feature is absent, and the reason says so."""
    found = find_features(without("slm1/storage/q4_0", status), PROFILE, ["slm1/storage/q4_0", "slm1/output/tied"])
    assert found.absent == {"slm1/storage/q4_0": Status(status)}
    expected = "the build does not have q4_0 weights in SLM1 files: it refuses the plain file with "
    assert found.reason(["slm1/storage/q4_0"]) == f"{expected}{Status(status).name} (ID-1)"
    assert found.reason(["slm1/output/tied"]) == ""
    assert found.required is None


@pytest.mark.parametrize("answer", [0, 5, 7, 8, 9, 13, EngineTrap("unreachable")])
def test_any_other_answer_is_held_to_the_contract(answer: int | Exception) -> None:
    """ID-1: only 4, 6 and 10 say that a feature is absent; a bug is no lack."""
    assert not find_features(without("slm1/storage/q4_0", answer), PROFILE, ["slm1/storage/q4_0"]).absent


def test_what_stands_on_an_absent_feature_is_not_asked() -> None:
    """ID-1: a build without a container is not asked for what is in it, and cases that need it are told so."""
    found = find_features(without("gguf", 4), PROFILE, ["gguf/rotary/longrope", "slm1"])
    assert found.asked == ("gguf", "slm1")
    assert found.reason(["gguf/rotary/longrope"]).startswith("the build does not have GGUF files (llama")


def test_a_limit_ends_the_questions() -> None:
    """ID-1: a build that hangs is asked once, and what it was not asked is no lack."""
    found = find_features(without("gguf", EngineLimit("stopped")), PROFILE, ["gguf/storage/q4_k", "slm1"])
    assert found == Found(("gguf",))


def test_a_build_without_the_first_container_is_shown_to_be_wrong() -> None:
    """ID-1: SLM1 with f32 weights is published, so refusing it is shown as a case of its own."""
    found = find_features(without("slm1", 6), PROFILE, ["slm1/storage/q8_0", "gguf"])
    assert found.required is not None
    assert found.required.name == "features/slm1"
    assert found.refusal.startswith("the build has to load SLM1 files (f32 weights, byte tokenizer), but refuses")
    assert find_features(without("slm1", 6), Profile(containers=("gguf",)), ["slm1", "gguf"]).required is None
    only = find_features(without("gguf", 4), Profile(containers=("gguf",)), ["gguf"])
    assert only.required is not None


def test_files_are_sealed_before_they_are_given() -> None:
    """ID-2: a build with a checksum of its own gets sealed files."""
    seen: list[bytes] = []

    def sealed(data: bytes) -> bytes:
        seen.append(data)
        return b"XXXX" + data[4:]

    found = find_features(ReferenceEngine, PROFILE, ["slm1"], sealed)
    assert seen == [FEATURES["slm1"].make(PROFILE)]
    assert found.absent == {"slm1": Status.InvalidModelMagic}


def test_needs_are_read_off_the_artifacts() -> None:
    """ID-1: a case needs what the files that it loads have, broken ones and written ones too."""
    q4 = FEATURES["slm1/storage/q4_0"].make(PROFILE)
    mixed = llama_model(1, LlamaShape(types={"attn_q": 8, "ffn_down": 30})).data
    assert features_of(q4[:107]) == ("slm1",)
    assert features_of(q4[:-1]) == ("slm1", "slm1/storage/q4_0")
    assert features_of(mixed) == ("gguf", "gguf/storage/bf16", "gguf/storage/q8_0")
    assert features_of(b"GGUF") == ("gguf",)
    assert features_of(b"gguf" + mixed[4:]) == features_of(b"") == ()
    case = Case("a/b", (Load("m"), Write("p", mixed)), {"m": q4})
    assert needs_of(case) == tuple(sorted({*features_of(q4), *features_of(mixed)}))


def test_names_that_say_nothing_are_refused() -> None:
    """ID-1: a name that is not made by the table's rule is a mistake of the caller."""
    for name in ("", "onnx", "slm1/q4_0", "gguf/storage/", "gguf/storage"):
        with pytest.raises(ValueError, match="no name of a feature"):
            feature(name)


def test_a_battery_is_asked_for_what_it_needs_alone() -> None:
    """ID-1: nothing is asked that no case needs."""
    cases = default_battery(PROFILE, patterns=["sampler"])
    assert find_for_cases(ReferenceEngine, PROFILE, cases).asked == ("slm1",)
    assert find_for_cases(ReferenceEngine, PROFILE, ()).asked == ()


def test_the_asked_instance_is_fresh() -> None:
    """ID-1: one feature cannot spoil the next: each gets an instance of its own."""
    engines: list[Engine] = []

    def fresh() -> Engine:
        engines.append(ReferenceEngine())
        return engines[-1]

    ask(fresh, ["slm1", "slm1/output/tied"], lambda name: FEATURES[name].make(PROFILE), "slm1")
    assert len(engines) == 2


def test_a_count_of_layers_beyond_the_tensors_costs_nothing() -> None:
    """GG-3, GG-4: a claimed count of 2^31 layers is refused for the first absent tensor, at no cost."""
    file = llama_model(1, LlamaShape(hidden=8, layers=1, heads=2, kv_heads=2, ffn=8))
    claimed = file.with_keys(llama__block_count=value(U32, 2**31))
    assert Client(ReferenceEngine()).load_model(claimed.data) == Status.MissingTensor


def test_the_type_of_an_entry_that_is_wrong_counts() -> None:
    """ID-1, GG-3: a build without the type refuses it before it sees that the first dimension is no multiple of 32."""
    file = plain_gguf()
    name = file.tensors[-1].name.decode()
    broken = file.with_tensor(name, type=8, dimensions=(31, 1)).data
    assert features_of(broken) == ("gguf", "gguf/storage/q8_0")
    assert features_of(file.with_tensor(name, type=99).data) == ("gguf",)
