"""The page of words: its session is typed as it stands there, its tables are those of the words."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from refruntime.repl.words.table import all_words
from tests.meta import transcripts

PROJECT = Path(__file__).resolve().parent.parent.parent
PAGE = PROJECT / "docs" / "words.md"


def test_the_session_of_the_page() -> None:
    """GEN-4: run again, the page is the page; `python -m tests.meta.transcripts PAGE` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert transcripts.run(page).splitlines() == page.splitlines()


def test_the_tables_of_the_page() -> None:
    """ABI-5: every word stands on the page as it is; `make docs` writes the tables anew."""
    specification = importlib.util.spec_from_file_location("make_words_docs", PROJECT / "tools" / "make_words_docs.py")
    assert specification is not None
    assert specification.loader is not None
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    page = PAGE.read_text(encoding="utf-8")
    assert tool.renewed(page, all_words()) == page
    assert all(f"`{word.usage}`".replace("|", "\\|") in page for word in all_words().by_name.values())
