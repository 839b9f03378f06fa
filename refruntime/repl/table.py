"""The table of all words: the only list of them. Help, completion and documentation are made from it."""

from __future__ import annotations

from refruntime.repl.words import Words
from refruntime.repl.words_calls import CALLS
from refruntime.repl.words_moves import MOVES
from refruntime.repl.words_questions import QUESTIONS
from refruntime.repl.words_samplers import SAMPLERS
from refruntime.repl.words_session import session_family


def all_words() -> Words:
    """Return the table."""
    itself: list[Words] = []
    itself.append(Words((MOVES, QUESTIONS, SAMPLERS, CALLS, session_family(itself))))
    return itself[0]
