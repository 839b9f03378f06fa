"""Ask a build everything, in an order in which each answer makes the next experiment possible (ID-1 to ID-3)."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Final

from refruntime.battery.catalogue import FAMILIES, default_battery
from refruntime.battery.features import find_features, needs_of
from refruntime.cases.features import Found
from refruntime.cases.observation import code_of, result_of
from refruntime.cases.steps import INIT, Case, Configure, Generate, Load
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle
from refruntime.engines.base import Engine, Limits
from refruntime.identify.asking import AskedBuild
from refruntime.identify.bugs import checksum_bugs, oracle_of
from refruntime.identify.calls import naming_sessions
from refruntime.identify.capacity import find_capacity
from refruntime.identify.checksum import Checksum, find_checksum
from refruntime.identify.evidence import cited, learnt_switches
from refruntime.identify.experiments import switch_experiments
from refruntime.identify.field_bugs import field_bugs, without_wrong_fields
from refruntime.identify.fields import dialect_of
from refruntime.identify.identification import Identification, Learnt
from refruntime.identify.known_bugs import known_bugs
from refruntime.identify.learning import Learner
from refruntime.identify.looking import Looker
from refruntime.identify.naming import find_names
from refruntime.identify.prediction import Predictions
from refruntime.identify.profile_of import profile_of
from refruntime.identify.resolve import OWN, resolve, without_doubted
from refruntime.identify.sealed_engine import own_formula
from refruntime.identify.shortest import Shortener
from refruntime.identify.texts import learn_texts
from refruntime.identify.trial import Trials
from refruntime.identify.unexplained import blamed_by, unexplained_bugs
from refruntime.numerics import Numerics

EVERY: Final = {"state": 3, "sampler": 2, "slm1": 5, "gguf": 5, "golden": 5}
"""Of these families of the battery one case in so many is asked, and the first golden of each model.

Of `generate`, whose cases are long, the first is asked that needs a feature; of the others all are. They vote where a
bug makes an experiment speak for a wrong option. Numbers are compared by `diff`, which asks them all.
"""

SCALED: Final = ("slm1/storage/q8_0", "slm1/storage/q4_0")
"""Storage types whose scales may be applied in more than one way (FW-4)."""

GOLDEN: Final = "golden"
GENERATE: Final = "generate"

Stage = Callable[[str], AbstractContextManager[object]]


@dataclass
class Memory:
    """What outlives a build: the oracle's predictions of the experiments that are the same for all."""

    predictions: dict[Profile, Predictions] = field(default_factory=dict)

    def of(self, base: Profile, numerics: Numerics) -> Predictions:
        """Return the predictions over a base profile."""
        if base not in self.predictions:
            self.predictions[base] = Predictions(base, numerics)
        return self.predictions[base]


def identify(
    module: bytes,
    fresh: Callable[[], Engine],
    numerics: Numerics,
    *,
    name: str = "build",
    limits: Limits | None = None,
    memory: Memory | None = None,
    stage: Stage = lambda text: nullcontext(),
) -> Identification:
    """Return what a build has, how it names things and which options it chose. No answer of a build is raised."""
    began = time.perf_counter()
    found = Identification(name, hashlib.sha256(module).hexdigest(), len(module))
    base = Profile()
    with stage("asking whether answers repeat"):
        found.problem = unsteady(fresh, base)
    if not found.problem:
        with stage("asking for the checksum"):
            found.checksum = find_checksum(module, fresh, limits or Limits(), base)
        if not found.checksum.known:
            found.problem = f"no model can be loaded: {found.checksum.text}"
            found.tried = found.checksum.tried
        else:
            found.problem = wandering(AskedBuild(fresh, found.checksum.fit), base)
        if not found.problem:
            fit = found.checksum.fit
            look = partial(Looker, module, limits=limits or Limits(), fit=fit)
            _ask(found, found.checksum, AskedBuild(fresh, fit), numerics, memory or Memory(), stage, look)
    found.seconds = time.perf_counter() - began
    return found


def unsteady(fresh: Callable[[], Engine], base: Profile) -> str:
    """Say that a build answers the same calls in two ways; empty if it does not."""
    case = next(naming_sessions(base))
    case = replace(case, steps=case.steps[:4])
    first, second = (AskedBuild(fresh).ask(case) for _ in range(2))
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return f"the build answers differently each time: step {index} of the same session on two fresh instances"
    return ""


def wandering(build: AskedBuild, base: Profile) -> str:
    """Say that answers drift within an instance: a load clears what was before, yet no two generations agree (ST-3)."""
    plain = next(naming_sessions(base))
    again = (Load("model"), Generate(b"hello, you", 4))
    case = Case("identify/again", (INIT, Configure(0.0, 1, 1.0, 1), *again * 3), {"model": plain.models["model"]})
    answers = build.answers(case)
    loads = [code_of(each.observation) for each in answers[2::2]]
    if len(loads) == 3 and loads[0] == 0 and any(loads[1:]):
        return f"the build answers differently each time: the same file three times, load_model gave {loads}"
    shown = [result_of(each.observation) for each in answers[3::2]]  # documents may count calls, as many builds' do
    if len(shown) == 3 and len(set(shown)) == 3:
        return "the build answers differently each time: the same load and generation three times, three answers"
    return ""


def _ask(
    found: Identification,
    checksum: Checksum,
    build: AskedBuild,
    numerics: Numerics,
    memory: Memory,
    stage: Stage,
    look: Callable[[Oracle], Looker],
) -> None:
    base = own_formula(checksum.profile)
    with stage("asking what it has"):
        features = found.features = find_features(build.fresh, Profile(), seal=build.sealed)
    usable = _usable(features, naming_sessions(Profile()))
    with stage("asking how it names things"):
        named = find_names(build, usable, Oracle(base, numerics))
        if not named.shown:
            found.problem = named.trouble or "the build shows no diagnostics document that is JSON"
            return
        found.fields = named.fields
    sound = without_wrong_fields(found.fields)
    designed = _usable(features, designed_experiments())
    battery = _usable(features, sampled_battery())
    with stage("running experiments"):
        sessions = {case.name: build.answers(case) for case in (*designed, *battery)}
    dialect = Dialect(DIAGNOSTIC_NAMES, *dialect_of(sound))
    capacity: list[Learnt] = []
    if "gguf" in features.asked and "gguf" not in features.absent:
        with stage("asking for the largest context"):
            capacity = [find_capacity(build, dialect)]
            base = replace(base, gguf_context_limit=capacity[0].value)
    found.texts = learn_texts(sessions, dialect, has_field=sound["last_error"].shows)
    texts = {status: text.text for status, text in found.texts.items()}
    scaled = any(name not in features.absent for name in SCALED)
    learner = Learner(base, numerics, memory.of(base, numerics), sound, texts, sessions, designed, battery, scaled)
    with stage("ruling out options"):
        learning = learner.learn()
    settlement = learning.settlement
    trials = Trials(settlement, numerics, settlement.predictions.bind)
    with stage("weighing what contradicts"):
        offered = frozenset(settlement.offered)
        turned = resolve(settlement, trials, base)
        known = []
        if not learning.aside or any(name.startswith(OWN) for name in settlement.contradicted):
            known = known_bugs(settlement, trials, replace(base, **turned), offered)
        explained = {name for bug in known for name in bug.cases}
        blamed = blamed_by(Shortener(build, oracle_of(settlement, replace(base, **turned), numerics), settlement))
        choices = without_doubted(settlement, trials, base, turned, explained, blamed)
        chosen = replace(base, **choices)
        if choices != turned and not learning.aside:
            known = known_bugs(settlement, trials, chosen, offered)
        behind = None if learning.machine is None else Trials(settlement, numerics, trials.bind, learning.machine)
        learnt = learnt_switches(settlement, trials, behind, chosen, memory.of(base, numerics))
        found.learnt = [*learnt, *capacity]
        if learning.aside:
            settlement = learner.compared(learning, chosen)
            trials = Trials(settlement, numerics, trials.bind)
            known = known_bugs(settlement, trials, chosen, frozenset(settlement.offered))
        found.bugs = [*checksum_bugs(checksum), *field_bugs(found.fields, named.shown), *known]
        oracle = oracle_of(settlement, chosen, numerics)
        shortener = Shortener(build, oracle, settlement)
        found.bugs += unexplained_bugs(settlement, trials, chosen, known, look(oracle), shortener)
    profile = profile_of(checksum.profile, choices, found)
    found.profile = replace(profile, gguf_context_limit=base.gguf_context_limit)
    found.cases = cited(found, (*build.asked.values(), *checksum.cases))
    found.experiments = len(sessions)
    found.calls = build.calls


@cache
def sampled_battery() -> tuple[Case, ...]:
    """Return the cases of the battery that are asked besides the experiments."""
    cases = default_battery(Profile(), {}, FAMILIES)
    seen: Counter[str] = Counter()
    models: set[bytes] = set()
    features: set[str] = set()
    chosen = []
    for case in cases:
        family = case.name.partition("/")[0]
        files = set(case.models.values()) if family == GOLDEN else set()
        needs = set(needs_of(case)) if family == GENERATE else set()
        if family == GENERATE:
            wanted = not needs <= features
        else:
            wanted = not files <= models or seen[family] % EVERY.get(family, 1) == 0
        if wanted:
            chosen.append(case)
            models |= files
            features |= needs
        seen[family] += 1
    return tuple(chosen)


@cache
def designed_experiments() -> tuple[Case, ...]:
    """Return the experiments on options."""
    return tuple(switch_experiments(Profile()))


def _usable(features: Found, cases: Iterable[Case]) -> Sequence[Case]:
    """Return the cases that need nothing that the build does not have."""
    return [case for case in cases if not features.reason(needs_of(case))]
