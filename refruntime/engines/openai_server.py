"""Ask a server with the completions of OpenAI: log probabilities of the best tokens, told by their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import EngineAnswer, Kind, Way
from refruntime.engines.http_json import JsonServer

MOST: Final = (1000, 100, 20, 5)
"""Numbers of best tokens to ask for: servers refuse too many."""


class OpenAiServer:
    """A server that answers /v1/models and /v1/completions; `pieces` are the texts of all tokens by id.

    A token whose text another one has too is not told apart from it and is left out.
    """

    kind: Kind = "log probabilities"

    def __init__(self, server: JsonServer, pieces: Sequence[bytes]) -> None:
        self._server, self._pieces = server, pieces
        counts = Counter(pieces)
        self._ids = {piece: token for token, piece in enumerate(pieces) if counts[piece] == 1 and piece}
        models = server.ask("/v1/models").get("data") or [{}]
        self._model = str(models[0].get("id", "default"))
        self._most: int | None = None
        self.name = f"{self._model} at {server.address}"

    def tokenize(self, text: str) -> list[int] | None:
        """Return None: this interface has no such question."""
        return None

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return log probabilities [T, V], NaN for all but the best, one question for each position."""
        return np.stack([self._row(ids[: position + 1]) for position in positions])

    def _row(self, ids: Sequence[int]) -> NDArray[np.float64]:
        row = np.full(len(self._pieces), np.nan)
        for piece, value in _best(self._choice(ids, 1)):
            token = self._ids.get(piece)
            if token is not None:
                row[token] = value
        return row

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the tokens that follow at temperature 0, up to the first whose text is not its own."""
        tokens = []
        for piece in _chosen(self._choice(ids, count)):
            token = self._ids.get(piece)
            if token is None:
                break
            tokens.append(token)
        return tokens

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return None: this interface shows no probabilities behind its samplers."""

    def _choice(self, ids: Sequence[int], count: int) -> Mapping[str, Any]:
        """Ask for a completion with as many log probabilities as the server gives."""
        refused: EngineAnswer | None = None
        for most in MOST if self._most is None else (self._most,):
            question = {"model": self._model, "prompt": list(ids), "max_tokens": count, "temperature": 0.0}
            try:
                answer = self._server.ask("/v1/completions", {**question, "logprobs": most})
            except EngineAnswer as error:
                refused = error
                continue
            self._most = most
            choices = answer.get("choices") if isinstance(answer, dict) else None
            if not choices or not isinstance(choices[0].get("logprobs"), dict):
                raise EngineAnswer("/v1/completions gave no logprobs; the server may have to be started with them")
            return dict(choices[0]["logprobs"])
        raise refused if refused is not None else EngineAnswer("nothing was asked")

    def ways(self) -> Mapping[str, Way]:
        """Return none."""
        return {}

    def close(self) -> None:
        """Do nothing: the server stays."""


def _best(logprobs: Mapping[str, Any]) -> Iterator[tuple[bytes, float]]:
    """Yield (text, log probability) of the first position, in the older or the newer form."""
    if logprobs.get("content"):
        for entry in logprobs["content"][0].get("top_logprobs", ()):
            yield _text(entry), float(entry["logprob"])
    elif logprobs.get("top_logprobs"):
        for piece, value in logprobs["top_logprobs"][0].items():
            yield str(piece).encode(), float(value)


def _chosen(logprobs: Mapping[str, Any]) -> Iterator[bytes]:
    if logprobs.get("content"):
        yield from map(_text, logprobs["content"])
    else:
        yield from (str(piece).encode() for piece in logprobs.get("tokens", ()))


def _text(entry: Mapping[str, Any]) -> bytes:
    told = entry.get("bytes")
    return bytes(told) if told is not None else str(entry.get("token", "")).encode()
