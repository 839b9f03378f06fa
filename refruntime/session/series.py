"""Numbers along a generation, as arrays and plain values, for plots and for people's own tools.

    steps = steps_of(session)             # entropy, margin, probabilities of the steps so far
    near = candidates_of(session, 8)      # the first candidates of each step, and what became of them
    error = error_by_layer(session)       # how far its numbers are from float64

Probabilities are those of the model, a softmax in float64 over the whole vocabulary; where `drawn` is in the name, they
are what the sampler's coin decided between, from the float32 weights that it had.
Letters: S steps, N shown candidates, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refruntime.api import open_model
from refruntime.fidelity.passes import compare_models
from refruntime.runtime import Taken
from refruntime.session.probabilities import Float64, entropy, softmax
from refruntime.session.state import SessionError
from refruntime.session.why import Why

if TYPE_CHECKING:
    from refruntime.session.session import Session


def drawn_probabilities(taken: Taken) -> dict[int, float]:
    """Return token -> share of the mass that the coin decided between (SA-5, SA-6); one token in a greedy step."""
    drawn = taken.choice.drawn
    if drawn is None:
        return {taken.choice.token: 1.0}
    kept = drawn.cut.kept
    weights = drawn.weighing.weights[:kept].astype(np.float64)
    shares = weights / weights.sum()
    return {int(token): float(share) for token, share in zip(drawn.selection.ids[:kept], shares, strict=True)}


def _plain(series: Any) -> dict[str, Any]:
    """Return the fields of a series as plain values by name; of texts the bytes, as hex."""
    values = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(series).items()}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {
        "bytes" if name == "texts" else name: [text.hex() for text in value] if name == "texts" else value
        for name, value in lists.items()
    }


# Steps ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """A generation so far, one value a step: [S].

    `entropy` is the model's at temperature 1, `drawn_entropy` that of what the coin decided between, both in bits;
    `margin` is how far the greatest logit leads (NaN where there is no second number); `probability` and `drawn` are
    those of the taken token, by the model at temperature 1 and by the coin.
    """

    tokens: NDArray[np.int64]
    texts: tuple[bytes, ...]
    entropy: Float64
    drawn_entropy: Float64
    margin: Float64
    probability: Float64
    drawn: Float64

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values; texts as hex."""
        return _plain(self)


def steps_of(session: Session) -> Steps:
    """Return the steps of a session so far. SessionError before the first."""
    rows = []
    for taken in _taken(session):
        model, coin = softmax(taken.logits), drawn_probabilities(taken)
        shares = np.array(list(coin.values()))
        rows.append(
            (
                entropy(model),
                entropy(shares),
                _margin(taken.logits),
                model[taken.token],
                coin.get(taken.token, 0.0),
            )
        )
    columns = np.array(rows, dtype=np.float64).T
    tokens = [taken.token for taken in _taken(session)]
    texts = tuple(session.subject.tokenizer.decode([token]) for token in tokens)
    return Steps(np.array(tokens, dtype=np.int64), texts, *columns)


def _taken(session: Session) -> tuple[Taken, ...]:
    if not session.state.taken:
        raise SessionError("no token was sampled yet; `step` samples one")
    return session.state.taken


def _margin(logits: NDArray[Any]) -> float:
    numbers = np.sort(logits[~np.isnan(logits)].astype(np.float64))
    if numbers.size < 2 or np.isinf(numbers[-1]):
        return float("nan")
    return float(numbers[-1] - numbers[-2])


# Candidates ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepCandidates:
    """The first candidates of one step, greatest first, then the chosen and the taken token: `fate` as `why` says it.

    `probability` is the model's at the step's temperature (1 in a greedy step), `drawn` the coin's: [N].
    """

    position: int
    tokens: NDArray[np.int64]
    texts: tuple[bytes, ...]
    probability: Float64
    drawn: Float64
    fates: tuple[str, ...]
    chosen: int
    taken: int

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values; texts as hex."""
        return _plain(self)


def candidates_of(session: Session, count: int = 8) -> tuple[StepCandidates, ...]:
    """Return the first `count` candidates of every step. SessionError before the first."""
    steps = []
    for taken in _taken(session):
        why = Why(taken, session.subject.tokenizer, session.subject.profile)
        shown = why.candidates(count)
        model = softmax(taken.logits, float(taken.sampling.temperature) or 1.0)
        coin = drawn_probabilities(taken)
        ids = [each.token for each in shown]
        steps.append(
            StepCandidates(
                taken.position,
                np.array(ids, dtype=np.int64),
                tuple(each.raw for each in shown),
                model[ids],
                np.array([coin.get(token, 0.0) for token in ids]),
                tuple(each.fate for each in shown),
                taken.choice.token,
                taken.token,
            )
        )
    return tuple(steps)


# Error ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerErrors:
    """How far a numeric profile is from float64 on the same ids: relative errors in the Euclidean norm, by layer [L].

    `residual` is the mean over positions of what leaves the layer; `worst` the largest mean of any tensor of the layer,
    with its name; `logits` the mean of the logits.
    """

    layers: NDArray[np.int64]
    residual: Float64
    worst: Float64
    worst_names: tuple[str, ...]
    logits: float
    largest_logit_difference: float

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values."""
        return _plain(self)


def error_by_layer(session: Session) -> LayerErrors:
    """Forward the ids of a session once more in float64 and compare with its own numbers, layer by layer.

    SessionError without ids, or where the session does not know its model's file.
    """
    if not session.ids:
        raise SessionError("there is no prompt yet; `prompt` begins a generation")
    if session.subject.artifact is None:
        raise SessionError("this session does not know its model's file, which float64 needs")
    truth = open_model(session.subject.artifact, session.subject.profile, "f64").transformer
    fidelity = compare_models(truth, session.subject.prefix_cache.transformer, session.ids)
    by_name = {error.name: error for error in fidelity.tensors}
    layers = sorted(fidelity.layers)
    worst = [fidelity.layers[layer] for layer in layers]
    return LayerErrors(
        np.array(layers, dtype=np.int64),
        np.array([by_name[f"blk.{layer}.residual"].mean for layer in layers]),
        np.array([error.mean for error in worst]),
        tuple(error.name for error in worst),
        by_name["logits"].mean,
        fidelity.divergence.largest_difference,
    )
