"""The word that asks the samplers of other runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from refruntime.repl.node import Branches
from refruntime.repl.parameters import integer, named_values, number, several
from refruntime.repl.tools import Tools
from refruntime.repl.words.word import Word, WordAnswer, WordFamily
from refruntime.samplers.catalogue import CHAINS
from refruntime.samplers.explain import ChainExplanation
from refruntime.show.terminal import explanation_shown
from refruntime.show.text import row

VALUES: Final = named_values(
    {
        "ids": lambda text: [integer(each, "ids", 0) for each in text.split(",")],
        "min_p": lambda text: number(text, "min_p"),
    }
)


def samplers(tools: Tools, branches: Branches, values: Mapping[str, Any]) -> WordAnswer:
    """Say which runtime's sampler explains the sampled tokens, or others in their place."""
    explanation = branches.node.present.samplers(values.get("ids"), values.get("min_p", 0.0))
    return WordAnswer(branches, dict(explanation.to_dict()), [*explanation_shown(explanation), *_notes(explanation)])


def _notes(explanation: ChainExplanation) -> list[RenderableType]:
    """Return what the first chain draws with, and what its runtime leaves open."""
    best = explanation.chains[0]
    lines: list[RenderableType] = [row("generator", f"{best.chain}: {best.generator}")]
    chain = CHAINS.get(best.chain)
    if chain is not None and chain.open:
        lines.append(row("open", chain.open))
    return [Text(""), *lines]


SAMPLERS: Final = WordFamily(
    "Other samplers",
    (
        Word(
            "samplers",
            "which runtime's sampler explains the tokens so far, or others",
            "samplers ids=1,2,3",
            samplers,
            (several("values", "[ids=1,2,3] [min_p=P]", VALUES),),
        ),
    ),
)
