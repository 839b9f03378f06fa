"""A prompt that the chat template of a model makes of what was said, for sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from refruntime.api import artifact_bytes
from refruntime.chat.prompt import ChatPrompt, ChatTemplate, NoTemplate, messages_of
from refruntime.chat.template import ChatTemplateError, Message
from refruntime.session.state import SessionError, Subject


@dataclass(frozen=True)
class Said:
    """What was said up to a prompt: the template, the messages, and the prompt that it makes of them."""

    template: ChatTemplate
    messages: tuple[Message, ...]
    prompt: ChatPrompt


def said(
    subject: Subject, before: Said | None, answer_ids: tuple[int, ...], answer: bytes, user: str, system: str | None
) -> Said:
    """Return the prompt for a message: of a new chat without `before` or with a system message, else the next turn.

    SessionError for a model without template and for what a template refuses; InvalidUtf8, GenerationFailed.
    """
    try:
        if before is None or system is not None:
            template = before.template if before is not None else _template(subject)
            messages = messages_of(user, system)
            return Said(template, messages, template.prompt(messages))
        text = answer.decode("utf-8", "replace")
        messages = (*before.messages, {"role": "assistant", "content": text}, {"role": "user", "content": user})
        prompt = before.template.following(before.prompt, answer_ids, text, messages)
        return Said(before.template, messages, prompt)
    except (NoTemplate, ChatTemplateError) as error:
        raise SessionError(str(error)) from error


def _template(subject: Subject) -> ChatTemplate:
    if subject.artifact is None:
        raise SessionError("this session does not know its model's file, in which a chat template would be")
    return ChatTemplate(artifact_bytes(subject.artifact), subject.tokenizer, datetime.now())
