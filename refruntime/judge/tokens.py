"""Compare the ids of one text, and say what an engine did differently."""

from __future__ import annotations

from collections.abc import Sequence

from refruntime.tokenizers.base import Tokenizer


def first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """Return the first place where two lists differ, None for equal ones."""
    for place, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return place
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs))


def tokens_say(tokenizer: Tokenizer, ours: Sequence[int], theirs: Sequence[int]) -> str | None:
    """Say how the engine's ids differ from ours, None where they do not."""
    place = first_difference(ours, theirs)
    if place is None:
        return None
    ours, theirs = list(ours), list(theirs)
    if ours and theirs == [ours[0], *ours]:
        return f"begins with {_piece(tokenizer, ours[0])} twice (BOS too much)"
    if theirs == ours[1:]:
        return f"leaves out {_piece(tokenizer, ours[0])} at the beginning (BOS is missing)"
    if ours == theirs[1:]:
        return f"begins with {_piece(tokenizer, theirs[0])}, which the file does not ask for (BOS too much)"
    if ours == theirs[:-1]:
        return f"ends with {_piece(tokenizer, theirs[-1])}, which the file does not ask for (EOS too much)"
    if theirs == ours[:-1]:
        return f"leaves out {_piece(tokenizer, ours[-1])} at the end"
    space = list(tokenizer.encode(b" ", add_special=False))
    for cut, said in ((0, ""), (1, f"leaves out {_piece(tokenizer, ours[0])} (BOS is missing) and ")):
        for kept in (0, 1):
            if len(space) == 1 and theirs == [*ours[cut:kept], *space, *ours[max(cut, kept) :]]:
                return f"{said}puts a space before the text, which the file does not ask for"
    mine = _piece(tokenizer, ours[place]) if place < len(ours) else "nothing"
    other = _piece(tokenizer, theirs[place]) if place < len(theirs) else "nothing"
    return f"differs first at token {place}: {other} where {mine} is right ({len(theirs)} tokens, ours {len(ours)})"


def _piece(tokenizer: Tokenizer, token: int) -> str:
    if not 0 <= token < tokenizer.vocab_size:
        return f"{token} (outside of the vocabulary)"
    return f"{token} {tokenizer.decode([token])!r}"


def bos_of(tokenizer: Tokenizer) -> int | None:
    """Return the token that begins a text, None where there is none or the tokenizer does not say."""
    told: int | None = getattr(tokenizer, "bos_id", None)
    if told is not None:
        return told
    special, plain = tokenizer.encode(b"a"), tokenizer.encode(b"a", add_special=False)
    return special[0] if len(special) > len(plain) and special[0] != plain[0] else None
