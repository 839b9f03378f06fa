"""Read off a build's memory how it computes: which order of sums and which forms give the bits that lie there (ID-4).

`OrderEvidence` records one generation of a build; `fit` tries, operation after operation, every form of
`numerics.varied` until the tensors that it gives are in memory bit by bit.

    found = fit(OrderEvidence(module, artifact, prompt))
    print(found.variation.name, found.uniform)
"""

from __future__ import annotations

from refruntime.witness.orders.evidence import OrderEvidence
from refruntime.witness.orders.fit import Fit, StageDecision, fit

__all__ = ["Fit", "OrderEvidence", "StageDecision", "fit"]
