"""The byte vocabulary of BTOK as a GGUF vocabulary: the same ids in the same order.

A byte b is the byte token `<0xHH>` with id b. Id 32 is the normal token U+2581 instead, because SPM tokenizers turn
every space into U+2581 before they look for tokens, so that a byte token for the space would never be met. BOS, EOS and
PAD are control tokens, UNK is the unknown token. No token has two characters, so nothing is ever merged and the scores
do not matter.

What SPM cannot express: a literal U+2581 in a prompt becomes id 32 instead of its three bytes, and a generated UNK
decodes to nothing instead of `?`.
"""

from __future__ import annotations

from typing import Final

from refruntime.containers.gguf import GgufMetadata, ValueType
from refruntime.convert.refusal import ConversionRefused
from refruntime.tokenizers.byte_ids import BOS, EOS, PAD, UNK

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Token types of GGUF."""

TOKENS: Final = [*(b"<0x%02X>" % byte for byte in range(256)), b"<s>", b"</s>", b"<pad>", b"<unk>"]
TOKENS[0x20] = "\u2581".encode()

TYPES: Final = [*[BYTE] * 256, CONTROL, CONTROL, CONTROL, UNKNOWN]
TYPES[0x20] = NORMAL

_PREFIX = "tokenizer.ggml."


def require_byte_vocabulary(metadata: GgufMetadata) -> None:
    """Refuse a GGUF vocabulary that is not exactly this one: ConversionRefused."""
    reason = "SLM1 can take only the byte vocabulary of BTOK from a GGUF file"
    tokens = metadata.strings(_PREFIX + "tokens")
    if len(tokens) != len(TOKENS):
        raise ConversionRefused(reason, expected=f"{len(TOKENS)} tokens", found=f"{len(tokens)} tokens")
    types = metadata.numbers(_PREFIX + "token_type", ValueType.INT32).tolist() if _has(metadata, "token_type") else []
    for index, expected in enumerate(zip(TOKENS, TYPES, strict=True)):
        found = (tokens[index], types[index] if index < len(types) else NORMAL)
        if found != expected:
            raise ConversionRefused(
                f"{reason}; id {index} differs", expected=_describe(*expected), found=_describe(*found)
            )
    for key, wanted in (("bos_token_id", BOS), ("eos_token_id", EOS)):
        if not _has(metadata, key) or metadata[_PREFIX + key] != wanted:
            raise ConversionRefused(f"{reason}; {key} differs", expected=wanted, found=metadata.get(_PREFIX + key))
    if not metadata.boolean(_PREFIX + "add_bos_token", True):
        raise ConversionRefused("BTOK always adds BOS", expected="add_bos_token true", found="false")
    if metadata.boolean(_PREFIX + "add_space_prefix", True):
        raise ConversionRefused("BTOK adds no space before a text", expected="add_space_prefix false", found="true")
    for key in ("eot_token_id", "eom_token_id"):
        if _has(metadata, key) and metadata[_PREFIX + key] != EOS:
            raise ConversionRefused(
                "only EOS stops a generation of SLM1 (SL-11)", expected=f"no {key}", found=metadata[_PREFIX + key]
            )


def special_ids() -> dict[str, int]:
    """Return the special ids by their GGUF names."""
    return {"bos": BOS, "eos": EOS, "pad": PAD, "unk": UNK}


def _has(metadata: GgufMetadata, key: str) -> bool:
    return _PREFIX + key in metadata


def _describe(text: bytes, token_type: int) -> str:
    return f"{text.decode('utf-8', 'backslashreplace')!r} of type {token_type}"
