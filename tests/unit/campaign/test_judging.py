"""Tables of engines, models and settings: what is judged, what is kept, what the page says, what fails a run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from refruntime.campaign.judging import BadMatrix, read_matrix
from tests.support.asked_engines import PROGRAM, SERVER
from tests.support.command_line import command

PROJECT = Path(__file__).parents[3]
MODEL = "plain-gguf.gguf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a program and a server that engines of a table run."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    (tmp_path / "lines.py").write_text(PROGRAM)
    (tmp_path / "server.py").write_text(SERVER)
    return tmp_path


def table(folder: Path, engines: str) -> Path:
    """Write a table that asks little."""
    path = folder / "matrix.toml"
    path.write_text(f'text = "abc"\npositions = 4\ngreedy = 2\n[models]\nplain = "{MODEL}"\n{engines}')
    return path


def lines(name: str, settings: str, more: str = "") -> str:
    """Return an engine that speaks lines, in one or several arithmetics."""
    program = f"node = '{sys.executable} {{folder}}/lines.py {{model}} {{settings}}'"
    return f"[engines.{name}]\n{program}\n{more}\n[engines.{name}.settings]\n{settings}\n"


def verdicts(document: Any) -> dict[tuple[str, str], str]:
    """Return (engine, setting) -> verdict."""
    return {(cell["engine"], cell["setting"]): cell["verdict"] for cell in document["cells"]}


def test_a_table_is_judged_once(folder: Path) -> None:
    """Each cell has its verdict; what is missing is named, fails the run and is asked again; the rest is kept."""
    right = lines("right", 'exact = "f64"\nsingle = "fast"')
    missing = '[engines.missing]\nnode = "/no/such/program"\n'
    path, into = table(folder, right + missing), folder / "into"
    outcome = command("judge", "--matrix", path, "--into", into, "--json")
    assert outcome.code == 1, outcome.stderr
    document = json.loads((into / "matrix.json").read_bytes())
    assert document == outcome.json
    found = verdicts(document)
    assert found == {("right", "exact"): "EQUAL", ("right", "single"): "ROUNDING", ("missing", ""): "NOT_RUN"}
    page = (into / "index.html").read_text()
    assert "EQUAL" in page
    assert "/no/such/program cannot be started" in page
    shown = command("judge", "--matrix", table(folder, right), "--into", into)
    assert shown.code == 0, shown.stdout
    assert "2 of 2 are fine, 0 were judged now" in shown.stdout
    again = command("judge", "--matrix", table(folder, lines("right", 'exact = "seq32"')), "--into", into)
    assert "1 of 1 are fine, 1 were judged now" in again.stdout


def test_an_engine_of_some_models(folder: Path) -> None:
    """Each verdict stands in the column of its model, where an engine is asked about some alone too."""
    engines = "second = 'rope.f32.gguf'\n" + lines("one", 'it = "fast"', 'models = ["second"]')
    table_of_two = table(folder, engines + lines("both", 'it = "fast"'))
    outcome = command("judge", "--matrix", table_of_two, "--into", folder / "into", "--json")
    assert {cell["verdict"] for cell in outcome.json["cells"]} == {"ROUNDING"}
    row = re.search(r"<tr>(<td[^>]*>one</td>.*?)</tr>", (folder / "into/index.html").read_text())
    assert row is not None
    order = list(dict.fromkeys(cell["model"] for cell in outcome.json["cells"]))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row.group(1))[2:]
    assert dict(zip(order, cells, strict=True)) == {"plain": "", "second": "ROUNDING"}


def test_a_server_is_started_and_stopped(folder: Path) -> None:
    """A command with a port is a server for as long as it is asked."""
    server = f"[engines.served]\nserver = '{sys.executable} {{folder}}/server.py {{model}} {{port}}'\n"
    outcome = command("judge", "--matrix", table(folder, server), "--into", folder / "into", "--json")
    assert outcome.code == 0, outcome.stderr
    assert verdicts(outcome.json) == {("served", ""): "ROUNDING"}
    ending = "[engines.ending]\nserver = '/bin/false {port}'\n"
    outcome = command("judge", "--matrix", table(folder, ending), "--into", folder / "into", "--json")
    assert (outcome.code, "exit code 1 before it answered" in outcome.json["cells"][0]["text"]) == (1, True)


def test_what_is_expected(folder: Path) -> None:
    """A fault that is expected fails nothing, and its absence does."""
    expecting = 'expects = "TOKENISATION"\nversion = "echo 1.2"'
    wrong = table(folder, lines("wrong", 'it = "fast eos"', expecting))
    outcome = command("judge", "--matrix", wrong, "--into", folder / "into", "--json")
    assert outcome.code == 0, outcome.stdout
    (cell,) = outcome.json["cells"]
    assert (cell["verdict"], cell["fine"], cell["engine_version"]) == ("TOKENISATION", True, "1.2")
    mended = table(folder, lines("wrong", 'it = "fast"', expecting))
    outcome = command("judge", "--matrix", mended, "--into", folder / "into")
    assert outcome.code == 1
    assert "wrong is expected to be blamed, and nowhere is" in outcome.stdout


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[[", "no TOML"),
        ("", "no \\[engines.NAME\\]"),
        ("speed = 1", "unknown key 'speed'"),
        ("[models]\na = 'no.gguf'\n[engines.x]\nnode = 'x'", "there is no file"),
        ("[models]\na = 'a.gguf'\n[engines.x]\nnode = 'x'\npython = 'y'", "it needs one of server, python, node"),
        ("[models]\na = 'a.gguf'\n[engines.x]\nnode = 'x'\nport = 1", "unknown key 'port'"),
        ("[models]\na = 'a.gguf'\n[engines.x]\nnode = 'x'\nexpects = 'EQUAL'", "no verdict that blames"),
        ("[models]\na = 'a.gguf'\n[engines.x]\nnode = 'x'\nmodels = ['b']", "names that \\[models\\] has"),
        ("[models]\na = 'a.gguf'\n[engines.x]\npython = 'x'\nsettings = {a = 'kv=1'}", "JSON objects"),
        ("positions = 0\n[models]\na = 'a.gguf'\n[engines.x]\nnode = 'x'", "positions and greedy are numbers"),
        ("engines = 3\n[models]\na = 'a.gguf'", "engines is no table"),
    ],
)
def test_bad_tables(tmp_path: Path, document: str, words: str) -> None:
    """What is wrong is said."""
    (tmp_path / "a.gguf").touch()
    with pytest.raises(BadMatrix, match=words):
        read_matrix(document, tmp_path, lambda _: None, "text")


def test_usage(tmp_path: Path) -> None:
    """A table needs a folder and names its models itself."""
    path = tmp_path / "matrix.toml"
    path.write_text("[[")
    for arguments in ((), (MODEL, "--into", tmp_path)):
        assert command("judge", "--matrix", path, *arguments).code == 2
    assert command("judge", "--matrix", path, "--into", tmp_path / "new").code == 2
    assert command("judge", "--matrix", tmp_path / "none", "--into", tmp_path / "new").code == 3
    assert command("judge").code == 2
