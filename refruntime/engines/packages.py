"""Ask Python packages that run models: llama-cpp-python and transformers, imported when they are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import AskedEngine, Kind, Way
from refruntime.engines.base import EngineMissing


def _package(module: str, install: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise EngineMissing(f"{module} cannot be imported ({error}); pip install {install}") from error


class LlamaCppPython:
    """llama-cpp-python with its defaults: whatever its build, its cache and its attention are is judged."""

    kind: Kind = "logits"

    def __init__(self, model: Path, positions: int) -> None:
        package = _package("llama_cpp", "llama-cpp-python")
        self._llama = package.Llama(model_path=str(model), n_ctx=positions, logits_all=True, verbose=False)
        self.name = f"llama-cpp-python {getattr(package, '__version__', '')}".strip()

    def tokenize(self, text: str) -> list[int] | None:
        """Return the ids of a prompt, BOS included, special texts taken as text."""
        return [int(token) for token in self._llama.tokenize(text.encode(), add_bos=True, special=False)]

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return logits [T, V]."""
        return self._rows_in_parts(ids, positions, len(ids))

    def ways(self) -> Mapping[str, Way]:
        """Return the same rows with the prompt token by token, and in parts of three."""

        def singly(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            return self._rows_in_parts(ids, positions, 1)

        def in_threes(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            return self._rows_in_parts(ids, positions, 3)

        return {"the prompt goes in token by token": singly, "the prompt goes in by threes": in_threes}

    def _rows_in_parts(self, ids: Sequence[int], positions: Sequence[int], size: int) -> NDArray[Any]:
        self._llama.reset()
        for start in range(0, len(ids), size):
            self._llama.eval(list(ids[start : start + size]))
        return np.array(self._llama.scores[: len(ids)], np.float32)[list(positions)]

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the best token again and again, of equals the lower id."""
        tokens: list[int] = []
        for _ in range(count):
            row = self.rows([*ids, *tokens], [len(ids) + len(tokens) - 1])[0]
            tokens.append(int(np.argmax(row)))
        return tokens

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return None: this package shows no probabilities behind its samplers."""

    def close(self) -> None:
        """Free the model."""
        close = getattr(self._llama, "close", None)
        if close is not None:
            close()


class Transformers:
    """Hugging Face transformers in float32: a folder of theirs, or a GGUF file that they decode."""

    kind: Kind = "logits"

    def __init__(self, model: Path, positions: int) -> None:
        self._torch = _package("torch", "torch")
        package = _package("transformers", "transformers")
        place = {"gguf_file": model.name} if model.is_file() else {}
        folder = str(model.parent if model.is_file() else model)
        self._model = package.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=self._torch.float32, **place)
        self._model.eval()
        self._tokenizer = package.AutoTokenizer.from_pretrained(folder, **place)
        self.name = f"transformers {getattr(package, '__version__', '')}".strip()

    def tokenize(self, text: str) -> list[int] | None:
        """Return the ids of a prompt with the special tokens that the tokenizer adds."""
        return [int(token) for token in self._tokenizer(text)["input_ids"]]

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return logits [T, V]."""
        with self._torch.no_grad():
            logits = self._model(self._torch.tensor([list(ids)])).logits[0]
        return np.asarray(logits.float().numpy(), np.float32)[list(positions)]

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the best token again and again, of equals the lower id."""
        tokens: list[int] = []
        for _ in range(count):
            row = self.rows([*ids, *tokens], [len(ids) + len(tokens) - 1])[0]
            tokens.append(int(np.argmax(row)))
        return tokens

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return None: this package shows no probabilities behind its samplers."""

    def ways(self) -> Mapping[str, Way]:
        """Return none."""
        return {}

    def close(self) -> None:
        """Do nothing: Python frees the model."""


PACKAGES: Final[dict[str, Callable[[Path, int], AskedEngine]]] = {
    "llama-cpp-python": LlamaCppPython,
    "transformers": Transformers,
}
"""Names for `judge --python`: each takes the model and how many positions it has to hold."""
