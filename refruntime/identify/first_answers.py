"""Tell from a few calls whether a build speaks as the contract's default does, before anything is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from refruntime.cases.steps import INIT, NEXT_TOKEN, Case
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine
from refruntime.identify.asking import Build
from refruntime.identify.sealed_engine import accepts

FIRST: Final = Case("first", (INIT, NEXT_TOKEN))


def speaks_otherwise(fresh: Callable[[], Engine], profile: Profile) -> str:
    """Say in what the first answers of a build are not those of a profile; empty where they are, or are none at all."""
    answers = Build(fresh).ask(FIRST)
    if len(answers) < len(FIRST.steps) or any(answer.observation.kind != "status" for answer in answers):
        return ""
    before, after = (answer.document for answer in answers)
    if before is None or after is None:
        return ""
    expected = profile.dialect
    missing = [name for name in expected.names if name not in expected.read(before)]
    if missing:
        return f"its diagnostics have no {missing[0]}"
    status = answers[1].observation.value
    if status == 12 and expected.read(after)["last_error"] != dict(profile.failure_messages).get(
        "ModelNotLoaded", "model not loaded"
    ):
        return "the text of a failure is another one"
    if "slm1" in profile.containers and profile.checksum == "verified" and not accepts(fresh, profile):
        return "it refuses a plain file as if its checksum were wrong"
    return ""
