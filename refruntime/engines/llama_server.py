"""Ask the server of llama.cpp: /tokenize, and /completion with the log probabilities of the whole vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import EngineAnswer, Kind, Way
from refruntime.engines.http_json import MOST_BYTES, JsonServer
from refruntime.engines.json_answers import list_of, object_of, part_of, real, token_of, tokens_of

SHOWN: Final = "completion_probabilities"
ENTRY_BYTES: Final = 256
"""Bytes that one token takes in a list of log probabilities, at most."""


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
        return tokens_of(part_of(answer, "tokens", "the answer to /tokenize"), "a token of /tokenize")

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return log probabilities [T, V], one question for each position."""
        return self._rows(ids, positions)

    def _rows(self, ids: Sequence[int], positions: Sequence[int], **changes: Any) -> NDArray[Any]:
        return np.stack([self._row(ids[: position + 1], **changes) for position in positions])

    def ways(self) -> Mapping[str, Way]:
        """Return the same rows with the prompt's cache, with two tokens asked for, and streamed."""
        return {
            "the cache of the prompt before is reused": partial(self._rows, cache_prompt=True),
            "more tokens are asked for": partial(self._rows, n_predict=2),
            "the answer is streamed": partial(self._rows, stream=True),
        }

    def _row(self, ids: Sequence[int], **changes: Any) -> NDArray[np.float64]:
        question = {"prompt": list(ids), "n_predict": 1, "n_probs": self._vocabulary, "temperature": 0.0}
        plain = {**question, "cache_prompt": False, "post_sampling_probs": False}
        shown = self._shown({**plain, **changes})
        if not shown:
            raise EngineAnswer("/completion gave no completion_probabilities; its n_probs seems to be switched off")
        row = np.full(self._vocabulary, np.nan)
        what = "an entry of top_logprobs"
        for entry in list_of(part_of(shown[0], "top_logprobs", "a probability of /completion"), "top_logprobs"):
            token, value = (part_of(entry, key, what) for key in ("id", "logprob"))
            token = token_of(token, f"the id of {what}")
            if token < row.size:
                row[token] = -np.inf if value is None else real(value, f"the logprob of {what}")
        return row

    def _shown(self, question: Mapping[str, Any]) -> Sequence[Any]:
        """Return what /completion tells of each token that it predicted."""
        most = MOST_BYTES + ENTRY_BYTES * self._vocabulary * question["n_predict"]
        what = "an answer of the server"
        if not question.get("stream"):
            answers = [self._server.ask("/completion", question, most)]
        else:  # the last event may tell of the whole, and tells of no token
            events = self._server.ask_events("/completion", question, most)
            answers = [one for one in events if isinstance(one, dict) and SHOWN in one] or [{}]
        return list_of(part_of(answers[0], SHOWN, what), "its probabilities")

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the tokens that follow at temperature 0."""
        question = {"prompt": list(ids), "n_predict": count, "temperature": 0.0, "top_k": 1, "return_tokens": True}
        answer = self._server.ask("/completion", question)
        return tokens_of(part_of(answer, "tokens", "an answer of the server"), "a token of /completion")

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return token -> probability behind the server's chain of samplers, of the numbers that `rows` has.

        Behind a cached prompt they may be others: the last token goes in alone, and is not multiplied in a batch.
        """
        question = {"prompt": list(ids), "n_predict": 1, "n_probs": self._vocabulary, "post_sampling_probs": True}
        shown = self._shown({**question, "cache_prompt": False, **settings})
        if not shown or "top_probs" not in object_of(shown[0], "a probability of /completion"):
            return None  # an older server
        found = {}
        for entry in list_of(shown[0]["top_probs"], "top_probs"):
            share = real(part_of(entry, "prob", "an entry of top_probs"), "a prob of top_probs")
            if share > 0:
                found[token_of(part_of(entry, "id", "an entry of top_probs"), "an id of top_probs")] = share
        return found

    def close(self) -> None:
        """Do nothing: the server stays."""
