"""Forward tokens that are expected soon together with the ones that are asked for; the answers stay the same bits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from numpy.typing import NDArray

from refruntime.model.forward import Transformer
from refruntime.model.kv_cache import KVCache
from refruntime.trace import Tracer


class Lookahead:
    """Answer `forward` for one cache, using a guess of the tokens that will follow.

    The guess may be wrong or absent: the arithmetic of a position depends on the tokens up to it alone, so a logits row
    that was computed early is the row that would be computed late (GEN-4). A wrong guess only costs time. The visible
    length of the cache grows as if nothing had been computed early; what lies behind it is overwritten or never read.
    """

    def __init__(self, transformer: Transformer, cache: KVCache) -> None:
        self._transformer, self._cache = transformer, cache
        self._guess: list[int] = []
        self._ready: deque[tuple[int, NDArray[Any]]] = deque()  # token and its logits, first one at `_ready_at`
        self._ready_at = -1

    def expect(self, tokens: Sequence[int]) -> None:
        """Guess the tokens that will be forwarded after the next call of `forward`."""
        known = range(self._transformer.hyperparameters.vocab_size)
        self._guess = list(takewhile(known.__contains__, tokens))

    def forward(self, tokens: Sequence[int], tracer: Tracer | None = None) -> NDArray[Any]:
        """Forward `tokens` and return the logits of the last one: [V]."""
        if self._ready and self._ready_at == self._cache.length and [self._ready[0][0]] == list(tokens):
            self._cache.length += 1
            self._ready_at += 1
            return self._ready.popleft()[1]
        self._ready.clear()
        room = self._cache.capacity - self._cache.length - len(tokens)
        ahead, self._guess = self._guess[:room], []
        logits = self._transformer.forward(
            [*tokens, *ahead], self._cache, first_logit=len(tokens) - 1, tracer=tracer
        )  # [1 + ahead, V]
        self._cache.length -= len(ahead)
        self._ready.extend(zip(ahead, logits[1:], strict=True))
        self._ready_at = self._cache.length
        last: NDArray[Any] = logits[0]
        return last
