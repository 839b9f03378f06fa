"""Cases on text: prompts in, results out, for both SLM1 tokenizers, and the limits of a result (GEN-8 to GEN-10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refruntime.battery.models.slm1 import btok_section, follow, table_model
from refruntime.cases.steps import NEXT_TOKEN, RESET, Case, Configure, Generate, Load, Step
from refruntime.contract.profile import Profile
from refruntime.tokenizers.bpe1_section import Merge, TokenRecord, build_section
from refruntime.tokenizers.byte_ids import BOS, EOS, PAD, UNK

PROMPTS: Final[dict[str, bytes]] = {
    "letters": b"hello hello",
    "space": b" ",
    "spaces": b"  two  spaces ",
    "nul": b"a\0b",
    "control": b"\x01\t\n\r\x1f\x7f",
    "quotes": b'"quoted\\"',
    "two-bytes": "é ü ß".encode(),
    "three-bytes": "▁ € 漢字".encode(),
    "four-bytes": "😀𝄞".encode(),
    "byte-order-mark": "\ufeffx".encode(),
    "line-separators": "a\u2028b\u2029c".encode(),
    "noncharacter": "\uffff\ufdd0".encode(),
    "last-code-point": "\U0010ffff".encode(),
    "combining": "e\u0301".encode(),
    "special-texts": b"<s></s><unk><pad>",
    "same-letter": b"aaaaaaa",
    "overlapping": b"abababab abcabc aab abb",
    "replacement": "\ufffd".encode(),
}

BORDERS: Final[dict[str, bytes]] = {
    "words": b"the time he takes",
    "spaces": b"a  b   c    ",
    "digits": b"1a1 a11a 11",
    "punctuation": b"a. a.. it's e t.",
    "lines": b"e.\n\n\nt. \n",
    "two-bytes": "é t é1".encode(),
}
"""Prompts in which merges cross what a tokenizer might cut at."""

NOT_UTF8: Final[dict[str, bytes]] = {
    "lone-continuation": b"\x80",
    "lone-lead": b"ab\xc3",
    "overlong-2": b"\xc0\x80",
    "overlong-2-last": b"\xc1\xbf",
    "overlong-3": b"\xe0\x9f\xbf",
    "overlong-4": b"\xf0\x8f\xbf\xbf",
    "surrogate-first": b"\xed\xa0\x80",
    "surrogate-last": b"\xed\xbf\xbf",
    "above-last": b"\xf4\x90\x80\x80",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "byte-ff": b"\xff",
    "cut-3": b"\xe2\x82",
    "cut-4": b"\xf0\x9f\x98",
    "lead-then-letter": b"\xe2\x82a",
    "fine-then-broken": "é".encode() + b"\xa9",
}

MOST: Final = 65_536


def merge_section() -> bytes:
    """Return a BPE1 section whose merges compete: by rank, by place, by what another merge leaves behind."""
    texts = (b"ab", b"ba", b"aa", b"abc", b"aab", b"hel", b"he", b"lo", b"hello", "é".encode(), "▁".encode(), b"aaaa")
    records = [TokenRecord(260 + place, text) for place, text in enumerate(texts)]
    merges = [
        Merge(97, 98, 260, 5),
        Merge(98, 97, 261, 5),
        Merge(97, 97, 262, 5),
        Merge(260, 99, 263, 1),
        Merge(262, 98, 264, 3),
        Merge(97, 260, 264, 2),
        Merge(104, 101, 266, 9),
        Merge(266, 108, 265, 8),
        Merge(108, 111, 267, 7),
        Merge(265, 267, 268, 6),
        Merge(0xC3, 0xA9, 269, 4),
        Merge(262, 262, 271, 4),
        Merge(98, 97, 260, 0),  # of two merges of one pair the lower rank counts
        Merge(97, 98, 261, 5),  # of equal ranks the first
    ]
    return build_section(272, records, merges)


def border_section() -> bytes:
    """Return a BPE1 section whose merges cross the borders of words, digits, punctuation and white space.

    SL-10 merges all bytes of the prompt; a tokenizer that cuts it into words first merges fewer.
    """
    texts = (b"e ", b" t", b"e t", b"1a", b"a1", b"a.", b"..", b"  ", b"\n\n", b".\n", b"'s", b"\xa9 ")
    records = [TokenRecord(260 + place, text) for place, text in enumerate(texts)]
    pairs = ((101, 32), (32, 116), (260, 116), (49, 97), (97, 49), (97, 46), (46, 46), (32, 32), (10, 10), (46, 10))
    merges = [Merge(left, right, 260 + place, place) for place, (left, right) in enumerate(pairs)]
    return build_section(272, records, [*merges, Merge(39, 115, 270, 10), Merge(0xA9, 32, 271, 11)])


def prompt_cases(profile: Profile) -> Iterator[Case]:
    """Yield the cases of the family `tokenizer`."""
    safe = {
        97: 1.0
    }  # whatever the prompt was, the text that follows is valid and no check of it hides the prompt's ids
    models = {
        "btok": table_model({}, otherwise=safe, capacity=48, profile=profile),
        "bpe1": table_model({}, otherwise=safe, vocab=272, capacity=48, tokenizer=merge_section(), profile=profile),
    }
    steps: tuple[Step, ...]
    for kind, model in models.items():
        rules = ("SL-8", "GEN-2", "DG-6", "DG-8") if kind == "btok" else ("SL-10", "SL-9", "GEN-2", "DG-6", "DG-8")
        for name, prompt in PROMPTS.items():
            steps = (Load("model"), Generate(prompt, 1), NEXT_TOKEN, Generate(prompt, 4), Generate(b"a" + prompt, 2))
            yield Case(f"tokenizer/{kind}-{name}", (*steps, RESET), {"model": model}, rules)
        for name, prompt in NOT_UTF8.items():
            steps = (Load("model"), Generate(b"a", 1), Generate(prompt, 1), NEXT_TOKEN, Generate(prompt, 0), RESET)
            yield Case(f"tokenizer/{kind}-not-utf-8-{name}", steps, {"model": model}, ("GEN-1", "ST-8", "ERR-3"))
        for size in (45, 46, 47, 48, 49, 200):  # with BOS one more; capacity 48
            steps = (Load("model"), Generate(b"q" * size, 5), NEXT_TOKEN, NEXT_TOKEN, Generate(b"q", 1), RESET)
            yield Case(f"tokenizer/{kind}-prompt-of-{size}", steps, {"model": model}, ("GEN-3", "GEN-6", "NT-3"))
    borders = table_model({}, otherwise=safe, vocab=272, capacity=48, tokenizer=border_section(), profile=profile)
    for name, prompt in BORDERS.items():
        steps = (Load("model"), Generate(prompt, 1), NEXT_TOKEN, Generate(prompt, 4), RESET)
        yield Case(f"tokenizer/bpe1-across-{name}", steps, {"model": borders}, ("SL-10", "GEN-2", "DG-6"))


def output_cases(profile: Profile) -> Iterator[Case]:
    """Yield the cases of the family `output`."""
    yield from _dictated_output_cases(profile)
    yield from _special_output_cases(profile)
    yield from _long_output_cases(profile)


def _dictated_output_cases(profile: Profile) -> Iterator[Case]:
    """Yield generations of dictated bytes: UTF-8 over several tokens, cut in the middle, and not UTF-8 at all."""
    outputs = {
        "two-bytes": "é".encode(),
        "three-bytes": "€".encode(),
        "four-bytes": "😀".encode(),
        "text-around": b"x\xc3\xa9y",
        "line-separator": b"\xe2\x80\xa8",
        "control-characters": b"\0\x01\x1f\x7f",
        "quote-and-backslash": b'"\\/',
    } | {f"not-utf-8-{name}": raw for name, raw in NOT_UTF8.items()}
    for name, raw in outputs.items():
        distinct = len(set(raw)) == len(raw)
        if not distinct:  # a table cannot say that a token follows itself once and something else then
            raw = bytes(dict.fromkeys(raw))
        model = table_model(follow(ord("-"), *raw, EOS), profile=profile)
        steps: list[Step] = [Load("model")]
        for count in range(1, len(raw) + 2):
            steps += [Generate(b"-", count), NEXT_TOKEN]
        steps += [Generate(b"-", 1), NEXT_TOKEN, NEXT_TOKEN, NEXT_TOKEN, RESET]
        yield Case(f"output/{name}", tuple(steps), {"model": model}, ("GEN-8", "GEN-9", "NT-6", "NT-7", "ST-7"))


def _special_output_cases(profile: Profile) -> Iterator[Case]:
    """Yield generations of special ids, of ids without a record, and of EOS (SL-8, SL-11, NT-5)."""
    section = build_section(300, [TokenRecord(260, b"word"), TokenRecord(PAD, b"P"), TokenRecord(65, b"eh")], [])
    table = {**follow(ord("-"), BOS, PAD, UNK, 260, 65, 261, 299, EOS), ord("+"): {PAD: 1.0}, PAD: {UNK: 1.0}}
    for kind, vocab, tokenizer in (("btok", 300, btok_section(300)), ("bpe1", 300, section)):
        model = table_model(table, vocab=vocab, tokenizer=tokenizer, capacity=32, profile=profile)
        steps: list[Step] = [Load("model"), Generate(b"-", 1), *[NEXT_TOKEN] * 9, RESET]
        steps += [Generate(b"-", 20), NEXT_TOKEN, Generate(b"+", 3), Generate(b"z", 3), NEXT_TOKEN, NEXT_TOKEN]
        rules = ("SL-8", "SL-11", "NT-5", "GEN-5", "DG-8")
        yield Case(
            f"output/special-ids-{kind}", (*steps, Configure(1.0, 3, 1.0, 4), *steps, RESET), {"model": model}, rules
        )
    chance = table_model({}, otherwise={EOS: 1.0, 97: 1.0, 98: 1.0, PAD: 0.5}, capacity=64, profile=profile)
    for seed in range(1, 9):
        steps = [Load("model"), Configure(1.0, 4, 1.0, seed), Generate(b"-", 30), *[NEXT_TOKEN] * 12, Generate(b"-", 5)]
        yield Case(f"output/eos-by-chance-{seed}", (*steps, RESET), {"model": chance}, ("NT-5", "GEN-5", "SL-11"))


def _long_output_cases(profile: Profile) -> Iterator[Case]:
    """Yield results around the limit of 65536 bytes (GEN-10), also of bytes that are not UTF-8."""

    def model(text: bytes) -> bytes:
        section = build_section(261, [TokenRecord(260, text)], [])
        return table_model({}, otherwise={260: 1.0}, vocab=261, capacity=80, tokenizer=section, profile=profile)

    texts = {
        "64-times-1024": b"y" * 1024,
        "one-token-of-65536": b"y" * MOST,
        "one-token-of-65537": b"y" * (MOST + 1),
        "32-times-2049": b"y" * 2048 + b"z",
        "not-utf-8": b"\xff" * 1024,
        "not-utf-8-and-too-long": b"\xff" * (MOST + 1),
        "limit-inside-a-character": "é".encode() * (MOST // 2) + b"z",
    }
    for name, text in texts.items():
        fits = MOST // len(text)
        steps: list[Step] = [Load("model")]
        for count in sorted({1, max(fits, 1), fits + 1}):
            steps += [Generate(b"-", count), NEXT_TOKEN]
        steps += [Generate(b"-", 1), RESET]
        yield Case(f"output/long-{name}", tuple(steps), {"model": model(text)}, ("GEN-10", "GEN-9", "NT-6", "ST-7"))
