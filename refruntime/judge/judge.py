"""Judge what an engine was observed to do: tokens, logits, greedy path, in this order.

Nothing is guessed: each arithmetic that an engine may have is run, and its distance measured. An arithmetic explains
what was observed where it lies no farther from it than HEADROOM times what rounding alone is measured to do to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.judge.computed import ComputedRows
from refruntime.judge.distance import Distance, Ruler
from refruntime.judge.faults import faults_of
from refruntime.judge.observed import ObservedRows, log_probabilities
from refruntime.judge.policies import PLAIN, Make, Policy, policies
from refruntime.judge.sampler import judge_sampler
from refruntime.judge.tokens import bos_of, tokens_say
from refruntime.judge.verdict import EngineJudgement, Measured, StageFinding, StageVerdict
from refruntime.model.validated import ValidatedModel

HEADROOM: Final = 4.0
"""An engine adds in an order of its own, of which the measured ones are examples; it may lie this much farther.

Measured with vector builds on 13 models, quantised and not: 1.5 times as far where it is typical, 3.5 in the worst
position.
"""
APART: Final = 2.0
"""An arithmetic is told from a plainer one that lies farther away than this many times."""
TRIED_POLICIES: Final = 4
"""Arithmetics under which faults are tried: of each set of traits the nearest."""

Rows = NDArray[Any]
Step = Callable[[str], object]


class Judge:
    """Judge observations of one model; `step` hears what is being computed."""

    def __init__(self, model: ValidatedModel, profile: Profile, step: Step = lambda _: None) -> None:
        self._model, self._step = model, step
        self._computed = ComputedRows(model, profile)
        self._policies = tuple(policies(model))

    def judge(self, observed: ObservedRows) -> EngineJudgement:
        """Return the judgement of all that was observed."""
        findings = [self._tokens(observed)]
        measured: tuple[Measured, ...] = ()
        tried: tuple[Measured, ...] = ()
        if observed.values.size and observed.told():
            found, measured, tried = _Logits(self, observed).findings()
            findings += found
        else:
            findings.append(StageFinding("logits", StageVerdict.NOT_ASKED, "no numbers were given"))
        findings += [self._greedy(observed, measured), judge_sampler(observed)]
        return EngineJudgement(observed.source, tuple(findings), measured, tried)

    def rows(
        self, make: Make, ids: Sequence[int], positions: Iterable[int], model: ValidatedModel | None = None
    ) -> Rows:
        """Return our logits [T, V] at positions of ids under an arithmetic, of this model or of a changed one."""
        return self._computed.rows(make, ids, model)[list(positions)]

    def policies(self, tokens: int) -> Iterator[Policy]:
        """Yield the arithmetics that so many tokens can go through, saying which is computed."""
        for policy in self._policies:
            if tokens >= policy.least:
                self._step(policy.name)
                yield policy

    @property
    def model(self) -> ValidatedModel:
        """Return the model."""
        return self._model

    def say(self, text: str) -> None:
        """Say what is being computed."""
        self._step(text)

    def _tokens(self, observed: ObservedRows) -> StageFinding:
        if observed.text is None or observed.tokens is None:
            return StageFinding("tokens", StageVerdict.NOT_ASKED, "the engine was not asked for tokens")
        tokenizer = self._model.tokenizer
        ours = tokenizer.encode(observed.text.encode())
        if ours and ours[-1] == tokenizer.eos_id and observed.tokens[-1:] != (tokenizer.eos_id,):
            del ours[-1]  # a prompt leaves out a terminal EOS (GEN-2)
        said = tokens_say(tokenizer, ours, observed.tokens)
        if said is None:
            return StageFinding("tokens", StageVerdict.EQUAL, f"the same {len(ours)} tokens")
        facts = {"ours": ours, "theirs": list(observed.tokens)}
        return StageFinding("tokens", StageVerdict.TOKENISATION, f"the engine {said}", facts)

    def _greedy(self, observed: ObservedRows, measured: Sequence[Measured]) -> StageFinding:
        """Follow the engine's own tokens: at each step the best token of the nearest arithmetic, or a near tie."""
        if not observed.greedy:
            return StageFinding("greedy path", StageVerdict.NOT_ASKED, "no greedy tokens were given")
        names = [one.name for one in measured]
        policy = min(self._policies, key=lambda one: names.index(one.name) if one.name in names else len(names))
        self._step(f"greedy path in {policy.name}")
        vocabulary = self._model.hyperparameters.vocab_size
        path = observed.greedy
        known = next((step for step, token in enumerate(path) if not 0 <= token < vocabulary), len(path))
        path = path[: known + 1]  # nothing follows a token that does not exist
        ids = (*observed.ids, *path[:-1])
        places = range(len(observed.ids) - 1, len(ids))
        rows = self.rows(policy.make, ids, places)
        logs = log_probabilities(rows)

        def farthest(makes: Iterable[Make]) -> float:
            differences = (np.abs(logs - log_probabilities(self.rows(make, ids, places))) for make in makes)
            return float(max((difference.max() for difference in differences), default=0.0))

        band = max(HEADROOM * farthest(policy.neighbours), farthest(policy.accidents))
        ties = 0
        for step, (token, row) in enumerate(zip(path, logs, strict=True)):
            best = int(np.argmax(row))
            if token == best:
                continue
            margin = float(row[best] - row[token]) if 0 <= token < row.size else float("inf")
            if margin > 2 * band:
                text = f"step {step} takes token {token}, {margin:.3g} in log probability behind {best}"
                facts = {"step": step, "theirs": token, "ours": best, "margin": margin, "band": band}
                return StageFinding(
                    "greedy path", StageVerdict.MISMATCH, f"{text}; rounding explains {2 * band:.2g}", facts
                )
            ties += 1
        count = len(observed.greedy)
        if ties:
            return StageFinding(
                "greedy path", StageVerdict.NEAR_TIE, f"{count - ties} of {count} tokens are the best, {ties} nearly"
            )
        return StageFinding("greedy path", StageVerdict.EQUAL, f"all {count} tokens are the best in {policy.name}")


class _Logits:
    """The stage of the logits."""

    def __init__(self, judge: Judge, observed: ObservedRows) -> None:
        self._judge, self._observed = judge, observed
        self._ruler = Ruler(observed)
        self._bands: dict[str, tuple[float, float, float]] = {}

    def findings(self) -> tuple[list[StageFinding], tuple[Measured, ...], tuple[Measured, ...]]:
        found = list(self._vocabulary())
        distances = [(policy, self._measure(policy)) for policy in self._judge.policies(len(self._observed.ids))]
        measured = [
            (Measured(policy.name, policy.says, distance, *self._bands[policy.family]), policy)
            for policy, distance in distances
        ]
        ranked = sorted(measured, key=lambda pair: (pair[0].distance.typical, pair[0].distance.worst))
        plain = tuple(one for one, _ in ranked)
        equal = next((one for one in plain if one.distance.equal), None)
        if equal is not None:
            text = f"every number that was told is that of {equal.name} ({equal.says})"
            return [*found, self._finding(StageVerdict.EQUAL, text, equal)], plain, ()
        explained = [one for one, _ in measured if one.explains(HEADROOM)]  # the plainest first
        explained = [one for one in explained if one.explains_without_accident(HEADROOM)] or explained
        others = [one for one, _ in measured if not one.explains(HEADROOM)]
        # where accidents blur every position, rounding would explain what lies no nearer than a wrong arithmetic
        explained = [one for one in explained if all(one.nearer_than(other, APART) for other in others)]
        if explained:
            nearest = min(explained, key=lambda one: (one.distance.typical, one.distance.worst))
            alike = [one for one in explained if not nearest.nearer_than(one, APART)]
            return [*found, self._explained(alike[0], alike[1:])], plain, ()
        kinds = {policy.traits: policy for _, policy in reversed(ranked)}
        nearest_kinds = [policy for _, policy in ranked if kinds[policy.traits] is policy][:TRIED_POLICIES]
        finding, tried = self._faults(nearest_kinds, plain[0])
        return [*found, finding], plain, tried

    def _measure(self, policy: Policy) -> Distance:
        """Measure one arithmetic, and what rounding does to it: to any of its family, which round the same inputs."""
        rows = self._rows(policy.make)
        beside = [self._ruler.between(rows, self._rows(make)) for make in policy.neighbours]
        turned = [self._ruler.between(rows, self._rows(make)).worst for make in policy.accidents]
        bands = max(one.typical for one in beside), max(one.worst for one in beside), max(turned, default=0.0)
        known = self._bands.get(policy.family, bands)
        self._bands[policy.family] = max(known[0], bands[0]), max(known[1], bands[1]), max(known[2], bands[2])
        return self._ruler.measure(rows)

    def _explained(self, one: Measured, alike: Sequence[Measured]) -> StageFinding:
        text = f"{one.says}: from {one.name} {one.numbers}"
        others = sorted({other.says for other in alike} - {one.says})
        if others:
            text += f"; not to be told from: {'; '.join(others)}"
        return self._finding(StageVerdict.ROUNDING if one.says == PLAIN else StageVerdict.POLICY, text, one)

    def _finding(self, verdict: StageVerdict, text: str, one: Measured) -> StageFinding:
        return StageFinding("logits", verdict, text, {"arithmetic": one.name, "numbers": self._observed.told()})

    def _rows(self, make: Make, model: ValidatedModel | None = None, ids: Sequence[int] | None = None) -> Rows:
        observed = self._observed
        if ids is None:
            return self._judge.rows(make, observed.ids, observed.positions, model)
        shift = len(ids) - len(observed.ids)
        return self._judge.rows(make, ids, [max(0, place + shift) for place in observed.positions], model)

    def _vocabulary(self) -> Iterator[StageFinding]:
        """Speak of rows that are shorter or longer than the vocabulary."""
        ours, theirs = self._judge.model.hyperparameters.vocab_size, self._observed.vocabulary
        if theirs != ours:
            text = f"rows have {theirs} numbers, the vocabulary has {ours} tokens"
            text += f"; the first {min(ours, theirs)} were compared"
            yield StageFinding("logits", StageVerdict.VOCABULARY, text, {"ours": ours, "theirs": theirs})

    def _faults(self, nearest: Sequence[Policy], closest: Measured) -> tuple[StageFinding, tuple[Measured, ...]]:
        """Try every fault under the nearest arithmetics."""
        tried = []
        for policy in nearest:
            for name, text, rows in self._changed(policy):
                bands = self._bands[policy.family]
                tried.append(Measured(f"{name} in {policy.name}", text, self._ruler.measure(rows), *bands))
                if tried[-1].explains(HEADROOM) and tried[-1].nearer_than(closest, APART):
                    return self._fault(tried[-1]), tuple(tried)
        distance = closest.distance
        text = (
            f"nothing known explains it: {closest.numbers}, from {closest.name} ({closest.says}); "
            f"the largest difference, {distance.largest:.3g}, is at position {distance.position}, "
            f"token {distance.token}"
        )
        return self._finding(StageVerdict.UNEXPLAINED, text, closest), tuple(tried)

    def _fault(self, one: Measured) -> StageFinding:
        return self._finding(StageVerdict.FAULT, f"the engine computes as if {one.says}: from that {one.numbers}", one)

    def _changed(self, policy: Policy) -> Iterator[tuple[str, str, Rows]]:
        """Yield the rows of faults: of ids first, then of the model."""
        ids, model = self._observed.ids, self._judge.model
        self._judge.say(f"faults in {policy.name}")
        bos = bos_of(model.tokenizer)
        if bos is not None and len(ids) < model.hyperparameters.max_context:
            text = "there were a BOS too much before the first token"
            yield "bos-too-much", text, self._rows(policy.make, None, (bos, *ids))
        if bos is not None and len(ids) > 1 and ids[0] == bos:
            yield "bos-missing", "the BOS were left out", self._rows(policy.make, None, ids[1:])
        for fault in faults_of(model):
            yield fault.name, fault.text, self._rows(policy.make, fault.change(model))
