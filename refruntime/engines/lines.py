"""Ask a program over its standard input and output, one JSON document a line: Node, or anything else.

    -> {"call": "about"}                                  <- {"name": "node-llama-cpp 3.2", "kind": "logits"}
    -> {"call": "tokenize", "text": "Once"}               <- {"tokens": [1, 403]}
    -> {"call": "rows", "ids": [1, 403], "positions": [1]}   <- {"rows": [[0.5, -1.25, ...]]}
    -> {"call": "greedy", "ids": [1, 403], "count": 8}    <- {"tokens": [407, 261]}

The last two have `vocabulary` too, the number of tokens; null in a row is not told. A program that cannot answer says
{"error": "why"}; for `tokenize` and `greedy` this means that it is not asked again.
What it writes to its standard error stream goes to ours. It ends when its input does.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import EngineAnswer, Kind, Way
from refruntime.engines.base import EngineError, EngineLimit, EngineMissing
from refruntime.engines.json_answers import document_of, tokens_of

TIMEOUT: Final = 300.0
MOST_BYTES: Final = 512 * 2**20
"""Bytes of a line: rows of 16 positions of a large vocabulary take a tenth."""


class LineEngine:
    """A program that speaks the protocol of this module; a question waits at most `timeout` seconds."""

    def __init__(self, command: Sequence[str], vocabulary: int, timeout: float = TIMEOUT) -> None:
        self._vocabulary, self._timeout = vocabulary, timeout
        try:
            self._process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise EngineMissing(f"{command[0]} cannot be started: {error.strerror or error}") from error
        try:
            about = self._ask({"call": "about"})
            kind = about.get("kind", "logits")
            if kind not in ("logits", "log probabilities"):
                raise EngineAnswer(f"the program says kind {kind!r}; expected 'logits' or 'log probabilities'")
        except EngineError:
            self.close()
            raise
        self.kind: Kind = "logits" if kind == "logits" else "log probabilities"
        self.name = str(about.get("name", command[0]))

    def tokenize(self, text: str) -> list[int] | None:
        """Return the ids of a prompt, None where the program says that it cannot."""
        return self._tokens({"call": "tokenize", "text": text})

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the tokens that follow at temperature 0, None where the program says that it cannot."""
        return self._tokens({"call": "greedy", "ids": list(ids), "count": count, **self._size})

    @property
    def _size(self) -> dict[str, Any]:
        return {"vocabulary": self._vocabulary}

    def _tokens(self, question: dict[str, Any]) -> list[int] | None:
        answer = self._ask(question)
        if "error" in answer:
            return None
        return tokens_of(answer.get("tokens", []), f"a token of {question['call']}")

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return the numbers behind ids at some positions [T, V']."""
        answer = self._ask({"call": "rows", "ids": list(ids), "positions": list(positions), **self._size})
        if "rows" not in answer:
            raise EngineAnswer(f"the program gave no rows: {answer.get('error', answer)}")
        try:
            rows = np.array(answer["rows"], np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise EngineAnswer(f"the program gave rows that are no numbers: {error}") from error
        if rows.ndim != 2 or len(rows) != len(positions):
            raise EngineAnswer(f"the program gave rows of shape {rows.shape}; expected {len(positions)} of one length")
        single = rows.astype(np.float32)
        return single if np.array_equal(single, rows, equal_nan=True) else rows

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return None: the protocol has no such question."""

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        sent, received = self._process.stdin, self._process.stdout
        if sent is None or received is None:
            raise EngineAnswer("the program has no standard input or output")
        stop = threading.Timer(self._timeout, self._process.kill)
        stop.start()
        try:
            sent.write(json.dumps(question).encode() + b"\n")
            sent.flush()
            line = received.readline(MOST_BYTES)
        except BrokenPipeError:
            line = b""
        finally:
            expired = not stop.is_alive()
            stop.cancel()
        if not line:
            code = self._process.wait()
            if expired:
                raise EngineLimit(f"the program did not answer {question['call']} within {self._timeout:g} s")
            raise EngineAnswer(f"the program ended with exit code {code} instead of answering {question['call']}")
        if len(line) == MOST_BYTES and not line.endswith(b"\n"):
            raise EngineAnswer(f"the program wrote a line of more than {MOST_BYTES:,} bytes")
        answer = document_of(line, f"the program, asked for {question['call']},")
        if not isinstance(answer, dict):
            raise EngineAnswer(f"the program answered {question['call']} with {line[:80]!r}; expected an object")
        return answer

    def ways(self) -> Mapping[str, Way]:
        """Return none."""
        return {}

    def close(self) -> None:
        """End the input of the program and wait until it ends, or stop it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
