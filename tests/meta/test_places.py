"""One module knows where goldens and models are; the others ask it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from refruntime import resources
from tests.meta.import_rules import package_sources
from tests.meta.places import KNOWS_PLACES, check_places

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = package_sources(PROJECT / "refruntime")


def test_one_module_knows_where_things_are() -> None:
    """No other module computes a path of the checkout, and none names the tests."""
    assert KNOWS_PLACES in SOURCES
    assert [text for module, source in SOURCES.items() for text in check_places(module, source)] == []


@pytest.mark.parametrize(
    "source",
    [
        "x = Path(__file__).parent",
        "x = refruntime.__file__",
        "from importlib import resources\nx = refruntime.__path__",
        "from importlib.resources import files",
        "import importlib.resources",
        "x = Path('golden')",
        "x = Path('golden', 'models')",
        "x = Path('golden/models')",
        "x = folder / 'golden'",
        "x = folder / 'tests' / 'guest'",
        "x = 'see tests/guest'",
        "# like tests/guest",
    ],
)
def test_the_check_finds_what_is_planted(source: str) -> None:
    """The check itself is checked: every way that was once used is found."""
    assert check_places("refruntime.commands.run", source)


@pytest.mark.parametrize("source", ["x = Path('my-goldens')", "import golden", "x = 'golden'", "find_spec('numba')"])
def test_the_check_leaves_alone_what_is_right(source: str) -> None:
    """Names of options, words and extras are no paths."""
    assert check_places("refruntime.commands.run", source) == []


def test_contributing_names_every_room() -> None:
    """The two tables that say where a change and a test go follow the rooms of the package and of the tests."""
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:refruntime|tests)/\w+)(?:/|\.py)`", text))
    rooms = {
        f"{folder}/{path.stem}"
        for folder in ("refruntime", "tests")
        for path in (PROJECT / folder).iterdir()
        if (path.is_dir() and any(path.glob("*.py"))) or (path.suffix == ".py" and folder == "refruntime")
    }
    assert {room for room in rooms if not room.rpartition("/")[2].startswith("_")} - named == set()
    assert {name for name in named if name.count("/") == 1} <= rooms


def test_a_checkout_reads_its_own_files() -> None:
    """In a checkout the goldens are those that git tracks, and the second opinion is the one of pyproject.toml."""
    assert resources.golden_folder() == PROJECT / "golden" == resources.checkout_golden_folder()
    assert resources.demo_model() in resources.trained_models()
    assert resources.own_model("tiny.f32.slm1") == PROJECT / "golden" / "models" / "tiny.f32.slm1"
    assert resources.own_model("none.slm1") is None
    opinion = resources.second_opinion()
    assert opinion is not None
    assert opinion.read_bytes().startswith(b"\0asm")


def test_a_damaged_installation_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Missing goldens and models are an error with a way out, never fewer cases without a word."""
    monkeypatch.setattr(resources, "INSTALLED", tmp_path / "data")
    monkeypatch.setattr(resources, "CHECKOUT", tmp_path)
    with pytest.raises(FileNotFoundError, match="install the package again"):
        resources.golden_folder()
    assert resources.own_model("tiny.f32.slm1") is None
    (tmp_path / "golden" / "models").mkdir(parents=True)
    (tmp_path / "golden" / "INDEX.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="trained models that belong to refruntime"):
        resources.trained_models()
