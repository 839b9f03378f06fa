"""The documentation as a site: built offline without a warning, whole, and nothing of it is loaded from elsewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import refruntime

PROJECT = Path(__file__).resolve().parents[2]
CONF = runpy.run_path(str(PROJECT / "docs" / "conf.py"))


@pytest.mark.parametrize(
    ("plain", "marked"),
    [
        ("Return `x` of *all*.", "Return ``x`` of \\*all\\*."),
        ("Take `n`s.", "Take ``n``\\ s."),
        ("`a` is `b` or c_ here.", "``a`` is ``b`` or c\\_ here."),
        ("One\ntwo.\n\n    x = 1\n    y = 2\n\nThree.", "One two.\n\n::\n\n    x = 1\n    y = 2\n\nThree."),
        ("These:\n- `a`: one\n- two", "These:\n- ``a``: one\n- two"),
    ],
)
def test_docstrings_stay_what_they_say(plain: str, marked: str) -> None:
    """ABI-5: a docstring is plain text; code stays code, and nothing in it becomes markup by accident."""
    translate: Callable[[list[str]], list[str]] = CONF["as_restructured_text"]
    assert "\n".join(translate(plain.split("\n"))).strip() == marked


def test_every_page_is_in_the_contents() -> None:
    """ABI-5: every page of docs/ is listed on the first one."""
    listed = set(re.findall(r"^([a-z-]+)$", (PROJECT / "docs" / "index.md").read_text(), re.MULTILINE))
    assert listed == {path.stem for path in (PROJECT / "docs").glob("*.md")} - {"index"}


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    """ABI-5: Sphinx finds nothing to warn of; each link leads somewhere; every public name has its entry."""
    for name in ("sphinx", "furo", "myst_parser", "matplotlib", "wasmtime"):
        pytest.importorskip(name, reason="pip install -e '.[docs]'")
    words = ["sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--builder", "html"]
    command = [sys.executable, "-m", *words, "--doctree-dir", str(tmp_path / "trees"), "docs", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    makefile = (PROJECT / "Makefile").read_text()
    assert " ".join(words) in makefile
    site = tmp_path / "site"
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe)[^>]* src="https?:', text) == []
        assert re.findall(r'<link rel="stylesheet"[^>]* href="https?:', text) == []
        for link in re.findall(r'<a [^>]*href="([^"]+)"', text):
            parts = urlsplit(link)
            if not parts.scheme and parts.path:
                assert (site / unquote(parts.path)).exists(), f"{page.name}: {link}"
    reference = (site / "api.html").read_text(encoding="utf-8")
    for name in set(refruntime.__all__) - {"__version__"}:
        assert f'id="refruntime.{name}"' in reference, name
