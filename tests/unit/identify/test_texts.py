"""The texts of statuses are learnt from results where no field holds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.cases.steps import INIT, NEXT_TOKEN, Call, Case, Configure, Load
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.contract.status import Status
from refruntime.differential.run import Oracle
from refruntime.identify.asking import AskedBuild
from refruntime.identify.texts import learn_texts
from refruntime.numerics import CompiledSeq32

SMALL = Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=8)
WITHOUT_STATUS = Call("last_result_len")


@pytest.mark.parametrize("text", ["unchanged", "message"])
def test_what_stands_from_before_is_no_text(text: Literal["unchanged", "message"]) -> None:
    """ERR-4: a failure that leaves the result says nothing of its own, also behind a call that shows none."""
    profile = replace(Profile(), failed_call_result=text)
    models = {"good": random_model(7, SMALL, profile=profile), "bad": b"nothing!"}
    steps = (INIT, Load("good"), WITHOUT_STATUS, NEXT_TOKEN, Configure(temperature=-1.0), Load("bad"))
    build = AskedBuild(Oracle(profile, CompiledSeq32(1)).engine)
    cases = [Case(f"texts/{place}", steps, models) for place in range(3)]
    learnt = learn_texts({case.name: build.answers(case) for case in cases}, Dialect(DIAGNOSTIC_NAMES), has_field=False)
    expected = {Status.InvalidLength, Status.GenerationFailed, Status.InvalidModelMagic} if text == "message" else set()
    assert {status for status in learnt if learnt[status].text == status.message} == expected == set(learnt)
