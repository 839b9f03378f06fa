"""A transformer that forwards no position twice: experiments ask the same models the same things hundreds of times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from refruntime.model.forward import Transformer
from refruntime.model.kv_cache import KVCache
from refruntime.trace import Tracer

MOST_BYTES: Final = 2**23
"""Bytes that one model may remember; a small model of an experiment needs a few thousand."""


class _Forwarded(NamedTuple):
    """What came out of one `forward`: logits [n, V], and keys and values of the new positions."""

    logits: NDArray[Any]
    keys: NDArray[Any]
    values: NDArray[Any]


class RememberingTransformer(Transformer):
    """Answer `forward` from memory where everything that the answer depends on was met before, bit for bit.

    That is the tokens and the keys and values before them. A model that keeps more than these is not remembered.
    """

    def __init__(self, plain: Transformer) -> None:
        self.__dict__.update(plain.__dict__)
        self._known: dict[tuple[Any, ...], _Forwarded] = {}
        self._bytes = 0

    def forward(
        self,
        tokens: Sequence[int],
        cache: KVCache,
        *,
        first_logit: int = -1,
        tracer: Tracer | None = None,
    ) -> NDArray[Any]:
        """Forward `tokens` at the positions after `cache.length`; the visible length grows by their number (FW-9)."""
        begin = cache.length
        if tracer is not None or not cache.plain:
            return super().forward(tokens, cache, first_logit=first_logit, tracer=tracer)
        before = cache.positions(0, begin)
        key = (tuple(tokens), first_logit, *(part.tobytes() for part in before))
        known = self._known.get(key)
        if known is None:
            logits = super().forward(tokens, cache, first_logit=first_logit)
            if cache.plain:
                self._keep(
                    key, _Forwarded(logits.copy(), *(part.copy() for part in cache.positions(begin, cache.length)))
                )
            return logits
        cache.put(begin, known.keys, known.values)
        cache.length = begin + len(tokens)
        return known.logits.copy()

    def _keep(self, key: tuple[Any, ...], forwarded: _Forwarded) -> None:
        self._bytes += sum(part.nbytes for part in forwarded) + sum(len(part) for part in key[2:])
        if self._bytes > MOST_BYTES:
            self._known.clear()
            self._bytes = 0
        self._known[key] = forwarded
