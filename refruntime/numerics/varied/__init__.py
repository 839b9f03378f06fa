"""Variations of seq32: the same formulas with sums in another order and other forms of single operations (ID-4).

A variation is what a build computes with, read off its memory or stated by its makers. It is no option of the contract:
every report that was made under one says so.
"""

from __future__ import annotations

from refruntime.numerics.varied.profile import Varied
from refruntime.numerics.varied.sums import SEQUENTIAL, SumOrder, sum_orders
from refruntime.numerics.varied.variation import PLAIN, SUMS, Variation, VariationError

__all__ = ["PLAIN", "SEQUENTIAL", "SUMS", "SumOrder", "Variation", "VariationError", "Varied", "sum_orders"]
