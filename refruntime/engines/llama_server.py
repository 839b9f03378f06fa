"""Ask the server of llama.cpp: /tokenize, and /completion with the log probabilities of the whole vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import EngineAnswer, Kind, Way
from refruntime.engines.http_json import JsonServer


class LlamaServer:
    """A running `llama-server`, or what speaks like it; `vocabulary` is the number of tokens to ask for."""

    kind: Kind = "log probabilities"

    def __init__(self, server: JsonServer, vocabulary: int) -> None:
        self._server, self._vocabulary = server, vocabulary
        self.name = f"llama.cpp server at {server.address}"

    @staticmethod
    def answers(server: JsonServer) -> bool:
        """Say whether a server speaks like this; EngineMissing where there is none."""
        try:
            return isinstance(server.ask("/props"), dict)
        except EngineAnswer:
            return False

    def tokenize(self, text: str) -> list[int] | None:
        """Return the ids of a prompt, with BOS as the server adds it."""
        answer = self._server.ask("/tokenize", {"content": text, "add_special": True})
        return [int(token) for token in _part(answer, "tokens", list)]

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return log probabilities [T, V], one question for each position."""
        return np.stack([self._row(ids[: position + 1]) for position in positions])

    def ways(self) -> Mapping[str, Way]:
        """Return the same rows with the prompt's cache, and with two tokens asked for where one is looked at."""

        def cached(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            return np.stack([self._row(ids[: position + 1], cache_prompt=True) for position in positions])

        def longer(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            return np.stack([self._row(ids[: position + 1], n_predict=2) for position in positions])

        return {"the cache of the prompt before is reused": cached, "more tokens are asked for": longer}

    def _row(self, ids: Sequence[int], **changes: Any) -> NDArray[np.float64]:
        question = {"prompt": list(ids), "n_predict": 1, "n_probs": self._vocabulary, "temperature": 0.0}
        plain = {**question, "cache_prompt": False, "post_sampling_probs": False}
        answer = self._server.ask("/completion", {**plain, **changes})
        shown = _part(answer, "completion_probabilities", list)
        if not shown:
            raise EngineAnswer("/completion gave no completion_probabilities; its n_probs seems to be switched off")
        row = np.full(self._vocabulary, np.nan)
        for entry in _part(shown[0], "top_logprobs", list):
            token, value = entry.get("id"), entry.get("logprob")
            if isinstance(token, int) and 0 <= token < row.size:
                row[token] = -np.inf if value is None else value
        return row

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the tokens that follow at temperature 0."""
        question = {"prompt": list(ids), "n_predict": count, "temperature": 0.0, "top_k": 1, "return_tokens": True}
        return [int(token) for token in _part(self._server.ask("/completion", question), "tokens", list)]

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return token -> probability behind the server's chain of samplers."""
        question = {"prompt": list(ids), "n_predict": 1, "n_probs": self._vocabulary, "post_sampling_probs": True}
        shown = _part(self._server.ask("/completion", {**question, **settings}), "completion_probabilities", list)
        if not shown or "top_probs" not in shown[0]:
            return None  # an older server
        return {int(entry["id"]): float(entry["prob"]) for entry in shown[0]["top_probs"] if entry["prob"] > 0}

    def close(self) -> None:
        """Do nothing: the server stays."""


def _part(answer: Any, key: str, kind: type) -> Any:
    """Return a part of an answer; EngineAnswer where it is not there."""
    part = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(part, kind):
        raise EngineAnswer(f"an answer of the server has no {key}; it holds {sorted(answer) if answer else answer}")
    return part
