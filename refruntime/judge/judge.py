"""Judge what an engine was observed to do: tokens, logits, greedy path, in this order.

Nothing is guessed: each arithmetic that an engine may have is run, and its distance measured. Engines of a known
arithmetic are run too: how far they lie from it is what rounding explains, and how often they lie nearer to another one
says which can be told apart at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.judge.computed import ComputedRows
from refruntime.judge.distance import Ruler, typical_of, worst_of
from refruntime.judge.faults import faults_of
from refruntime.judge.noise import Noise, apart_at_positions
from refruntime.judge.observed import ObservedRows, log_probabilities
from refruntime.judge.policies import FLASH, KEPT, PLAIN, Make, Policy, policies
from refruntime.judge.sampler import judge_sampler
from refruntime.judge.telling import Telling
from refruntime.judge.tokens import bos_of, tokens_say
from refruntime.judge.verdict import EngineJudgement, Measured, StageFinding, StageVerdict
from refruntime.model.validated import ValidatedModel
from refruntime.numerics.blas import one_blas_thread

Rows = NDArray[Any]
Float64 = NDArray[np.float64]
Step = Callable[[str], object]


class Judge:
    """Judge observations of one model; `step` hears what is being computed."""

    def __init__(self, model: ValidatedModel, profile: Profile, step: Step = lambda _: None) -> None:
        self._model, self._step = model, step
        self._computed = ComputedRows(model, profile)
        self._policies = tuple(policies(model))

    @one_blas_thread()
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
        named = findings[-1].facts.get("arithmetic")
        findings += [self._greedy(observed, named), judge_sampler(observed)]
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

    def _greedy(self, observed: ObservedRows, named: str | None) -> StageFinding:
        """Follow the engine's own tokens: at each step the best token of the nearest arithmetic, or a near tie."""
        if not observed.greedy:
            return StageFinding("greedy path", StageVerdict.NOT_ASKED, "no greedy tokens were given")
        policy = next((one for one in self._policies if one.name == named), self._policies[0])
        self._step(f"greedy path in {policy.name}")
        vocabulary = self._model.hyperparameters.vocab_size
        path = observed.greedy
        known = next((step for step, token in enumerate(path) if not 0 <= token < vocabulary), len(path))
        path = path[: known + 1]  # nothing follows a token that does not exist
        ids = (*observed.ids, *path[:-1])
        places = range(len(observed.ids) - 1, len(ids))
        rows = self.rows(policy.make, ids, places)
        logs = log_probabilities(rows)

        def farthest(make: Make) -> float:
            return float(np.abs(logs - log_probabilities(self.rows(make, ids, places))).max())

        orders = tuple(map(farthest, policy.neighbours))
        band = Noise(orders, orders, tuple(map(farthest, policy.accidents))).worst_limit
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


def _rank(one: Measured) -> tuple[float, float]:
    return one.distance.typical, one.distance.worst


def _rest(traits: Sequence[str], common: Sequence[str]) -> str:
    """Name what an arithmetic has beyond others."""
    kept = any(trait.startswith(KEPT) for trait in traits)
    rest = [trait for trait in traits if trait not in common]
    return ", ".join(rest if kept else [f"{KEPT} f32", *rest]) or "no more"


class _Logits:
    """The stage of the logits."""

    def __init__(self, judge: Judge, observed: ObservedRows) -> None:
        self._judge, self._observed = judge, observed
        self._ruler = Ruler(observed)
        self._policies = tuple(judge.policies(len(observed.ids)))
        self._noise: dict[str, Noise] = {}

    def findings(self) -> tuple[list[StageFinding], tuple[Measured, ...], tuple[Measured, ...]]:
        found = list(self._vocabulary())
        distances = [self._ruler.measure(self._own(policy)) for policy in self._policies]
        telling = self._known_engines()
        engine = np.array([distance.places for distance in distances])  # [P, T]
        nearest_at = (engine <= engine.min(axis=0)).sum(axis=1).tolist()  # [P]
        measured = [
            Measured(policy.name, policy.says, distance, self._noise[policy.family], count)
            for policy, distance, count in zip(self._policies, distances, nearest_at, strict=True)
        ]
        ranked = sorted(range(len(measured)), key=lambda place: _rank(measured[place]))
        plain = tuple(measured[place] for place in ranked)
        equal = next((one for one in plain if one.distance.equal), None)
        if equal is not None:
            text = f"every number that was told is that of {equal.name} ({equal.says})"
            return [*found, self._finding(StageVerdict.EQUAL, text, equal)], plain, ()
        explained = [place for place, one in enumerate(measured) if one.explains]  # the plainest first
        refuted = telling.refutations(engine, explained)
        left = [place for place in explained if place not in refuted]
        if left and self._is_nearer(engine, left, explained):
            left = []
        if left:
            names = [one.name for one in measured]
            told = {names[place]: one.to_dict(names) for place, one in refuted.items()}
            return [*found, self._explained(left, measured, told)], plain, ()
        traits = {self._policies[place].traits: place for place in reversed(ranked)}
        nearest_kinds = [self._policies[place] for place in ranked if place in traits.values()]
        finding, tried = self._faults(nearest_kinds, plain[0])
        return [*found, finding], plain, tried

    @staticmethod
    def _is_nearer(engine: Float64, left: Sequence[int], explained: Sequence[int]) -> bool:
        """Say whether something that explains nothing is nearer at most positions than all that is left."""
        rest = [place for place in range(len(engine)) if place not in explained]
        counts = (engine[rest] < engine[left].min(axis=0)).sum(axis=1)  # [P]
        return bool((2 * counts > engine.shape[1]).any())

    def _own(self, policy: Policy) -> Rows:
        self._judge.say(policy.name)
        return self._rows(policy.make)

    def _known_engines(self) -> Telling:
        """Measure what rounding does to engines of each arithmetic: how far it carries them, and to which others."""
        owns = [self._ruler.read(self._own(policy)) for policy in self._policies]
        orders, turned = [], []
        for place, policy in enumerate(self._policies):
            self._judge.say(f"{policy.name} in other orders")
            orders.append([self._from_each(owns, owns[place]), *self._engines(owns, policy.neighbours)])
            turned.append(self._engines(owns, policy.accidents))
        for family in {policy.family for policy in self._policies}:
            own = [place for place, policy in enumerate(self._policies) if policy.family == family]
            rows = [[engine[place] for engine in orders[place][1:]] for place in own]
            accidents = [float(engine[place].max()) for place in own for engine in turned[place]]
            typical, worst = [list(map(of, chain(*rows))) for of in (typical_of, worst_of)]
            self._noise[family] = Noise(typical, worst, accidents, apart_at_positions(rows))
        return Telling([policy.says for policy in self._policies], orders, turned)

    def _engines(self, owns: Sequence[Float64], makes: Sequence[Make]) -> list[Float64]:
        return [self._from_each(owns, self._ruler.read(self._rows(make), rounds=True)) for make in makes]

    def _from_each(self, owns: Sequence[Float64], logs: Float64) -> Float64:
        """Return how far an engine lies from each arithmetic at each position: [P, T]."""
        return np.array([self._ruler.places(logs, own) for own in owns])

    def _explained(self, left: Sequence[int], measured: Sequence[Measured], told: dict[str, Any]) -> StageFinding:
        """Say what those that are left have in common, and between which of them no position decides."""
        nearest = min((measured[place] for place in left), key=_rank)
        kinds = {self._policies[place].traits: None for place in left}
        common = [trait for trait in next(iter(kinds)) if all(trait in traits for traits in kinds)]
        says = ", ".join(common) or (PLAIN if len(kinds) == 1 else "products in float32")
        text = f"{says}: from {nearest.name} {nearest.numbers}"
        if len(kinds) > 1:
            text += (
                f"; the positions do not tell which of these: {'; '.join(_rest(traits, common) for traits in kinds)}"
            )
        if any(FLASH in trait for traits in kinds for trait in traits):
            text += f"; {FLASH} reads keys and values in f16 also where they are kept in f32"
        verdict = StageVerdict.ROUNDING if nearest.says == PLAIN and len(kinds) == 1 else StageVerdict.POLICY
        finding = self._finding(verdict, text, nearest)
        names = [measured[place].name for place in left]
        return replace(finding, facts={**finding.facts, "alike": names, "refuted": told})

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
        """Try every fault under the nearest arithmetic of each set of traits."""
        tried = []
        for policy in nearest:
            for name, text, rows in self._changed(policy):
                noise = self._noise[policy.family]
                tried.append(Measured(f"{name} in {policy.name}", text, self._ruler.measure(rows), noise))
                if tried[-1].explains and tried[-1].nearer_than(closest):
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
