"""Derive the attributes of GGUF tokens as llama.cpp's `llama_vocab::impl::load` does (GG-5, section 13).

The file gives each token a type. llama.cpp then corrects some of them by their text, because converters got them wrong,
and adds strip rules by the name of the model, because the file cannot express them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from typing import Final

from refruntime.errors import InvalidHeader


class Attribute(IntEnum):
    """One bit of what a token is, as in llama.cpp; a token has any number of them, undefined ones none."""

    UNKNOWN = 1
    UNUSED = 2
    NORMAL = 4
    CONTROL = 8
    USER_DEFINED = 16
    BYTE = 32
    NORMALIZED = 64
    LSTRIP = 128
    RSTRIP = 256
    SINGLE_WORD = 512


SPECIAL: Final = Attribute.CONTROL | Attribute.USER_DEFINED | Attribute.UNKNOWN
"""Attributes of tokens that are matched as a whole in raw text."""

_OF_TYPE: Final = {
    1: Attribute.NORMAL,
    2: Attribute.UNKNOWN,
    3: Attribute.CONTROL,
    4: Attribute.USER_DEFINED,
    5: Attribute.UNUSED,
    6: Attribute.BYTE,
}
"""Attribute of each token type of the file; every other number is undefined."""

_ENDS: Final = (
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> "
    "<EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
    "<｜end▁of▁sentence｜> [e~["
)
"""Texts that end a turn or a text: such tokens are control tokens whatever the file says."""

_FILL_IN_THE_MIDDLE: Final = {
    "fim_pre": "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|>",
    "fim_suf": "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|>",
    "fim_mid": "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|>",
    "fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]",
    "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>",
    "fim_sep": "<|file_sep|>",
}
"""Role in fill-in-the-middle prompts -> texts; one token for a role becomes control unless the file names the role."""

_ALWAYS_SHOWN: Final = "<|channel|> <|message|> <|start|> <|constrain|>"
"""Texts that are user-defined whatever the file says."""


def derive_attributes(
    ids: Mapping[bytes, int],
    types: Sequence[int] | None,
    *,
    model_name: str = "",
    pre_tokenizer: str = "",
    named_roles: Collection[str] = (),
) -> list[int]:
    """Return the attribute bits of every token, by id.

    `ids` maps the distinct token texts to 0 .. V - 1; `types` are the file's token types, None means all normal;
    `named_roles` are the roles of fill-in-the-middle that the metadata assigns. InvalidHeader when the strip rules of
    the model's name need a token that the vocabulary lacks.
    """
    attributes = [int(Attribute.NORMAL)] * len(ids) if types is None else [_OF_TYPE.get(each, 0) for each in types]
    attributes = [int(each) for each in attributes]
    for role, texts in _FILL_IN_THE_MIDDLE.items():
        if role not in named_roles:  # which of several candidates llama.cpp takes depends on its hash table
            for token in sorted(_present(ids, texts))[:1]:
                attributes[token] |= Attribute.CONTROL
    for text, token in ids.items():
        if attributes[token] & Attribute.CONTROL and b"unused" in text:
            attributes[token] |= Attribute.UNUSED
    for token in _present(ids, _ENDS):
        attributes[token] |= Attribute.CONTROL
    for token in _present(ids, _ALWAYS_SHOWN):
        attributes[token] = int(Attribute.USER_DEFINED)
    messages = (b"<|return|>" in ids or b"<|flush|>" in ids) and (b"<|call|>" in ids or b"<|calls|>" in ids)
    if messages:  # in these vocabularies <|end|> closes a message, not the text
        for token in _present(ids, "<|end|>"):
            attributes[token] = int(Attribute.USER_DEFINED)
    if b"<|tool_response>" in ids:
        for token in _present(ids, "</s>"):
            attributes[token] = int(Attribute.NORMAL)
    _add_strip_rules(attributes, ids, model_name.lower(), pre_tokenizer)
    return attributes


def _present(ids: Mapping[bytes, int], texts: str) -> list[int]:
    return [ids[text] for text in texts.encode().split(b" ") if text in ids]


def _add_strip_rules(attributes: list[int], ids: Mapping[bytes, int], model_name: str, pre_tokenizer: str) -> None:
    """Let whitespace beside some tokens vanish, as the original tokenizers of these models do."""
    if any(name in pre_tokenizer for name in ("jina-v2-de", "jina-v2-es", "jina-v2-code")):
        for token in _present(ids, "<mask>"):
            attributes[token] |= Attribute.LSTRIP
    elif "phi-3" in model_name or "phi3" in model_name:
        for token, attribute in enumerate(attributes):
            if attribute & SPECIAL:
                attributes[token] |= Attribute.RSTRIP
        for text, strips in (("</s>", True), ("<unk>", False), ("<s>", False), ("<|endoftext|>", False)):
            if text.encode() not in ids:
                raise InvalidHeader(
                    "the model is named phi-3, whose strip rules need a token that the vocabulary lacks",
                    rule="GG-5",
                    field="tokenizer.ggml.tokens",
                    expected=text,
                )
            token = ids[text.encode()]
            attributes[token] = attributes[token] & ~Attribute.RSTRIP | (Attribute.RSTRIP if strips else 0)
    elif "modern-bert" in model_name:
        for token in _present(ids, "[MASK]"):
            attributes[token] |= Attribute.LSTRIP
