"""Turn what a user says into the prompt ids of a model with a chat template (`tokenizer.chat_template`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import click

from refruntime.api import raw_bytes
from refruntime.containers.gguf import GgufMetadata, read_gguf
from refruntime.model.gguf_tokenizer import token_id
from refruntime.model.load import Buffer
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.utf8 import checked_prompt

TEMPLATE_KEY = "tokenizer.chat_template"
ROLES = {"unk": "unknown", "sep": "seperator", "pad": "padding", "mask": "mask"}
"""Name of a special token in templates -> its name in GGUF keys, one of which is misspelt."""


class MissingPackage(click.ClickException):
    """A package that the command needs is not installed."""

    exit_code = 3


@dataclass(frozen=True)
class ChatPrompt:
    """What the template made of the messages, and its ids."""

    text: str
    ids: list[int]


def chat_prompt(data: Buffer, tokenizer: Tokenizer, user: str, system: str | None, today: datetime) -> ChatPrompt:
    """Render the template of a GGUF file for one user message, and encode the result.

    Control tokens that the template spells are those tokens. BOS is added as the model says, but not twice, as in
    llama.cpp; EOS is not, because the answer follows. A usage error for a model without a template; ChatTemplateError;
    statuses GenerationFailed and InvalidUtf8.
    """
    no_template = click.UsageError(f"MODEL has no chat template ({TEMPLATE_KEY}); give PROMPT instead of --chat.")
    if not isinstance(tokenizer, SpmTokenizer | BpeTokenizer):  # an SLM1 file
        raise no_template
    metadata = read_gguf(memoryview(data).cast("B")).metadata
    template = metadata.text(TEMPLATE_KEY, "")
    if not template:
        raise no_template
    try:
        from refruntime.commands.chat.template import render_chat
    except ModuleNotFoundError as error:
        raise MissingPackage(f"--chat needs the package {error.name}: pip install 'refruntime[chat]'") from error
    messages = [{"role": "user", "content": user}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    text = render_chat(template, messages, _special_tokens(metadata, tokenizer), today)
    raw = checked_prompt(raw_bytes(text))
    ids = []
    if tokenizer.bos_id is not None and tokenizer.adds_bos:
        ids.append(tokenizer.bos_id)
        raw = raw.removeprefix(tokenizer.vocabulary.texts[tokenizer.bos_id])
    return ChatPrompt(text, ids + tokenizer.encode(raw, add_special=False, parse_special=True))


def _special_tokens(metadata: GgufMetadata, tokenizer: SpmTokenizer | BpeTokenizer) -> dict[str, str]:
    """Return the texts of the special tokens by their names in templates; without BOS or EOS theirs is empty."""
    found = {role: token_id(metadata, f"{name}_token_id", tokenizer.vocab_size) for role, name in ROLES.items()}
    found |= {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id}  # these may be defaults
    texts = {"bos_token": "", "eos_token": ""}
    for role, token in found.items():
        if token is not None:
            texts[f"{role}_token"] = tokenizer.vocabulary.texts[token].decode("utf-8", "replace")
    return texts
