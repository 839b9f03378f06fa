"""Render the chat template of a model as transformers does: Jinja2 in its sandbox, in a process of its own.

A template is a program from a model file. The sandbox keeps it away from attributes that lead out of its values; the
process keeps it from taking more time or memory than it may have, because nothing inside an interpreter can stop the
arithmetic of a big integer, or an allocation that is under way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Final

MOST_SECONDS: Final = 10.0
MOST_CHARACTERS: Final = 16 * 2**20
MOST_EXTRA_BYTES: Final = 512 * 2**20
"""Memory that a template may take beside the interpreter that renders it."""

Message = Mapping[str, str]
"""One message of a chat: `role` (system, user, assistant) and `content`."""


class ChatTemplateError(ValueError):
    """The template of the model is broken, or refuses these messages."""


class MissingJinja(ChatTemplateError):
    """The package that renders templates is not installed."""


def render_chat(template: str, messages: Sequence[Message], special_tokens: Mapping[str, str], today: datetime) -> str:
    """Return the text that `template` makes of `messages`, up to where the answer of the model begins.

    `special_tokens` maps `bos_token`, `eos_token` and so on to texts; `today` is what `strftime_now` formats.
    ChatTemplateError for whatever the template does wrong, and for what it raises itself; MissingJinja.
    """
    if find_spec("jinja2") is None:
        raise MissingJinja("chat templates need the package jinja2: pip install 'refruntime[chat]'")
    request = {
        "template": template,
        "messages": [dict(message) for message in messages],
        "special_tokens": dict(special_tokens),
        "today": today.isoformat(),
        "seconds": MOST_SECONDS,
        "most_characters": MOST_CHARACTERS,
        "extra_bytes": MOST_EXTRA_BYTES,
    }
    program = [sys.executable, "-P", "-m", "refruntime.chat.rendering"]  # -P: no module of the folder that we are in
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    try:
        done = subprocess.run(
            program, input=json.dumps(request).encode(), capture_output=True, timeout=MOST_SECONDS, env=environment
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise ChatTemplateError(f"the chat template refuses: it takes longer than {MOST_SECONDS:g} seconds") from error
    except ValueError as error:  # the child was ended, by a limit of the kernel or by somebody
        raise ChatTemplateError(
            "the chat template fails: the process that renders it ended; it needs more memory or time than it may have"
        ) from error
    if "error" in answer:
        raise ChatTemplateError(answer["error"])
    text: str = answer["text"]
    return text
