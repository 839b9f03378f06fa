"""The sampler trace of a frozen token, as lines of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SampleLines:
    """The sampler trace of the first token that differs, as lines of a report."""

    sample: Mapping[str, Any]

    @property
    def gap(self) -> None:
        """Return None: a trace proposes no option of the contract."""

    @property
    def rules(self) -> Sequence[str]:
        """Return no rule: a trace says where, not why."""
        return ()

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """Return (label, text) pairs."""
        sample = self.sample
        best = ", ".join(f"{token}: {logit}" for token, logit in sample["top"])
        lines = [("sample", f"token {sample['token']} of step {sample['step']}; greatest logits {best}")]
        if "greedy" in sample:
            return [*lines, ("greedy", str(sample["greedy"]))]
        return [
            *lines,
            ("weights", f"{sample['retained']} retained, total {sample['total']}, threshold {sample['threshold']}"),
            ("kept", f"{sample['kept']} of mass {sample['mass']}; the winner has index {sample['index']}"),
            ("state", f"{sample['state_before']} -> {sample['state_after']}, output {sample['output']}"),
            ("coin", f"unit {sample['unit']}, point {sample['point']}"),
        ]

    def document(self) -> dict[str, Any]:
        """Return the entry of the trace."""
        return dict(self.sample)
