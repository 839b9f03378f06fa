"""Read what llama.cpp's word pieces make of every code point out of its Unicode tables.

Usage: python tests/second_opinion/makers/tokenizers/make_word_pieces.py LLAMA_CPP [--check]

LLAMA_CPP is a folder with the sources of llama.cpp. With --check nothing is written, and the exit code is 1 if the file
would change.
"""

from __future__ import annotations

import argparse
import json
import re
from itertools import groupby, pairwise
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "vectors/tokenizers/word_pieces.json"
END = 0x110000
PUNCTUATION, MARK, SYMBOL, CONTROL = 0x20, 0x10, 0x40, 0x80
"""Bits of a code point's flags in `unicode.h`."""


def numbers(source: str, table: str, count: int) -> list[tuple[int, ...]]:
    """Return the groups of so many numbers of a table."""
    body = source[source.index(table) :].partition("};")[0]
    pattern = r"\{\s*" + r",\s*".join([r"(0x[0-9A-Fa-f]+)"] * count) + r"\s*\}" if count > 1 else r"(0x[0-9A-Fa-f]+)"
    found = re.findall(pattern, body)
    return [tuple(int(each, 16) for each in (group if count > 1 else (group,))) for group in found]


def kinds(source: str, vocabulary: str) -> str:
    """Return a letter for each code point: space, left out, mark, alone or letter, as `preprocess` goes on with it."""
    borders = numbers(source, "unicode_ranges_flags", 2)
    flags = [0] * END
    for (first, own), (last, _) in pairwise(borders):
        flags[first:last] = [own] * (last - first)
    spaces = {code for (code,) in numbers(source, "unicode_set_whitespace", 1)}
    body = vocabulary[vocabulary.index("static bool is_chinese_char") :].partition("}")[0]
    han = re.findall(r"^\s*\(cpt >= (0x\w+)\s*&& cpt <= (0x\w+)\)", body, re.MULTILINE)
    alone = {code for first, last in han for code in range(int(first, 16), int(last, 16) + 1)}
    letters = []
    for code in range(END):
        if code in spaces:
            letters.append("s")
        elif code in (0, 0xFFFD) or flags[code] & CONTROL:
            letters.append("o")
        elif flags[code] & MARK:
            letters.append("m")
        elif flags[code] & PUNCTUATION or (code < 0x7F and flags[code] & SYMBOL) or code in alone:
            letters.append("a")
        else:
            letters.append("l")
    return "".join(letters)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    source = (chosen.llama_cpp / "src" / "unicode-data.cpp").read_text()
    vocabulary = (chosen.llama_cpp / "src" / "llama-vocab.cpp").read_text()
    runs = [f"{kind}{len(list(group))}" for kind, group in groupby(kinds(source, vocabulary))]
    document = {
        "kinds": " ".join(runs),
        "small": " ".join(f"{code:x}:{small:x}" for code, small in numbers(source, "unicode_map_lowercase", 2)),
        "base": " ".join(
            f"{first:x}-{last:x}:{base:x}" for first, last, base in numbers(source, "unicode_ranges_nfd", 3)
        ),
    }
    text = json.dumps(document, indent=1) + "\n"
    if chosen.check:
        return int(FILE.read_text() != text)
    FILE.write_text(text)
    print(f"{FILE.name}: {len(runs)} runs, {len(text)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
