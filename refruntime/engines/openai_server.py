"""Ask a server with the completions of OpenAI: log probabilities of the best tokens, told by their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import EngineAnswer, Kind, Way
from refruntime.engines.http_json import JsonServer
from refruntime.engines.json_answers import list_of, object_of, real

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
        told = object_of(server.ask("/v1/models"), "the answer to /v1/models").get("data")
        models = list_of(told, "data of /v1/models") if told else [{}]
        self._model = str(object_of(models[0], "a model of /v1/models").get("id", "default"))
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
            first = choices[0] if isinstance(choices, list) and choices else None
            if not isinstance(first, dict) or not isinstance(first.get("logprobs"), dict):
                raise EngineAnswer("/v1/completions gave no logprobs; the server may have to be started with them")
            return dict(first["logprobs"])
        raise refused if refused is not None else EngineAnswer("nothing was asked")

    def ways(self) -> Mapping[str, Way]:
        """Return none."""
        return {}

    def close(self) -> None:
        """Do nothing: the server stays."""


def _best(logprobs: Mapping[str, Any]) -> Iterator[tuple[bytes, float]]:
    """Yield (text, log probability) of the first position, in the older or the newer form."""
    if logprobs.get("content"):
        first = object_of(list_of(logprobs["content"], "content of logprobs")[0], "an entry of content")
        for entry in list_of(first.get("top_logprobs", []), "top_logprobs"):
            yield _text(entry), real(entry.get("logprob"), "a logprob of top_logprobs")
    elif logprobs.get("top_logprobs"):
        best = object_of(list_of(logprobs["top_logprobs"], "top_logprobs")[0], "an entry of top_logprobs")
        for piece, value in best.items():
            yield _bytes(piece), real(value, "a number of top_logprobs")


def _chosen(logprobs: Mapping[str, Any]) -> Iterator[bytes]:
    if logprobs.get("content"):
        yield from map(_text, list_of(logprobs["content"], "content of logprobs"))
    else:
        yield from (_bytes(str(piece)) for piece in list_of(logprobs.get("tokens", []), "tokens of logprobs"))


def _text(entry: Any) -> bytes:
    told = object_of(entry, "an entry of logprobs").get("bytes")
    if told is None:
        return _bytes(str(entry.get("token", "")))
    try:
        return bytes(list_of(told, "bytes of a token"))
    except (TypeError, ValueError) as error:
        raise EngineAnswer(f"bytes of a token are none: {error}") from error


def _bytes(text: str) -> bytes:
    """Return the UTF-8 of a text; JSON may hold halves of surrogate pairs, which no token has."""
    return text.encode("utf-8", "surrogatepass")
