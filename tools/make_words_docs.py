"""Write the tables of docs/words.md from the table of words, or check that they are up to date.

python tools/make_words_docs.py            write
python tools/make_words_docs.py --check    exit 1 when the file on disk differs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from refruntime.repl.words.table import all_words
from refruntime.repl.words.word import WordFamily, Words

TARGET = Path(__file__).resolve().parent.parent / "docs" / "words.md"
BEGIN = "<!-- words: generated from refruntime.repl.words by `make docs` -->"
END = "<!-- words end -->"


def render(words: Words) -> str:
    """Return a table for each family of words."""
    return "\n\n".join(map(_family, words.families))


def _family(family: WordFamily) -> str:
    rows = [
        [f"`{word.usage}`", ", ".join(f"`{each}`" for each in word.also), word.help, f"`{word.example}`"]
        for word in family.words
    ]
    lines = [["word", "also", "what it does", "example"], ["---"] * 4, *rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"### {family.title}\n\n{table}"


def renewed(page: str, words: Words) -> str:
    """Return the page with the tables of these words. ValueError where their place is not marked."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no place for the words: {BEGIN} .. {END}")
    return f"{before}{BEGIN}\n\n{render(words)}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tables of docs/words.md from the table of words.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file differs")
    arguments = parser.parse_args()
    page = TARGET.read_text(encoding="utf-8")
    text = renewed(page, all_words())
    if arguments.check:
        print("docs/words.md is up to date" if text == page else "docs/words.md differs; run `make docs`")
        return int(text != page)
    TARGET.write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote docs/words.md: {len(all_words().by_name)} words")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
