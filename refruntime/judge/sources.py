"""Where an engine is found: at an address, as a Python package, as a program that speaks lines, or to be started."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from refruntime.engines.asked import AskedEngine
from refruntime.engines.http_json import JsonServer
from refruntime.engines.lines import LineEngine
from refruntime.engines.llama_server import LlamaServer
from refruntime.engines.openai_server import OpenAiServer
from refruntime.engines.packages import PACKAGES
from refruntime.engines.started import started_server
from refruntime.model.validated import ValidatedModel

SourceKind = Literal["address", "server", "python", "node"]


@dataclass(frozen=True)
class EngineSource:
    """An engine by its `kind` and its `place`: an address, a command that starts a server, a package, a program."""

    kind: SourceKind
    place: str

    @contextmanager
    def opened(self, model: ValidatedModel, path: Path, positions: int, **options: Any) -> Iterator[AskedEngine]:
        """Give the engine with a model of so many positions, and let it go: EngineError; ValueError for a bad address.

        `path` is the engine's own form of the model; `options` go to a Python package.
        """
        if self.kind == "server":
            with started_server(self.place) as server:
                yield _speaking(server, model)
            return
        engine: AskedEngine
        if self.kind == "python":
            engine = PACKAGES[self.place](path, positions, **options)
        elif self.kind == "node":
            engine = LineEngine(shlex.split(self.place), model.hyperparameters.vocab_size)
        else:
            engine = _speaking(JsonServer(self.place), model)
        try:
            yield engine
        finally:
            engine.close()


def _speaking(server: JsonServer, model: ValidatedModel) -> AskedEngine:
    """Find out how a server speaks."""
    if LlamaServer.answers(server):
        return LlamaServer(server, model.hyperparameters.vocab_size)
    tokenizer = model.tokenizer
    return OpenAiServer(server, [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)])
