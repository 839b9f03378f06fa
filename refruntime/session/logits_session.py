"""Debug the sampler alone: sessions over logits that another runtime wrote to a file.

    session = ImportedSession(read_logits(Path("step.npy"))).set(temperature=0.8, top_k=40, seed=7)
    print(session.step().why())

Row t of the logits [T, V] is what step t samples from, whatever was chosen before: the other runtime had its own tokens
in its context. Everything that a session knows works here except what needs a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from refruntime.api import Prompt
from refruntime.contract.profile import Profile
from refruntime.runtime import Machine, Owner
from refruntime.session.prefix_cache import Float32, PrefixCache
from refruntime.session.session import Session
from refruntime.session.state import SessionError, SessionState, Subject
from refruntime.tokenizers.base import Tokenizer

MAX_VALUES: Final = 2**28
"""Logits that are read at most: 1 GiB as float32."""

MAX_JSON_BYTES: Final = 2**28
NOT_FROM_A_MODEL: Final = "the logits came from elsewhere, which no export takes"


# Files ---------------------------------------------------------------------------------------------------------------


def read_logits(path: Path) -> Float32:
    """Read logits [V] of a step or [T, V] of several from `.npy` or `.json`, as float32 [T, V]. OSError, SessionError.

    A `.npy` file holds float16, float32 or float64; a JSON document is a list of numbers or of such lists, or an object
    whose `logits` are that. Values out of the range of float32 become infinite.
    """
    with path.open("rb") as file:
        start = file.read(6)
    rows = _read_npy(path) if start == b"\x93NUMPY" else _read_json(path)
    return checked_rows(rows, str(path))


def checked_rows(values: NDArray[Any], name: str = "logits") -> Float32:
    """Return logits [V] or [T, V] as float32 [T, V]. SessionError for another shape or type, or too many."""
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise SessionError(f"{name}: expected float16, float32 or float64, found {values.dtype}")
    if values.ndim not in (1, 2):
        raise SessionError(f"{name}: expected the shape [V] or [T, V], found {list(values.shape)}")
    if values.size == 0:
        raise SessionError(f"{name}: there are no logits, the shape is {list(values.shape)}")
    if values.size > MAX_VALUES:
        raise SessionError(f"{name}: {values.size} values; expected at most {MAX_VALUES}")
    with np.errstate(over="ignore"):
        rows = np.array(np.atleast_2d(values), dtype=np.float32)
    rows.setflags(write=False)
    return rows


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=10_000)  # type: ignore[no-any-return]
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise SessionError(f"{path}: this is no .npy file of plain numbers: {error}") from error


def _read_json(path: Path) -> NDArray[Any]:
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise SessionError(f"{path}: {size} bytes of JSON; expected at most {MAX_JSON_BYTES}; .npy takes less room")
    try:
        document = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SessionError(f"{path}: this is neither .npy nor JSON: {error}") from error
    if isinstance(document, dict):
        if "logits" not in document:
            raise SessionError(f"{path}: the object has no `logits`; found {', '.join(map(repr, list(document)[:5]))}")
        document = document["logits"]
    if not isinstance(document, list):
        raise SessionError(f"{path}: expected a list of numbers or of such lists, found {type(document).__name__}")
    rows = document if document and isinstance(document[0], list) else [document]
    sizes = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(sizes) != 1 or -1 in sizes:
        raise SessionError(f"{path}: rows differ in length or are no lists; expected one logit per token in each")
    values = np.array([[_number(value, path, place) for place, value in enumerate(row)] for row in rows])
    return values.reshape(len(rows), sizes.pop()).astype(np.float64)


def _number(value: object, path: Path, place: int) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.copysign(math.inf, value)
    raise SessionError(f"{path}: logit {place} of a row: expected a number, found {json.dumps(value)[:40]}")


# Sessions ------------------------------------------------------------------------------------------------------------


class TokensWithoutText:
    """A tokenizer that knows how many ids there are, and nothing of their text; none of them stops."""

    kind = "none"
    eos_id = None
    stop_ids: frozenset[int] = frozenset()

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        """Refuse: no token has a text. SessionError."""
        raise SessionError("the texts of the tokens are unknown; give ids, or a tokenizer")

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return no text."""
        return b""


class ImportedPrefixCache(PrefixCache):
    """Rows of logits where a session expects a model."""

    def __init__(self, rows: Float32) -> None:
        self.rows = rows

    @property
    def capacity(self) -> int:
        """Return the number of rows."""
        return int(self.rows.shape[0])

    def logits(self, ids: Sequence[int]) -> Float32:
        """Refuse: rows belong to steps, not to ids. SessionError."""
        raise SessionError("there is no model that could compute logits; the rows that there are belong to steps")

    def tensors(self, ids: Sequence[int], wanted: str = "*") -> dict[str, NDArray[Any]]:
        """Return nothing: without a model there are no intermediates."""
        return {}


@dataclass(frozen=True, eq=False)
class Rows(Machine):
    """A machine over rows: `kv_length` counts those that were used, one for each token, a stop token too."""

    @property
    def ended(self) -> str:
        """Say that no row is left. A stop token ends nothing here: the rows behind it are there."""
        there = self.model.capacity
        return f"all {there} rows of logits were used" if self.kv_length >= there else ""

    def take(self, logits: Float32, forced: int | None = None) -> Self:
        """Sample a token from a row [V]; the next one is for the row behind it."""
        return replace(super().take(logits, forced), kv_length=self.kv_length + 1)


class ImportedSession(Session):
    """A session over rows of logits [T, V]; the row of a step is the number of tokens taken before."""

    def __init__(
        self,
        logits: NDArray[Any],
        tokenizer: Tokenizer | None = None,
        profile: Profile | None = None,
        name: str = "logits",
    ) -> None:
        rows = checked_rows(logits, name)
        if tokenizer is not None and tokenizer.vocab_size != rows.shape[1]:
            raise SessionError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, a row of {name} {rows.shape[1]} logits"
            )
        known = tokenizer if tokenizer is not None else TokensWithoutText(int(rows.shape[1]))
        subject = Subject(ImportedPrefixCache(rows), known, profile if profile is not None else Profile(), name)
        self._fill(subject, _at_first_row(Rows.fresh(subject.profile).load(subject.resident)), None)

    @property
    def rows(self) -> Float32:
        """Return all logits: [T, V]."""
        prefix_cache = self.subject.prefix_cache
        if not isinstance(prefix_cache, ImportedPrefixCache):
            raise TypeError("this session is not about rows of logits")
        return prefix_cache.rows

    def reset(self) -> Self:
        """Go to the first row again; the sampling configuration stays."""
        return self.of(self.subject, _at_first_row(super().reset().state.machine), self)

    def prompt(self, prompt: Prompt, special: bool = False) -> NoReturn:
        """Refuse. SessionError."""
        raise SessionError("there is no model that could read a prompt; `reset` goes to the first row of logits")

    def tensors(self, wanted: str = "*") -> NoReturn:
        """Refuse. SessionError."""
        raise SessionError("there is no model, so no intermediates; `logits`, `why` and `what-if` work")

    def attention(self, layer: int, head: int) -> NoReturn:
        """Refuse. SessionError."""
        self.tensors()

    @cached_property
    def next_logits(self) -> Float32:
        """Return the row that the next token will be sampled from: [V]. SessionError after the last one."""
        if self.finished:
            raise SessionError(f"{self.finished}; `back` or `reset` leads on")
        row: Float32 = self.rows[self.position]
        return row

    def _sampled(self, forced: int | None, owner: Owner | None = None) -> Self:
        if self.finished:
            raise SessionError(f"{self.finished}; `back` or `reset` leads on")
        return super()._sampled(forced, owner)


def _at_first_row(machine: Machine) -> SessionState:
    """Return the state before the first row: as behind a prompt, of which nothing is known."""
    return SessionState(machine.accept(1).begin(()), before_prompt=machine, unspeakable=NOT_FROM_A_MODEL)
