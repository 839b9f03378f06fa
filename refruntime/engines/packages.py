"""Ask Python packages that run models: llama-cpp-python and transformers, imported when they are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import AskedEngine, EngineAnswer, Kind, Way
from refruntime.engines.base import EngineMissing


def _package(module: str, install: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise EngineMissing(f"{module} cannot be imported ({error}); pip install {install}") from error


def _loaded(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (ValueError, RuntimeError, OSError, LookupError, TypeError, AttributeError, ImportError) as error:
        raise EngineAnswer(f"{name} cannot load the model: {error}") from error


def _another(threads: int) -> int:
    """Return another number of threads."""
    return 2 if threads == 1 else 1


class _Package:
    """A package that gives the logits of any position."""

    kind: Kind = "logits"

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return logits [T, V]."""
        raise NotImplementedError

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the best token again and again, of equals the lower id."""
        tokens: list[int] = []
        for _ in range(count):
            row = self.rows([*ids, *tokens], [len(ids) + len(tokens) - 1])[0]
            tokens.append(int(np.argmax(row)))
        return tokens

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return None: this package shows no probabilities behind its samplers."""


class LlamaCppPython(_Package):
    """llama-cpp-python with its defaults or other `options`: whatever its build, its cache and its attention are."""

    def __init__(self, model: Path, positions: int, **options: Any) -> None:
        package = _package("llama_cpp", "llama-cpp-python")
        settings = {"n_ctx": positions, "logits_all": True, "verbose": False, **options}
        self._package = package
        self._llama = _loaded("llama-cpp-python", lambda: package.Llama(model_path=str(model), **settings))
        self.name = f"llama-cpp-python {getattr(package, '__version__', '')}".strip()

    def tokenize(self, text: str) -> list[int] | None:
        """Return the ids of a prompt, BOS included, special texts taken as text."""
        return [int(token) for token in self._llama.tokenize(text.encode(), add_bos=True, special=False)]

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return logits [T, V]."""
        return self._rows_in_parts(ids, positions, len(ids))

    def ways(self) -> Mapping[str, Way]:
        """Return the same rows with the prompt token by token, in parts of three, and on other threads."""
        sizes = {"the prompt goes in token by token": 1, "the prompt goes in by threes": 3}
        parts = {name: partial(self._rows_in_parts, size=size) for name, size in sizes.items()}
        return {**parts, "another number of threads": self._on_other_threads}

    def _on_other_threads(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        own = self._llama.n_threads, self._llama.n_threads_batch
        self._package.llama_set_n_threads(self._llama.ctx, *map(_another, own))
        try:
            return self.rows(ids, positions)
        finally:
            self._package.llama_set_n_threads(self._llama.ctx, *own)

    def _rows_in_parts(self, ids: Sequence[int], positions: Sequence[int], size: int) -> NDArray[Any]:
        self._llama.reset()
        for start in range(0, len(ids), size):
            self._llama.eval(list(ids[start : start + size]))
        return np.array(self._llama.scores[: len(ids)], np.float32)[list(positions)]

    def close(self) -> None:
        """Free the model."""
        close = getattr(self._llama, "close", None)
        if close is not None:
            close()


class Transformers(_Package):
    """Hugging Face transformers in float32: a folder of theirs, or a GGUF file that they decode."""

    def __init__(self, model: Path, positions: int, **options: Any) -> None:
        self._torch = _package("torch", "torch")
        package = _package("transformers", "transformers")
        place = {"gguf_file": model.name} if model.is_file() else {}
        folder = str(model.parent if model.is_file() else model)
        package.utils.logging.disable_progress_bar()
        single = {"dtype" if int(package.__version__.split(".")[0]) >= 5 else "torch_dtype": self._torch.float32}
        load = package.AutoModelForCausalLM.from_pretrained
        self._model = _loaded("transformers", lambda: load(folder, **single, **place, **options)).eval()
        self._tokenizer = _loaded("transformers", lambda: package.AutoTokenizer.from_pretrained(folder, **place))
        self.name = f"transformers {getattr(package, '__version__', '')}".strip()

    def tokenize(self, text: str) -> list[int] | None:
        """Return the ids of a prompt with the special tokens that the tokenizer adds."""
        return [int(token) for token in self._tokenizer(text)["input_ids"]]

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return logits [T, V]."""
        return self._logits([ids])[0, list(positions)]

    def _logits(self, batch: Sequence[Sequence[int]], **cached: Any) -> NDArray[np.float32]:
        """Return logits [B, T, V]."""
        with self._torch.no_grad():
            self._answer = self._model(self._torch.tensor([list(ids) for ids in batch]), **cached)
        return np.asarray(self._answer.logits.float().numpy(), np.float32)

    def ways(self) -> Mapping[str, Way]:
        """Return the same rows within a batch, token by token with the cache, and on another number of threads."""

        def batched(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            return self._logits([ids[::-1], ids, ids])[1, list(positions)]

        def cached(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            rows, past = [], None
            for token in ids:
                rows.append(self._logits([[token]], past_key_values=past, use_cache=True)[0, 0])
                past = self._answer.past_key_values
            return np.stack(rows)[list(positions)]

        def on_other_threads(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            threads = self._torch.get_num_threads()
            self._torch.set_num_threads(_another(threads))
            try:
                return self.rows(ids, positions)
            finally:
                self._torch.set_num_threads(threads)

        return {
            "the second of a batch of three": batched,
            "token by token with its cache": cached,
            "another number of threads": on_other_threads,
        }

    def close(self) -> None:
        """Do nothing: Python frees the model."""


PACKAGES: Final[dict[str, Callable[..., AskedEngine]]] = {
    "llama-cpp-python": LlamaCppPython,
    "transformers": Transformers,
}
"""Names for `judge --python`: each takes the model and how many positions it has to hold."""
