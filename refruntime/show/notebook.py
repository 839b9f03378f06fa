"""What values show of themselves in Python and in notebooks: each class with its text and its HTML."""

from __future__ import annotations

from functools import singledispatch
from html import escape

from refruntime.display import Displayed
from refruntime.samplers.explain import ChainExplanation
from refruntime.session.answers import Generators, HeadAttention, TokenLogits, Top, Trace
from refruntime.session.compared import BuildComparison
from refruntime.session.session import Session
from refruntime.session.what_if import WhatIf
from refruntime.session.why import Why
from refruntime.show.answers import (
    comparison_shown,
    generators_shown,
    logits_shown,
    top_shown,
    trace_shown,
)
from refruntime.show.html import explanation_html, session_html, what_if_html, why_html
from refruntime.show.tensors import attention_shown
from refruntime.show.terminal import explanation_shown, what_if_shown, why_shown
from refruntime.show.text import as_string


@singledispatch
def text(value: Displayed) -> str:
    """Return the value as plain text."""
    raise TypeError(f"{type(value).__name__} has no text")


@singledispatch
def html(value: Displayed) -> str:
    """Return the value as a part of a page."""
    return f"<pre>{escape(text(value))}</pre>"


text.register(Why, lambda why: as_string(why_shown(why)))
text.register(WhatIf, lambda what_if: as_string(what_if_shown(what_if)))
text.register(ChainExplanation, lambda explanation: as_string(explanation_shown(explanation)))
text.register(Top, lambda top: as_string(top_shown(top)))
text.register(TokenLogits, lambda logits: as_string(logits_shown(logits)))
text.register(Generators, lambda generators: as_string(generators_shown(generators)))
text.register(Trace, lambda trace: as_string(trace_shown(trace)))
text.register(HeadAttention, lambda attention: as_string(attention_shown(attention)))
text.register(BuildComparison, lambda compared: as_string(comparison_shown(compared)))
html.register(Why, why_html)
html.register(WhatIf, what_if_html)
html.register(ChainExplanation, explanation_html)
html.register(Session, session_html)
