"""Engines for tests of `judge`: a server on the loopback interface and a program, both answered by the oracle."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from refruntime.api import Model, open_model
from refruntime.contract.profile import Profile
from refruntime.judge.layers import BY_PRODUCTS
from refruntime.judge.observed import log_probabilities
from refruntime.model.forward import Transformer
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import Numerics
from refruntime.samplers.catalogue import CHAINS
from refruntime.samplers.chain import Settings
from refruntime.trace import Event, TensorEvent

Answer = Callable[[str, Any], Any]
Change = Callable[[np.ndarray], np.ndarray]

DUMPED_IDS = [1, 70, 101, 34, 9]

PROGRAM = """
import json, sys
import numpy as np
from refruntime.api import open_model
model = open_model(sys.argv[1], numerics=sys.argv[2])
for line in sys.stdin:
    question = json.loads(line)
    call = question["call"]
    if call == "about":
        answer = {"name": "lines", "kind": "logits"}
    elif call == "tokenize":
        answer = {"tokens": model.tokenize(question["text"])[: -1 if "eos" in sys.argv else None]}
    elif call == "rows":
        answer = {"rows": model.logits(question["ids"])[question["positions"]].tolist()}
    else:
        answer = {"error": "not here"}
    print(json.dumps(answer), flush=True)
"""

SERVER = """
import sys, threading
from pathlib import Path
from tests.support.asked_engines import llama_answers, serving
with serving(llama_answers(Path(sys.argv[1])), int(sys.argv[2])):
    threading.Event().wait()
"""


def logs_of(model: Model, ids: list[int]) -> np.ndarray:
    """Return the log probabilities behind ids [V]."""
    return np.asarray(log_probabilities(model.logits(ids)[-1:])[0])


def drawn(logs: np.ndarray, question: Any) -> list[dict[str, Any]]:
    """Return what llama.cpp's chain leaves, as its server shows it."""
    settings = Settings(**{name: question[name] for name in ("temperature", "top_k", "top_p", "min_p")})
    shares = CHAINS["llama.cpp"].run(logs.astype(np.float32), settings).probabilities
    return [{"id": token, "prob": share} for token, share in shares.items()]


def llama_answers(path: Path, numerics: str = "fast") -> Answer:
    """Answer as llama.cpp's server."""
    model = open_model(path, numerics=numerics)

    def answer(place: str, question: Any) -> Any:
        if place == "/props":
            return {"total_slots": 1}
        if place == "/v1/models":
            return {"data": [{"id": "tiny"}]}
        if place == "/tokenize":
            return {"tokens": model.tokenize(question["content"], question["add_special"])}
        if place != "/completion":
            return None
        tokens: list[int] = []
        shown = []
        for _ in range(question["n_predict"]):
            logs = logs_of(model, [*question["prompt"], *tokens])
            if question.get("post_sampling_probs"):
                if question.get("cache_prompt", True):  # a last token that goes in alone has other numbers
                    logs = logs + 0.01 * np.cos(np.arange(len(logs)))
                return {"completion_probabilities": [{"top_probs": drawn(logs, question)}]}
            best = np.argsort(-logs, kind="stable")[: question.get("n_probs", 0)]
            shown.append({"top_logprobs": [{"id": int(one), "logprob": float(logs[one])} for one in best]})
            tokens.append(int(np.argmax(logs)))
        if question.get("stream"):
            events = [*({"content": "", "completion_probabilities": [one]} for one in shown), {"stop": True}]
            return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
        return {"tokens": tokens if question.get("return_tokens") else [], "completion_probabilities": shown}

    return answer


def openai_answers(path: Path, most: int, newer: bool) -> Answer:
    """Answer as a server with the completions of OpenAI, which gives at most so many log probabilities."""
    model = open_model(path, numerics="fast")

    def answer(place: str, question: Any) -> Any:
        if place == "/v1/models":
            return {"data": [{"id": "tiny"}]}
        if place != "/v1/completions" or question["logprobs"] > most:
            return None
        tokens: list[int] = []
        entries = []
        for _ in range(question["max_tokens"]):
            logs = logs_of(model, [*question["prompt"], *tokens])
            best = [int(one) for one in np.argsort(-logs, kind="stable")[: question["logprobs"]]]
            tokens.append(best[0])
            entries.append([(model.detokenize([one]), float(logs[one])) for one in best])
        if newer:
            content = [
                {
                    "token": tops[0][0].decode("utf-8", "replace"),
                    "bytes": list(tops[0][0]),
                    "top_logprobs": [{"token": "?", "bytes": list(piece), "logprob": log} for piece, log in tops],
                }
                for tops in entries
            ]
            return {"choices": [{"logprobs": {"content": content}}]}
        told = [{piece.decode("utf-8", "replace"): log for piece, log in tops} for tops in entries]
        texts = [tops[0][0].decode("utf-8", "replace") for tops in entries]
        return {"choices": [{"logprobs": {"tokens": texts, "top_logprobs": told}}]}

    return answer


def llama_package(path: Path) -> Any:
    """Return what stands for the module of llama-cpp-python; `opened` says with which arguments models were."""
    model = open_model(path, numerics="fast")
    package = SimpleNamespace(__version__="0", opened=[], threads=[])
    package.llama_set_n_threads = lambda _, *numbers: package.threads.append(numbers)

    class Llama:
        ctx, n_threads, n_threads_batch = None, 1, 4

        def __init__(self, model_path: str, n_ctx: int, logits_all: bool, verbose: bool) -> None:
            package.opened.append((model_path, n_ctx, logits_all))
            self.positions = n_ctx

        def tokenize(self, text: bytes, add_bos: bool, special: bool) -> list[int]:
            return model.tokenize(text, add_bos)

        def reset(self) -> None:
            self.scores = np.zeros((self.positions, model.tokenizer.vocab_size), np.float32)

        def eval(self, ids: list[int]) -> None:
            self.scores[: len(ids)] = model.logits(ids)

    package.Llama = Llama
    return package


@contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[str]:
    """Serve JSON on the loopback interface, without a port on any; None is answered with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, question: Any) -> None:
            found = answer(self.path, question)
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Dumping:
    """A tracer that dumps a pass and plants one fault in it, which everything behind it inherits."""

    def __init__(self, name: str = "", change: Change = lambda values: values) -> None:
        self.dump: dict[str, np.ndarray] = {}
        self._name, self._change = name, change

    def event(self, event: Event) -> None:
        """Take one event."""
        if not isinstance(event, TensorEvent) or event.name.endswith(BY_PRODUCTS):
            return
        values = event.values()
        if event.name == self._name:
            assert event.replace is not None
            values = self._change(values.astype(np.float32)).astype(values.dtype)
            event.replace(values)
        self.dump[event.name] = np.asarray(values)


def dumped(model: ValidatedModel, engine: Dumping, numerics: Numerics) -> dict[str, np.ndarray]:
    """Return what an engine dumps."""
    transformer = Transformer(model, Profile(), numerics)
    transformer.forward(DUMPED_IDS, transformer.new_cache(), first_logit=-len(DUMPED_IDS), tracer=engine)
    return engine.dump
