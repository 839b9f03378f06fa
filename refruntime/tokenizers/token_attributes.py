"""Derive the attributes of GGUF tokens as llama.cpp's `llama_vocab::impl::load` does (GG-5, section 13).

The file gives each token a type. llama.cpp then corrects some of them by their text, because converters got them wrong,
and adds strip rules by the name of the model, because the file cannot express them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.errors import InvalidHeader
from refruntime.tokenizers.end_texts import end_texts

Bits = NDArray[np.int64]


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

_OF_NAME: Final = {"normal": Attribute.NORMAL, "user-defined": Attribute.USER_DEFINED}

_ALWAYS_SHOWN: Final = (b"<|channel|>", b"<|message|>", b"<|start|>", b"<|constrain|>")
"""Texts that are user-defined whatever the file says."""


def derive_attributes(
    texts: Sequence[bytes],
    ids: Mapping[bytes, int],
    types: Sequence[int] | Bits | None,
    *,
    model_name: str = "",
    pre_tokenizer: str = "",
    named_roles: Collection[str] = (),
    ends_by_text: bool = True,
) -> Bits:
    """Return the attribute bits of every token, by id, [V].

    `ids` maps the distinct token `texts` to 0 .. V - 1; `types` are the file's token types, None means all normal;
    `named_roles` are the roles of fill-in-the-middle that the metadata assigns; with `ends_by_text` tokens that end a
    generation by their text are control tokens (GG-6). InvalidHeader when the strip rules of the model's name need a
    token that the vocabulary lacks.
    """
    attributes = (
        np.full(len(texts), Attribute.NORMAL, np.int64) if types is None else _of_types(np.asarray(types, np.int64))
    )
    for token in marks_by_text(ids, named_roles).values():
        attributes[token] |= Attribute.CONTROL
    for token in with_attribute(attributes, Attribute.CONTROL):
        if b"unused" in texts[token]:
            attributes[token] |= Attribute.UNUSED
    if ends_by_text:
        for token in _present(ids, end_texts().ends):
            attributes[token] |= Attribute.CONTROL
    for token in _present(ids, _ALWAYS_SHOWN):
        attributes[token] = int(Attribute.USER_DEFINED)
    if ends_by_text:
        for exemption in end_texts().exemptions:
            if exemption.holds(ids):
                attributes[ids[exemption.text]] = int(_OF_NAME[exemption.type])
    _add_strip_rules(attributes, ids, model_name.lower(), pre_tokenizer)
    return attributes


def _of_types(types: Bits) -> Bits:
    """Return the attribute of each token type of the file, int64 [V] -> [V]."""
    attributes = np.zeros(max(_OF_TYPE) + 2, np.int64)  # the last one for types that there are not
    attributes[list(_OF_TYPE)] = list(_OF_TYPE.values())
    unknown = len(attributes) - 1
    found: Bits = attributes[np.where((types < 0) | (types > unknown), unknown, types)]
    return found


def with_attribute(attributes: Sequence[int] | Bits, wanted: int) -> list[int]:
    """Return the tokens that have one of the wanted attributes, in order."""
    found: list[int] = np.flatnonzero(np.asarray(attributes, np.int64) & wanted).tolist()
    return found


def marks_by_text(ids: Mapping[bytes, int], named_roles: Collection[str] = ()) -> dict[str, int]:
    """Return role in fill-in-the-middle prompts -> the token that its text names, without the roles of the metadata.

    Which of several candidates llama.cpp takes depends on its hash table; here it is the lowest id.
    """
    found = {
        role: _present(ids, texts) for role, texts in end_texts().fill_in_the_middle.items() if role not in named_roles
    }
    return {role: min(tokens) for role, tokens in found.items() if tokens}


def _present(ids: Mapping[bytes, int], texts: Iterable[bytes]) -> list[int]:
    return [ids[text] for text in texts if text in ids]


def _add_strip_rules(attributes: Bits, ids: Mapping[bytes, int], model_name: str, pre_tokenizer: str) -> None:
    """Let whitespace beside some tokens vanish, as the original tokenizers of these models do."""
    if any(name in pre_tokenizer for name in ("jina-v2-de", "jina-v2-es", "jina-v2-code")):
        for token in _present(ids, [b"<mask>"]):
            attributes[token] |= Attribute.LSTRIP
    elif "phi-3" in model_name or "phi3" in model_name:
        for token in with_attribute(attributes, SPECIAL):
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
        for token in _present(ids, [b"[MASK]"]):
            attributes[token] |= Attribute.LSTRIP
