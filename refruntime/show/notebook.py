"""What values show of themselves in Python and in notebooks: each class with its text and its HTML."""

from __future__ import annotations

from functools import singledispatch

from refruntime.display import Displayed
from refruntime.samplers.explain import Explanation
from refruntime.session.session import Session
from refruntime.session.what_if import WhatIf
from refruntime.session.why import Why
from refruntime.show.html import explanation_html, session_html, what_if_html, why_html
from refruntime.show.terminal import explanation_shown, what_if_shown, why_shown
from refruntime.show.text import as_string


@singledispatch
def text(value: Displayed) -> str:
    """Return the value as plain text."""
    raise TypeError(f"{type(value).__name__} has no text")


@singledispatch
def html(value: Displayed) -> str:
    """Return the value as a part of a page."""
    raise TypeError(f"{type(value).__name__} has no HTML")


text.register(Why, lambda why: as_string(why_shown(why)))
text.register(WhatIf, lambda what_if: as_string(what_if_shown(what_if)))
text.register(Explanation, lambda explanation: as_string(explanation_shown(explanation)))
html.register(Why, why_html)
html.register(WhatIf, what_if_html)
html.register(Explanation, explanation_html)
html.register(Session, session_html)
