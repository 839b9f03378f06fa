"""Say why a conversion is refused."""

from __future__ import annotations


class ConversionRefused(Exception):
    """The target cannot express the model; `expected` is what it can, `found` what the source holds."""

    def __init__(self, reason: str, *, expected: object = None, found: object = None) -> None:
        self.reason, self.expected, self.found = reason, expected, found
        text = reason
        if expected is not None:
            text += f"; expected {expected}"
        if found is not None:
            text += f"; found {found}"
        super().__init__(text)
