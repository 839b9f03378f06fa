"""Find where many texts occur in one text, in time that grows with the lengths of both and not with their product.

The automaton is that of Aho and Corasick (1975): a trie of the texts, whose every node knows the longest other node
that ends as it does, so that one pass over a text meets every occurrence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Occurrences:
    """An automaton over texts. Nodes are numbers, 0 is the empty prefix; a text of no bytes occurs nowhere."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._next: list[dict[int, int]] = [{}]
        self._text: list[int] = [-1]  # the text that ends at a node, or -1
        for index, text in enumerate(texts):
            node = 0
            for byte in text:
                following = self._next[node].get(byte)
                if following is None:
                    following = self._next[node][byte] = len(self._next)
                    self._next.append({})
                    self._text.append(-1)
                node = following
            if node and self._text[node] < 0:
                self._text[node] = index
        self._link_nodes()

    def _link_nodes(self) -> None:
        """Give each node its longest proper suffix, and the next shorter text that ends where it ends."""
        self._suffix = [0] * len(self._next)
        self._shorter = [0] * len(self._next)  # 0: none
        waiting = deque(self._next[0].values())
        while waiting:
            node = waiting.popleft()
            for byte, following in self._next[node].items():
                suffix = self._suffix[node]
                while suffix and byte not in self._next[suffix]:
                    suffix = self._suffix[suffix]
                self._suffix[following] = self._next[suffix].get(byte, 0)
                waiting.append(following)
            suffix = self._suffix[node]
            self._shorter[node] = suffix if self._text[suffix] >= 0 else self._shorter[suffix]

    def ends(self, text: bytes) -> list[tuple[int, int]]:
        """Return (end, node) for every place where at least one text ends; the node stands for the longest one."""
        found = []
        node, suffixes, following = 0, self._suffix, self._next
        for end, byte in enumerate(text, 1):
            while node and byte not in following[node]:
                node = suffixes[node]
            node = following[node].get(byte, 0)
            if node:
                longest = node if self._text[node] >= 0 else self._shorter[node]
                if longest:
                    found.append((end, longest))
        return found

    def text(self, node: int) -> int:
        """Return the index of the text that ends at a node of `ends` or `shorter`."""
        return self._text[node]

    def shorter(self, node: int) -> int:
        """Return the node of the next shorter text that ends at the same place; 0 when there is none."""
        return self._shorter[node]
