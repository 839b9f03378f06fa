"""Name the rule of a bug that no known fault explains: of the first wrong number, else of the shortest session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from refruntime.containers.slm1_format import DType
from refruntime.contract.features import feature
from refruntime.contract.profile import Profile
from refruntime.differential.compare import Difference, drawn_otherwise, takes_one_token
from refruntime.differential.run import PairRun
from refruntime.hypotheses.observed import WitnessedTensor
from refruntime.identify.blame import ends_early, rule_of
from refruntime.identify.bugs import all_experiments, count_asked, pair_run, shown_evidence
from refruntime.identify.draw_rules import DRAWN
from refruntime.identify.evidence import evidence_of_run, text_of_run
from refruntime.identify.feature_rules import only_with, rule_of_feature, rule_of_files
from refruntime.identify.identification import Bug
from refruntime.identify.kept_buffer import KEPT_BUFFER, needs_the_buffer
from refruntime.identify.looking import Looker
from refruntime.identify.resolve import OWN, spread
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.shortest import Shortener
from refruntime.identify.trial import Trials
from refruntime.witness.generation import generates, generation_of

MOST_KEPT: Final = 3
MOST_SHORTENED: Final = 8
"""Experiments of which the shortest session is looked for."""


def unexplained_bugs(
    settlement: Settlement,
    trials: Trials,
    profile: Profile,
    known: Sequence[Bug],
    look: Looker | None = None,
    shortener: Shortener | None = None,
) -> list[Bug]:
    """Return the rules that are broken by what no known fault explains: of the first wrong number that `look` sees.

    Where no number is seen, the shortest sessions tell the rule. Where a known fault hides options, an experiment that
    depends on one of those says nothing of its own.
    """
    explained = {name for bug in known for name in (*bug.cases, *bug.beside)}
    options = settlement.survivors.options
    hidden = {name for name, left in options.items() if len(left) > 1} if settlement.behind_fault else set()
    left = {
        name: item
        for name, item in settlement.contradicted.items()
        if name not in explained and not settlement.predictions.reads(item.case) & hidden
    }
    others = {name: item for name, item in left.items() if not generates(item.case.steps)}
    number = _of_generations(left, settlement, trials, profile, look, shortener)
    bugs = [] if number is None else [number]
    rest = left if number is None else others  # a wrong number spoils what is generated behind it
    return [*bugs, *([_by_rules(rest, settlement, trials, profile, shortener)] if rest else [])]


def _of_generations(
    left: Mapping[str, Experiment],
    settlement: Settlement,
    trials: Trials,
    profile: Profile,
    look: Looker | None,
    shortener: Shortener | None,
) -> Bug | None:
    """Return the bug that makes generations wrong: a buffer that is read too late, or the first wrong number.

    Where a token is drawn otherwise from the same logits, sessions of several tokens tell of no number.
    """
    generating = {name: item for name, item in left.items() if generates(item.case.steps)}
    sample = () if shortener is None else spread(list(generating.values()), MOST_KEPT)
    if shortener is not None and any(needs_the_buffer(shortener.of(item), shortener) for item in sample):
        evidence = shown_evidence(list(generating), generating, trials, profile)
        asked = count_asked(settlement, "MEM-9", generating)
        return Bug("MEM-9", KEPT_BUFFER, len(generating), asked, tuple(generating), evidence)
    first = {name: differences for name, item in left.items() if (differences := trials.differences(item, profile))}
    answers = {name: left[name].answers[differences[0].index] for name, differences in first.items()}
    drawn = {name for name, answer in answers.items() if drawn_otherwise(answer, first[name])}
    possible = [name for name in first if not drawn or (name not in drawn and takes_one_token(answers[name].step))]
    generated = {name: _generated(left[name], first[name]) for name in possible}
    numbers = {name: left[name] for name, artifact in generated.items() if artifact}
    seen = None if look is None else _seen(numbers, generated, settlement, look)
    return None if seen is None else _by_number(seen, numbers, settlement, trials, profile)


def blamed_by(shortener: Shortener) -> Callable[[Experiment], str]:
    """Return what names the rule of an experiment's shortest session; nothing where many experiments are contradicted.

    Then numbers are wrong, which every session passes by.
    """
    own = [name for name in shortener.settlement.contradicted if name.startswith(OWN)]
    agreed = [name for name in shortener.settlement.agreed if name.startswith(OWN)]
    if 2 * len(own) > len(agreed):
        return lambda item: ""

    def blamed(item: Experiment) -> str:
        run = shortener.of(item)
        if run.comparison.first is None:
            return ""
        return rule_of(shortener.shortest(run), lambda beginnings: "", shortener)

    return blamed


def _generated(item: Experiment, differences: Sequence[Difference]) -> bytes:
    """Return the model whose generation gave the first difference of an experiment; empty where none did.

    A generation that fails, ends elsewhere or had another prompt differs before any number does.
    """
    if not {each.field for each in differences} <= DRAWN - {"generated_tokens", "kv_length"}:
        return b""
    texts = next(((each.reference, each.build) for each in differences if each.field == "result"), None)
    if texts is not None and ends_early(*texts):
        return b""
    generation = generation_of(item.case.steps[: differences[0].index + 1], item.case.models.__getitem__)
    return b"" if generation is None else generation.artifact


def _seen(
    numbers: Mapping[str, Experiment], generated: Mapping[str, bytes], settlement: Settlement, look: Looker
) -> WitnessedTensor | None:
    """Return the first wrong number of an experiment.

    Quantised products are of many ways, which a build with wrong numbers does not tell, and few numbers are no
    evidence: plain models come first, of them the large ones.
    """

    def weakness(name: str) -> tuple[bool, int]:
        oracle, artifact = look.oracle, generated[name]
        label = oracle.bind(artifact, oracle.profile, oracle.numerics).quantization
        return label != DType.F32.label, -len(artifact)

    for name in sorted(numbers, key=weakness):
        if not look.left:
            return None
        seen = look(pair_run(numbers[name], look.oracle, settlement))
        if seen is not None and seen.rule:
            return seen
    return None


def _by_number(
    seen: WitnessedTensor, left: dict[str, Experiment], settlement: Settlement, trials: Trials, profile: Profile
) -> Bug:
    """Name the rule of the first wrong number of a build; what is generated behind it speaks for no other."""
    generating = [item for item in all_experiments(settlement) if generates(item.case.steps)]
    agreed = [item.case for item in settlement.agreed.values() if generates(item.case.steps)]
    cases = [item.case for item in left.values()]
    name = only_with(cases, agreed)
    rule = rule_of_feature(name, seen.rule, seen.pattern) if name else rule_of_files(cases, agreed) or seen.rule
    text = f"the first wrong number is {seen.tensor} at position {seen.position}: {seen.text}"
    if name:
        text += f"; only in models with {feature(name).title}"
    elif seen.pattern == "rounding":
        text += "; `refruntime orders` reads off in which order a build adds (ID-4)"
    return Bug(rule, text, len(left), len(generating), tuple(left), shown_evidence(list(left), left, trials, profile))


def _by_rules(
    left: dict[str, Experiment],
    settlement: Settlement,
    trials: Trials,
    profile: Profile,
    shortener: Shortener | None,
) -> Bug:
    """Name the rule that the shortest sessions tell, else the one of whose experiments the largest part is broken."""
    total = Counter(rule for item in all_experiments(settlement) for rule in _about(item))
    broken = Counter(rule for item in left.values() for rule in _about(item))
    most = partial(_most, total=total, broken=broken)
    names = tuple(left)
    shown = [] if shortener is None else _shortened(left, shortener, most)
    if not shown:
        rule = most()
        evidence = shown_evidence(list(names), left, trials, profile)
        return Bug(rule, "no known fault explains it", broken[rule], total[rule], names, evidence)
    votes = Counter(rule for rule, _ in shown)
    rule = max(votes, key=lambda name: (votes[name], -min(len(run.case.steps) for told, run in shown if told == name)))
    best = min((run for told, run in shown if told == rule), key=lambda run: len(run.case.steps))
    asked = count_asked(settlement, rule, names)
    return Bug(rule, text_of_run(best), len(left), asked, names, (evidence_of_run(best),))


def _shortened(
    left: dict[str, Experiment], shortener: Shortener, most: Callable[[tuple[str, ...]], str]
) -> list[tuple[str, PairRun]]:
    """Return the shortest sessions of some experiments with the rule that each tells."""
    shown = []
    for item in spread(list(left.values()), MOST_SHORTENED):
        run = shortener.of(item)
        if run.comparison.first is None:
            continue
        run = shortener.shortest(run)
        rule = rule_of(run, most, shortener)
        if rule:
            shown.append((rule, run))
            shortener.build.asked[run.case.name] = run.case
    return shown


def _most(beginnings: tuple[str, ...] = ("",), *, total: Counter[str], broken: Counter[str]) -> str:
    """Return the rule of whose experiments the largest part is broken, of those whose names begin so."""
    rules = [name for name in broken if name.startswith(beginnings)]
    return max(rules, key=lambda name: (broken[name] / total[name], broken[name]), default="")


def _about(item: Experiment) -> tuple[str, ...]:
    """Return the rules that an experiment is about: one that was designed has its own first."""
    return item.case.rules[:1] if item.case.name.startswith(OWN) else item.case.rules
