"""Learn the options of a build by its sessions; without a field that alone contradicts them, they speak again.

A field that is wrong after some calls, or shows logits that are a little off, would contradict every session in which
it shows: nothing would be learnt from these, and rules that have no part in it would be blamed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from refruntime.cases.steps import Case
from refruntime.contract.dialect import Dialect
from refruntime.contract.fields import OF_LOGITS
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.contract.status import Status
from refruntime.identify.asking import BuildAnswer
from refruntime.identify.field_bugs import TEXTS
from refruntime.identify.fields import LearntField, dialect_of
from refruntime.identify.hidden import learn_behind_faults
from refruntime.identify.oracle import MachineMaker
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.resolve import spread
from refruntime.identify.settle import PRODUCT, Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.identify.trial import Trials
from refruntime.numerics import Numerics

MOST_SAMPLED: Final = 24
MOST: Final = 0.6
"""Share of contradicted experiments in which a field differs, and that agree once it is set aside."""
ALONE: Final = 0.25
"""Share of contradicted experiments in which nothing else differs."""


@dataclass(frozen=True)
class Learning:
    """What is settled, the machine with the known fault behind which options were learnt, and the fields set aside."""

    settlement: Settlement
    machine: MachineMaker | None
    aside: frozenset[str]


@dataclass(frozen=True)
class Learner:
    """The sessions of a build, and what they are held against: `fields` are those that it shows."""

    base: Profile
    numerics: Numerics
    predictions: Predictions
    fields: Mapping[str, LearntField]
    texts: Mapping[Status, str]
    sessions: Mapping[str, Sequence[BuildAnswer]]
    designed: Sequence[Case]
    battery: Sequence[Case]
    has_products: bool = True

    def learn(self) -> Learning:
        """Return what the sessions leave, with as few fields set aside as make most of them agree."""
        nearly = frozenset(name for name, item in self.fields.items() if item.nearly)
        learning = self._designed(nearly)
        suspects = self._suspects(learning)
        if suspects:
            learning = _better(learning, self._designed(nearly | suspects, learning))
        self._take(learning, self.battery)
        later = self._suspects(learning)
        if later and later != suspects:
            other = self._designed(learning.aside | later, learning)
            self._take(other, self.battery)
            learning = _better(learning, other)
        return learning

    def compared(self, learning: Learning, profile: Profile) -> Settlement:
        """Return what is settled with all fields compared, now that the options are known."""
        settlement = learning.settlement
        whole = self._settlement(frozenset(), settlement.predictions)
        result = replace(settlement, translation=whole.translation, offered=whole.offered, agreed={}, contradicted={})
        trials = Trials(result, self.numerics, settlement.predictions.bind)
        foreseen = _foreseen(settlement.predictions, profile)
        for name, item in settlement.agreed.items():
            again = self._experiment(item.case, whole.translation)
            if foreseen:
                agrees = bool(result.rows(again, lambda _, switch: (getattr(profile, switch),)))
            else:
                agrees = not trials.differences(again, profile)
            (result.agreed if agrees else result.contradicted)[name] = again
        for name, item in settlement.contradicted.items():
            result.contradicted[name] = self._experiment(item.case, whole.translation)
        return result

    def _designed(self, aside: frozenset[str], before: Learning | None = None) -> Learning:
        """Learn by one's own experiments; the last bits, which tell how a build multiplies, were shown `before`."""
        settlement = self._settlement(aside, self.predictions)
        if before is not None and aside & set(OF_LOGITS):
            settlement.survivors.options[PRODUCT] = before.settlement.survivors.options[PRODUCT]
        learning = Learning(settlement, None, aside)
        self._take(learning, self.designed)
        machine = learn_behind_faults(settlement, self.designed)
        narrow(settlement, self.base, self.numerics, shows_last_bits=not aside & set(OF_LOGITS))
        return replace(learning, machine=machine)

    def _suspects(self, learning: Learning) -> frozenset[str]:
        """Return the field, or the two that show logits, that alone may contradict most of what is contradicted."""
        settlement = learning.settlement
        sample = spread(list(settlement.contradicted.values()), MOST_SAMPLED)
        if not sample or learning.machine is not None:
            return frozenset()
        profile = replace(self.base, **settlement.best())
        trials = Trials(settlement, self.numerics, settlement.predictions.bind)
        differing = [frozenset(each.field for each in trials.differences(item, profile)) for item in sample]
        for names, alone in Counter(each for each in differing if each <= _FIELDS).most_common():
            if len(names) == 1 or names <= set(OF_LOGITS):
                among = sum(names <= each and "status" not in each for each in differing)
                if alone >= ALONE * len(sample) and among >= MOST * len(sample):
                    return names
        return frozenset()

    def _settlement(self, aside: frozenset[str], predictions: Predictions) -> Settlement:
        shown = {
            name: replace(item, place="", form="", reason="") if name.partition(".")[0] in aside else item
            for name, item in self.fields.items()
        }
        dialect = Dialect(DIAGNOSTIC_NAMES, *dialect_of(shown))
        offered = frozenset(name for name in DIAGNOSTIC_NAMES if shown[name].shows)
        return Settlement(predictions, Translation(dialect, self.texts), offered, has_products=self.has_products)

    def _take(self, learning: Learning, cases: Sequence[Case]) -> None:
        for case in cases:
            learning.settlement.take(self._experiment(case, learning.settlement.translation))

    def _experiment(self, case: Case, translation: Translation) -> Experiment:
        """Return a case with the build's answers in the contract's words."""
        return Experiment(case, translation.read_all(self.sessions[case.name]))


_FIELDS: Final = frozenset(DIAGNOSTIC_NAMES) - {*TEXTS, "selected_token", "tokenizer_output"}
"""Fields that can be set aside: a token that is drawn, and those of the prompt, are what a session is about."""


def _better(learning: Learning, other: Learning) -> Learning:
    """Return what was learnt with further fields set aside, where most of what contradicted agrees then."""
    before, after = len(learning.settlement.contradicted), len(other.settlement.contradicted)
    return other if after <= (1 - MOST) * before else learning


def _foreseen(predictions: Predictions, profile: Profile) -> bool:
    """Say whether predictions hold the answers of a profile: what is settled for them is what it has."""
    settled = (name for name in SWITCHES if name not in predictions.open_switches)
    return all(getattr(profile, name) == getattr(predictions.base, name) for name in settled)


def narrow(settlement: Settlement, base: Profile, numerics: Numerics, *, shows_last_bits: bool = True) -> None:
    """Go on with an oracle to which settled switches are no question any more.

    Nor is the way to multiply, where no field shows the last bits in which the ways differ: it stays open.
    """
    options = settlement.survivors.options
    open_switches = {name for name, values in options.items() if len(values) > 1}
    if not shows_last_bits:
        open_switches.discard(PRODUCT)
    settled: dict[str, Any] = {name: values[0] for name, values in options.items() if name not in open_switches}
    narrowed = Predictions(replace(base, **settled), numerics, frozenset(open_switches), settlement.predictions.bind)
    settlement.predictions = narrowed
