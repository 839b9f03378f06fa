"""Turn what was said into the prompt ids of a model with a chat template (`tokenizer.chat_template`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from refruntime.api import raw_bytes
from refruntime.chat.template import Message, render_chat
from refruntime.containers.gguf import GgufMetadata, read_gguf
from refruntime.model.gguf.tokenizer import token_id
from refruntime.model.load import Buffer
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.utf8 import checked_prompt

TEMPLATE_KEY: Final = "tokenizer.chat_template"
ROLES: Final = {"unk": "unknown", "sep": "seperator", "pad": "padding", "mask": "mask"}
"""Name of a special token in templates -> its name in GGUF keys, one of which is misspelt."""


class NoTemplate(ValueError):
    """The model has no chat template."""


@dataclass(frozen=True)
class ChatPrompt:
    """What the template made of the messages, and its ids."""

    text: str
    ids: tuple[int, ...]


def messages_of(user: str, system: str | None) -> tuple[Message, ...]:
    """Return the messages that begin a chat."""
    first = () if system is None else ({"role": "system", "content": system},)
    return (*first, {"role": "user", "content": user})


class ChatTemplate:
    """The template of a GGUF file with the tokens that it spells; `today` is what it sees as the date."""

    def __init__(self, data: Buffer, tokenizer: Tokenizer, today: datetime) -> None:
        """Read the template from the metadata of a file. NoTemplate; statuses 4 to 6 for a broken file."""
        if not isinstance(tokenizer, SpmTokenizer | BpeTokenizer):  # an SLM1 file
            raise NoTemplate(f"the model has no chat template ({TEMPLATE_KEY}); only GGUF files hold one")
        metadata = read_gguf(memoryview(data).cast("B")).metadata
        self.template = metadata.text(TEMPLATE_KEY, "")
        if not self.template:
            raise NoTemplate(f"the model has no chat template ({TEMPLATE_KEY})")
        self.tokenizer, self.today = tokenizer, today
        self.special_tokens = _special_tokens(metadata, tokenizer)

    def prompt(self, messages: Sequence[Message]) -> ChatPrompt:
        """Render the messages and encode the result, up to where the answer of the model begins.

        Control tokens that the template spells are those tokens. BOS is added as the model says, but not twice, as in
        llama.cpp; EOS is not, because the answer follows. ChatTemplateError; statuses GenerationFailed and InvalidUtf8.
        """
        text = self._render(messages)
        raw = checked_prompt(raw_bytes(text))
        ids, bos = [], self.tokenizer.bos_id
        if bos is not None and self.tokenizer.adds_bos:
            ids.append(bos)
            raw = raw.removeprefix(self.tokenizer.vocabulary.texts[bos])
        return ChatPrompt(text, (*ids, *self._encoded(raw)))

    def following(
        self, before: ChatPrompt, answer_ids: Sequence[int], answer: str, messages: Sequence[Message]
    ) -> ChatPrompt:
        """Return the prompt of the next turn; the tokens of the answer stay those that were sampled, if that is true.

        Encoding a text again may cut it otherwise than the model wrote it, and what a KV cache holds is of no use then.
        So if the template goes on behind the very text of the last turn with a token of its own, only what is new is
        encoded. A template that rewrites earlier turns gets what it asks for: all is encoded. Failures as `prompt`.
        """
        text = self._render(messages)
        said = before.text + answer
        if text.startswith(said) and len(text) > len(said):
            new = self._encoded(checked_prompt(raw_bytes(text[len(said) :])))
            if new and new[0] in self.tokenizer.vocabulary.special:
                return ChatPrompt(text, (*before.ids, *answer_ids, *new))
        return self.prompt(messages)

    def _render(self, messages: Sequence[Message]) -> str:
        return render_chat(self.template, messages, self.special_tokens, self.today)

    def _encoded(self, raw: bytes) -> list[int]:
        return self.tokenizer.encode(raw, add_special=False, parse_special=True)


def _special_tokens(metadata: GgufMetadata, tokenizer: SpmTokenizer | BpeTokenizer) -> dict[str, str]:
    """Return the texts of the special tokens by their names in templates; without BOS or EOS theirs is empty."""
    found = {role: token_id(metadata, f"{name}_token_id", tokenizer.vocab_size) for role, name in ROLES.items()}
    found |= {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id}  # these may be defaults
    texts = {"bos_token": "", "eos_token": ""}
    for role, token in found.items():
        if token is not None:
            texts[f"{role}_token"] = tokenizer.vocabulary.texts[token].decode("utf-8", "replace")
    return texts
