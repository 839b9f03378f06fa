"""What a fault changes beside what it explains, and what follows a wrong number, speaks for no other rule (ID-3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import NEXT_TOKEN, RESET, Case, Configure, Generate, Load, Step
from refruntime.client import Client
from refruntime.containers.slm1_format import DType
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle, PairRun
from refruntime.engines.base import Engine, Limits
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import varied_engine
from refruntime.hypotheses.observed import FAMILIES, RULES, WitnessedTensor
from refruntime.identify.elimination import Survivors
from refruntime.identify.known_bugs import known_bugs
from refruntime.identify.looking import Looker
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.identify.trial import Trials
from refruntime.identify.unexplained import unexplained_bugs
from refruntime.numerics import CompiledSeq32

BASE = Profile()
ORACLE = Oracle(BASE, CompiledSeq32(1))
SMALL = random_model(71, Shape(hidden=16, heads=2, ffn=24, capacity=24), profile=BASE)
LARGE = random_model(72, Shape(hidden=32, heads=2, ffn=48, capacity=24), profile=BASE)
QUANTISED = random_model(73, Shape(hidden=128, ffn=192, capacity=24), DType.Q8_0, profile=BASE)
GREEDY = Configure(0.0, 1, 1.0, 1)
FIXED = {name: (options[0],) for name, options in SWITCHES.items()}


def with_fault(name: str, oracle: Oracle = ORACLE) -> Engine:
    changes = next(item for item in catalogue(BASE) if item.name == name).changes
    return varied_engine(changes, oracle)


def case(name: str, rule: str, *steps: Step) -> Case:
    models = {"small": SMALL, "large": LARGE, "quantised": QUANTISED}
    return Case(name, (Load("small"), Load("large"), GREEDY, *steps), models, (rule,))


def asked(*experiments: tuple[Case, Callable[[], Engine]]) -> tuple[Settlement, Trials]:
    """Return what the answers of builds to cases leave under the contract's own options."""
    predictions = Predictions(BASE, ORACLE.numerics)
    translation = Translation(Dialect.of(DIAGNOSTIC_NAMES, ()))
    settlement = Settlement(predictions, translation, frozenset(DIAGNOSTIC_NAMES), Survivors(dict(FIXED)))
    for item, engine in experiments:
        session = StepRunner(Client(engine()), BASE, item.models)
        settlement.take(Experiment(item, [session.run(step) for step in item.steps]))
    return settlement, Trials(settlement, ORACLE.numerics, predictions.bind)


def named(settlement: Settlement, trials: Trials) -> list[tuple[str, int, int]]:
    known = known_bugs(settlement, trials, BASE, frozenset(DIAGNOSTIC_NAMES))
    assert all(len(bug.cases) == bug.broken for bug in known)
    bugs = [*known, *unexplained_bugs(settlement, trials, BASE, known)]
    return [(bug.rule, bug.broken, len(bug.beside)) for bug in bugs]


RESETS = [case(f"identify/reset-{n}", "ST-5", Generate(b"ab", n), RESET) for n in (1, 2, 3)]


def test_an_experiment_in_which_a_known_fault_shows_speaks_for_no_other_rule() -> None:
    """ST-5: one answer of four is no fault's, but what the known one changes is wrong in it, too."""
    other = case("identify/other", "GEN-8", Generate(b"abc", 2), RESET)
    sessions = [(item, lambda: with_fault("reset-keeps-length")) for item in RESETS]
    settlement, trials = asked(*sessions, (other, lambda: with_fault("reset-does-nothing")))
    assert len(settlement.contradicted) == 4
    assert named(settlement, trials) == [("ST-5", 3, 1)]


def test_what_a_known_fault_does_not_change_is_a_bug_of_its_own() -> None:
    """SC-2: the control: a session without a reset is no consequence of what reset does."""
    other = case("identify/other", "SC-2", Configure(0.5, 3, 2.0, 1), Generate(b"abc", 2))
    sessions = [(item, lambda: with_fault("reset-keeps-length")) for item in RESETS]
    settlement, trials = asked(*sessions, (other, lambda: with_fault("bad-config-applied")))
    assert [rule for rule, _, _ in named(settlement, trials)] == ["ST-5", "SC-2"]


def test_a_wrong_number_that_fits_by_chance_is_no_cause() -> None:
    """FW-6: where the fault would show in more experiments than it explains, it is not what the build has."""
    texts = (b"ab", b"bc", b"cd", b"de")
    sessions = [case(f"identify/text-{number}", "FW-6", Generate(text, 2)) for number, text in enumerate(texts)]
    wrong = lambda: with_fault("scale-no-root")  # noqa: E731
    settlement, trials = asked(*((each, wrong) for each in sessions))
    assert named(settlement, trials) == [("FW-6", 4, 0)]
    settlement, trials = asked((sessions[0], wrong), *((each, ORACLE.engine) for each in sessions[1:]))
    assert len(settlement.agreed) == 3
    assert not known_bugs(settlement, trials, BASE, frozenset(DIAGNOSTIC_NAMES))


def test_a_draw_that_fits_by_chance_is_no_cause() -> None:
    """SA-3: where the fault changes as many right sessions about its rule as it explains, a token fitted by chance."""
    hot = [Configure(50.0, 40, 1.0, seed) for seed in (3, 4, 5, 6)]
    names = ("identify/hot", "sampler/hot-1", "sampler/hot-2", "sampler/hot-3")
    sessions = [case(name, "SA-3", used, Generate(b"ab", 4)) for name, used in zip(names, hot, strict=True)]
    wrong = lambda: with_fault("temperature-ignored")  # noqa: E731
    settlement, trials = asked(*((each, wrong) for each in sessions))
    assert [rule for rule, *_ in named(settlement, trials)] == ["SA-3"]
    settlement, trials = asked((sessions[0], wrong), *((each, ORACLE.engine) for each in sessions[1:]))
    assert (len(settlement.contradicted), len(settlement.agreed)) == (1, 3)
    assert not known_bugs(settlement, trials, BASE, frozenset(DIAGNOSTIC_NAMES))


class Seeing(Looker):
    """A witness that is told what to see, and remembers which models it looked at."""

    tensor = WitnessedTensor("blk.1.attn_k.rope", 3, "rotation", "all of head 0")

    def __call__(self, run: PairRun) -> WitnessedTensor | None:
        """Return what was told."""
        self.seen[run.case.name] = {}
        return self.tensor


def test_the_first_wrong_number_names_the_rule_and_what_is_behind_it_none() -> None:
    """FW-5, GEN-8, SC-2: numbers belong to the first wrong one, what begins without a number is told by its rule."""
    numbers = [
        case("identify/first", "GEN-8", Load("small"), Generate(b"ab", 3)),
        case("identify/second", "FW-4", Generate(b"bc", 2), NEXT_TOKEN),
        case("identify/third", "SL-2", Load("quantised"), Generate(b"ab", 3)),
    ]
    state = case("identify/state", "SC-2", Configure(0.5, 3, 2.0, 1), Configure())
    wrong, applied = (lambda: with_fault("rope-backwards")), (lambda: with_fault("bad-config-applied"))
    settlement, trials = asked(*((each, wrong) for each in numbers), (state, applied))
    look = Seeing(b"", ORACLE, Limits())
    bugs = unexplained_bugs(settlement, trials, BASE, [], look)
    assert [bug.rule for bug in bugs] == ["FW-5", "SC-2"]
    assert [bug.cases for bug in bugs] == [("identify/first", "identify/second", "identify/third"), ("identify/state",)]
    assert bugs[0].text == "the first wrong number is blk.1.attn_k.rope at position 3: all of head 0"
    assert list(look.seen) == [
        "identify/second"
    ]  # the large model is more evidence, quantised products are of many ways


def test_nobody_looks_for_a_wrong_number_where_tokens_are_drawn_otherwise_from_the_same_logits() -> None:
    """PR-2, DG-8: a session of several tokens has other logits, since its tokens are others."""
    hot = Configure(2.0, 40, 1.0, 3)
    one = case("identify/one", "PR-2", hot, Generate(b"ab", 1), *[NEXT_TOKEN] * 3)
    several = case("identify/several", "PR-2", hot, Generate(b"ab", 8))
    number = case("identify/number", "FW-5", Load("small"), Generate(b"ab", 1))
    drawn, turned = (lambda: with_fault("draw-low-bits")), (lambda: with_fault("rope-backwards"))
    for sessions, looked in (
        ([(several, drawn)], ["identify/several"]),
        ([(several, drawn), (one, drawn)], []),
        ([(several, drawn), (one, drawn), (number, turned)], ["identify/number"]),
    ):
        settlement, trials = asked(*sessions)
        assert len(settlement.contradicted) == len(sessions)
        look = Seeing(b"", ORACLE, Limits())
        unexplained_bugs(settlement, trials, BASE, [], look)
        assert list(look.seen) == looked


def test_another_order_of_additions_has_a_command_that_reads_it_off() -> None:
    """FW-4, ID-4: identify blames the rule, and says how to go on."""
    settlement, trials = asked((case("identify/one", "FW-4", Generate(b"ab", 3)), lambda: with_fault("rope-backwards")))
    look = Seeing(b"", ORACLE, Limits())
    look.tensor = WitnessedTensor("blk.0.attn_q", 0, "rounding", "differ by little")
    (bug,) = unexplained_bugs(settlement, trials, BASE, [], look)
    assert bug.rule == "FW-4"
    assert bug.text.endswith("differ by little; `refruntime orders` reads off in which order a build adds (ID-4)")


def test_where_nothing_is_seen_rules_are_counted() -> None:
    """FW-4: a look that shows nothing changes nothing."""
    settlement, trials = asked((case("identify/one", "FW-4", Generate(b"ab", 3)), lambda: with_fault("rope-backwards")))
    look = Seeing(b"", ORACLE, Limits())
    look.tensor = WitnessedTensor("sampler.choice", 3, "another token", "5 instead of 6")
    told = [unexplained_bugs(settlement, trials, BASE, [], each)[0] for each in (look, None)]
    assert [bug.text for bug in told] == ["no known fault explains it"] * 2


@pytest.mark.parametrize(
    ("tensor", "pattern", "rule"),
    [
        ("token_embd", "wrong row", "FW-1"),
        ("blk.3.attn_norm", "constant factor", "FW-3"),
        ("blk.0.ffn_down", "other", "FW-4"),
        ("blk.0.ffn_down", "another scale", "SL-2"),
        ("blk.0.attn_k", "swapped operands", "FW-2"),
        ("blk.2.attn_q.rope", "rotation", "FW-5"),
        ("blk.0.attn.mixed", "stale", "FW-6"),
        ("blk.0.ffn_hidden", "clipped", "FW-7"),
        ("blk.0.cache_v", "stale", "FW-9"),
        ("blk.1.residual", "other", "FW-2"),
        ("sampler.weights", "other", ""),
    ],
)
def test_the_rule_of_a_tensor(tensor: str, pattern: str, rule: str) -> None:
    """FW-1 to FW-9, SL-2: by the formula that gives the tensor, or by what that was given where it is right itself."""
    assert WitnessedTensor(tensor, 0, pattern, "").rule == rule


def test_every_tensor_of_a_forward_pass_has_a_rule() -> None:
    """FW-1 to FW-9: two tables name the same tensors."""
    assert {name for name in FAMILIES if not name.startswith("sampler.")} == set(RULES)


def test_a_model_that_stays_goes_on() -> None:
    """ST-4: the fault keeps the logits as well, so that a next token follows as if there had been no load."""
    session = Case(
        "x", (Load("small"), GREEDY, Generate(b"ab", 2), Load("none"), NEXT_TOKEN), {"small": SMALL, "none": b""}, ()
    )
    plain = Case("y", (Load("small"), GREEDY, Generate(b"ab", 2), NEXT_TOKEN), {"small": SMALL}, ())
    ends = []
    for each, engine in ((session, with_fault("failed-load-keeps-model")), (plain, ORACLE.engine())):
        runner = StepRunner(Client(engine), BASE, each.models)
        ends.append([runner.run(step) for step in each.steps][-1])
    assert ends[0] == ends[1]
