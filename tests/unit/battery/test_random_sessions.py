"""Random sessions are the same everywhere, varied, and free of undefined behaviour."""

from __future__ import annotations

import hashlib
from collections import Counter

from refruntime.battery.models.slm1 import random_model
from refruntime.battery.random_sessions import random_sessions
from refruntime.cases.observation import NoAnswer, StatusAnswer, ValueAnswer, code_of
from refruntime.cases.steps import Call, Generate, describe
from refruntime.contract.exports import EXPORTS
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle, follow, observe
from refruntime.engines.reference import ReferenceEngine

MODELS = {"a": random_model(1, profile=Profile()), "b": random_model(2, profile=Profile())}


def test_same_seed_same_sessions() -> None:
    """ABI-4, ST-3: the sessions of a seed never change, and another seed gives others."""
    first, again, other = (list(random_sessions(seed, 20, MODELS)) for seed in (1, 1, 2))
    assert first == again
    assert [case.steps for case in first] != [case.steps for case in other]
    text = "\n".join(describe(step) for case in first for step in case.steps)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "4ef88dd47b1a9261"


def test_sessions_are_varied_and_well_behaved() -> None:
    """ABI-1, MEM-4, ST-1: every export is called, most statuses occur, the strict ledger finds nothing to say."""
    oracle, statuses, exports = Oracle(), Counter[int | None](), Counter[str]()
    for case in random_sessions(3, 60, MODELS):
        for seen in observe(case, oracle.engine(), Profile()):
            statuses[code_of(seen)] += 1
            exports[seen.step.export if isinstance(seen.step, Call) else type(seen.step).__name__] += 1
            assert isinstance(seen, StatusAnswer | ValueAnswer | NoAnswer)
    assert {0, 1, 2, 3, 11, 12, 13} <= set(statuses)
    named = {export.name for export in EXPORTS} - {"load_model", "generate", "set_sampling_config"}
    assert named | {"Load", "Generate", "Configure", "load_model", "generate"} <= set(exports)


def test_following_a_build_changes_no_answer() -> None:
    """GEN-4: the oracle along a build's tokens answers what it answers alone, step by step."""
    oracle = Oracle()
    for case in random_sessions(4, 15, MODELS):
        alone = observe(case, oracle.engine(), Profile())
        assert follow(case, alone, oracle.engine(), Profile()) == alone
        assert isinstance(oracle.engine(), ReferenceEngine)


def test_generations_are_long_enough_to_matter() -> None:
    """GEN-5: a thousand sessions hold thousands of tokens."""
    wanted = sum(
        min(step.max_new_tokens, 40)
        for case in random_sessions(5, 200, MODELS)
        for step in case.steps
        if isinstance(step, Generate)
    )
    assert wanted > 4000
