"""Turn text into byte ids and back: the BTOK tokenizer of SLM1 (SL-7, SL-8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from refruntime.errors import InvalidHeader
from refruntime.tokenizers.byte_ids import BOS, COMMON_FIELDS, EOS, check_common_fields, common_fields, special_bytes

MAGIC: Final = b"BTOK"


@dataclass(frozen=True)
class BtokTokenizer:
    """Byte tokenizer: id = byte, BOS 256, EOS 257, PAD 258, UNK 259. `b"A"` encodes to [256, 65, 257]."""

    vocab_size: int

    kind = "btok"
    eos_id = EOS
    stop_ids = frozenset({EOS})

    @classmethod
    def parse(cls, section: memoryview, vocab_size: int, *, base_offset: int = 0) -> Self:
        """Read the 28 bytes of a BTOK section whose vocabulary must have `vocab_size` ids (SL-7).

        `base_offset` is where the section starts in the file, for error messages. InvalidHeader.
        """
        if len(section) != COMMON_FIELDS.size:
            raise InvalidHeader(
                "the BTOK section has another length",
                rule="SL-7",
                offset=base_offset,
                field="section",
                expected=f"{COMMON_FIELDS.size} bytes",
                found=f"{len(section)} bytes",
            )
        check_common_fields(section, MAGIC, vocab_size, base_offset, rule="SL-7")
        return cls(vocab_size)

    def section_bytes(self) -> bytes:
        """Return the section that `parse` reads."""
        return common_fields(MAGIC, self.vocab_size)

    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        """Return BOS, one id per byte, EOS; without `add_special` the bytes alone (SL-8)."""
        return [BOS, *text, EOS] if add_special else list(text)

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids: BOS, EOS and PAD give nothing, UNK and ids from 260 on give `?` (SL-8)."""
        return b"".join(_BYTES[token] if token < len(_BYTES) else b"?" for token in ids)


_BYTES: Final = tuple(bytes([token]) for token in range(256)) + tuple(
    special_bytes(token) or b"" for token in range(256, 260)
)
