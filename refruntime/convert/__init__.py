"""Rewrite a model in another container or type, where both can say the same; refuse with the reason where not."""

from __future__ import annotations

from refruntime.convert.converter import DTYPES, TARGETS, Conversion, convert_artifact
from refruntime.convert.refusal import ConversionRefused

__all__ = ["DTYPES", "TARGETS", "Conversion", "ConversionRefused", "convert_artifact"]
