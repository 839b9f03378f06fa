"""The table of all words: the only list of them. Help, completion and documentation are made from it."""

from __future__ import annotations

from refruntime.repl.words.calls import CALLS
from refruntime.repl.words.memory import MEMORY
from refruntime.repl.words.moves import MOVES
from refruntime.repl.words.questions import QUESTIONS
from refruntime.repl.words.samplers import SAMPLERS
from refruntime.repl.words.session import session_family
from refruntime.repl.words.ways import WAYS
from refruntime.repl.words.word import Words


def all_words() -> Words:
    """Return the table."""
    itself: list[Words] = []
    itself.append(Words((MOVES, WAYS, QUESTIONS, SAMPLERS, CALLS, MEMORY, session_family(itself))))
    return itself[0]
