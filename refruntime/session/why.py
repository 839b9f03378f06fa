"""Why did this token win: the stages of one choice as data. Every number is the one that the sampler used.

Letters: V vocabulary, R retained candidates. `show` renders it; this file only arranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile
from refruntime.display import Displayed
from refruntime.runtime import Taken
from refruntime.sampling import ranked
from refruntime.session.probabilities import softmax
from refruntime.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Candidate:
    """One token in descending order of logits.

    `weight` and the edges `low`, `high` of its share of the running sum are None beyond the retained ones (SA-3, SA-5).
    `fate` is `won`, `kept`, `cut by top_p` or `cut by top_k`; in a greedy step `won` or `lost`.
    """

    rank: int
    token: int
    raw: bytes
    logit: np.float32
    fate: str
    weight: np.float32 | None = None
    low: np.float32 | None = None
    high: np.float32 | None = None


class Why(Displayed):
    """The explanation of one sampled token; `print` shows it, and `to_dict` gives plain values."""

    def __init__(self, taken: Taken, tokenizer: Tokenizer, profile: Profile) -> None:
        self.taken = taken
        self.choice = taken.choice
        self.tokenizer = tokenizer
        self.profile = profile

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Return all ids whose logit is a number, greatest first, ties as the profile says (SA-2): [<= V].

        Retained candidates come first in their own order, which a temperature before the selection may change (SA-3).
        """
        by_logit = ranked(self.taken.logits, self.profile)
        retained = self.choice.selection.ids if self.choice.selection is not None else by_logit[:0]
        return np.concatenate([retained, by_logit[~np.isin(by_logit, retained)]])

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Return the model's own probabilities, a softmax at temperature 1 in float64: [V]."""
        return softmax(self.taken.logits)

    @property
    def winner(self) -> int:
        """Return the sampler's token; a forced one is `taken.token`."""
        return self.choice.token

    def rank(self, token: int) -> int | None:
        """Return the place of a token in descending order, from 1; None for a logit that is not a number."""
        places = np.flatnonzero(self.order == token)
        return int(places[0]) + 1 if places.size else None

    def candidate(self, place: int) -> Candidate:
        """Return the candidate at a place of the order, from 0."""
        token = int(self.order[place])
        raw, logit = self.tokenizer.decode([token]), self.taken.logits[token]
        drawn = self.choice.drawn
        if drawn is None:
            return Candidate(place + 1, token, raw, logit, "won" if token == self.winner else "lost")
        if place >= drawn.selection.ids.size:
            return Candidate(place + 1, token, raw, logit, "cut by top_k")
        sums = drawn.weighing.cumulative
        low = sums[place - 1] if place else np.float32(0)
        fate = "won" if token == self.winner else "kept" if place < drawn.cut.kept else "cut by top_p"
        return Candidate(place + 1, token, raw, logit, fate, drawn.weighing.weights[place], low, sums[place])

    def candidates(self, count: int) -> list[Candidate]:
        """Return the first candidates; the winner and the taken token follow if they are further down."""
        places = list(range(min(count, self.order.size)))
        for token in (self.winner, self.taken.token):
            rank = self.rank(token)
            if rank is not None and rank - 1 not in places:
                places.append(rank - 1)
        return [self.candidate(place) for place in places]

    def telling(self, count: int) -> list[Candidate]:
        """Return the first candidates and those at every edge, by rank: winner, neighbours, crossing, the cuts."""
        edges = [*self.neighbours, *(self.edge_of_top_k or ()), self.crossing]
        candidates = {each.rank: each for each in (*self.candidates(count), *edges) if each is not None}
        kept = self.choice.drawn.cut.kept if self.choice.drawn is not None else self.order.size
        if kept < self.order.size:
            candidates |= {each.rank: each for each in (self.candidate(kept - 1), self.candidate(kept))}
        return [candidates[rank] for rank in sorted(candidates)]

    @property
    def edge_of_top_k(self) -> tuple[Candidate, Candidate] | None:
        """Return the last retained and the first cut candidate, None if nothing was cut (SA-2)."""
        selection = self.choice.selection
        if selection is None or not 0 < selection.ids.size < self.order.size:
            return None
        return self.candidate(selection.ids.size - 1), self.candidate(selection.ids.size)

    @property
    def tied_at_the_edge(self) -> int:
        """Return how many cut candidates have the logit of the last retained one; the id decided between them."""
        edge = self.edge_of_top_k
        if edge is None or edge[0].logit != edge[1].logit or self.choice.selection is None:
            return 0
        rest = self.taken.logits[self.order[self.choice.selection.ids.size :]]
        return int(np.count_nonzero(rest == edge[0].logit))

    @property
    def crossing(self) -> Candidate | None:
        """Return the candidate whose running sum reached the threshold of top-p, or exceeded it (SA-5).

        None in a greedy step, and where no sum exceeds the threshold.
        """
        drawn = self.choice.drawn
        if drawn is None:
            return None
        strictly = self.profile.top_p_comparison == ">"
        sums, threshold = drawn.weighing.cumulative, drawn.cut.threshold
        reached = np.flatnonzero(sums > threshold if strictly else sums >= threshold)
        return self.candidate(int(reached[0])) if reached.size else None

    @property
    def neighbours(self) -> tuple[Candidate | None, Candidate | None]:
        """Return the kept candidates before and behind the winner, on whose edges the coin might have fallen."""
        drawn = self.choice.drawn
        if drawn is None:
            return None, None
        index = drawn.pick.index
        before = self.candidate(index - 1) if index > 0 else None
        behind = self.candidate(index + 1) if index + 1 < drawn.cut.kept else None
        return before, behind

    @property
    def missed(self) -> tuple[float, float] | None:
        """Return how far the point lies above the winner's lower edge and below its upper one, in shares of mass."""
        drawn = self.choice.drawn
        if drawn is None:
            return None
        sums, index = drawn.weighing.cumulative, drawn.pick.index
        mass, point = float(drawn.cut.mass), float(drawn.pick.point)
        low = float(sums[index - 1]) if index else 0.0
        return (point - low) / mass, (float(sums[index]) - point) / mass

    def to_dict(self) -> Mapping[str, Any]:
        """Return the choice as plain values: numbers as Python floats of the float32 they are."""
        choice, taken = self.choice, self.taken
        document: dict[str, Any] = {
            "position": taken.position,
            "token": taken.token,
            "sampler_token": choice.token,
            "forced": taken.forced,
            "bytes": self.tokenizer.decode([taken.token]).hex(),
            "owner": taken.owner,
            "greedy": choice.greedy_reason,
            "rank": self.rank(choice.token),
            "logit": float(taken.logits[choice.token]),
            **taken.sampling.to_dict(),
            "state_before": f"{taken.generator.state:016x}",
            "state_after": f"{choice.generator_state:016x}",
        }
        if choice.selection is not None:
            document["retained"] = int(choice.selection.ids.size)
            document["retained_ids"] = choice.selection.ids.tolist()
        if choice.weighing is not None:
            document["weights"] = choice.weighing.weights.tolist()
            document["cumulative"] = choice.weighing.cumulative.tolist()
            document["total"] = float(choice.weighing.total)
        drawn = choice.drawn
        if drawn is not None:
            document |= {
                "threshold": float(drawn.cut.threshold),
                "kept": drawn.cut.kept,
                "mass": float(drawn.cut.mass),
                "output": f"{drawn.draw.output:016x}",
                "unit": float(drawn.draw.unit),
                "point": float(drawn.pick.point),
                "index": drawn.pick.index,
                "missed": self.missed,
            }
        return document
