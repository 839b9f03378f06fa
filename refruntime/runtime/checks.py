"""What a generation refuses before it begins: a count below one, ids that leave no room, no ids."""

from __future__ import annotations

from collections.abc import Sequence

from refruntime.errors import ContextExceeded, InvalidLength


def check_count(max_new_tokens: int) -> None:
    """Refuse to generate fewer than one token (GEN-1): status 2."""
    if max_new_tokens < 1:
        raise InvalidLength(
            "max_new_tokens is below 1", rule="GEN-1", field="max_new_tokens", expected=">= 1", found=max_new_tokens
        )


def check_prompt_length(ids: Sequence[int], capacity: int) -> None:
    """Refuse ids that leave no room in the context, and none at all (GEN-3): statuses 11, 2."""
    if len(ids) >= capacity:
        raise ContextExceeded(
            "the encoded prompt does not leave room in the context",
            rule="GEN-3",
            field="prompt_tokens",
            expected=f"< {capacity}",
            found=len(ids),
        )
    if not ids:
        raise InvalidLength("the encoded prompt is empty", rule="GEN-3", field="prompt_tokens", expected=">= 1")
