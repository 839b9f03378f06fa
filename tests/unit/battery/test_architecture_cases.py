"""Every architecture has a case of the battery, which needs nothing else and says something."""

from __future__ import annotations

from refruntime.battery.architectures import architecture_cases
from refruntime.battery.catalogue import default_battery
from refruntime.cases.needs import needs_of
from refruntime.cases.observation import Observation, code_of, result_of
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle, observe
from refruntime.model.architectures import ARCHITECTURES


def test_every_architecture_is_compared() -> None:
    """ID-1, GG-13: a build that has one architecture more than llama is asked one case for it, and no other has to."""
    cases = {case.name: needs_of(case) for case in architecture_cases()}
    for name in set(ARCHITECTURES) - {"llama"}:
        assert cases.pop(f"gguf/architecture-{name}") == ("gguf", f"gguf/architecture/{name}")
    yarn = ("gguf", "gguf/architecture/gpt-oss", "gguf/rotary/yarn")
    assert cases == {"gguf/architecture-gpt-oss-yarn": yarn}
    names = [case.name for case in default_battery(Profile(), patterns=["gguf"])]
    assert {case.name for case in architecture_cases()} <= set(names)


def test_the_cases_generate_text() -> None:
    """GG-11: no case ends with a failure before its end, and nearly all generate several different tokens."""
    generated = []
    for case in architecture_cases():
        seen: list[Observation] = observe(case, Oracle().engine(), Profile())
        assert [code_of(answer) for answer in seen] == [0] * len(case.steps), case.name
        generated.append(len(set(b"".join(result_of(answer) or b"" for answer in seen[2:7]))))
    assert sum(count > 2 for count in generated) > 3 * len(generated) // 4
