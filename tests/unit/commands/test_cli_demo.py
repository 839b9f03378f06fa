"""`refruntime demo`: it must tell the truth, and notice when the contract is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from refruntime import resources
from refruntime.commands.demo import session as demo_session
from refruntime.commands.demo import short
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.exports import ExportedABI
from refruntime.host_numbers import Number
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import Hypothesis
from tests.support.command_line import command
from tests.support.lookup_model import lookup_model, spelling
from tests.support.terminals import Terminal


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a model that answers the demo's prompt: after its last letter come a comma, a space, w, !, and EOS."""
    path = tmp_path / "answer.slm1"
    path.write_bytes(lookup_model(spelling(b"e, w!"), max_context=128))
    return path


def test_the_story(model: Path) -> None:
    """ABI-1, ERR-3, MEM-3, MEM-4, MEM-5, MEM-6, ST-4: all exports, failures, misuses and the trap are shown."""
    outcome = command("demo", "--all", "--model", model)
    assert outcome.code == 0, outcome.stdout
    for name in EXPORTS_BY_NAME:
        assert name in outcome.stdout
    for status in ("0 Ok", "1 NullPointer", "2 InvalidLength", "3 InvalidUtf8", "4", "5", "11", "12", "13"):
        assert status in outcome.stdout
    for part in ("double free", "wrong length", "foreign pointer", "Trap", "released", "all as expected"):
        assert part in outcome.stdout
    assert "5 misuses caught" in outcome.stdout


def test_every_export_is_called(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-1: the story uses each of the 13 exports."""
    called = set()

    class Counting(ExportedABI):
        def __getattribute__(self, name: str) -> object:
            if name in EXPORTS_BY_NAME:
                called.add(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(demo_session, "ExportedABI", Counting)
    assert command("demo", "--all", "--model", model).code == 0
    assert called == set(EXPORTS_BY_NAME)


class Lenient(ExportedABI):
    """An ABI whose ledger sees nothing."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile, strict=False)


class Wrong(ExportedABI):
    """An ABI with a wrong status."""

    def reset_context(self) -> int:
        super().reset_context()
        return 13


@pytest.mark.parametrize(("broken", "surprise"), [(Lenient, "expected HostMisuse"), (Wrong, "expected Ok, found")])
def test_a_wrong_answer_is_noticed(
    model: Path, monkeypatch: pytest.MonkeyPatch, broken: type[ExportedABI], surprise: str
) -> None:
    """MEM-4, ST-5: the demo exits with 1 and says what was expected when an answer differs."""
    monkeypatch.setattr(demo_session, "ExportedABI", broken)
    outcome = command("demo", "--all", "--model", model)
    assert outcome.code == 1
    assert surprise in outcome.stdout
    assert "not as expected" in outcome.stdout


def test_a_model_of_random_bytes(tmp_path: Path) -> None:
    """GEN-9, NT-2: a model whose text is no UTF-8 changes the story, not its truth."""
    path = tmp_path / "bytes.slm1"
    path.write_bytes(lookup_model({ord("e"): 0xFF, 0xFF: 0xFF}, max_context=128))
    outcome = command("demo", "--all", "--model", path)
    assert outcome.code == 0, outcome.stdout
    assert "3 InvalidUtf8" in outcome.stdout
    assert "3 InvalidUtf8" in command("demo", "--model", path).stdout


@pytest.mark.parametrize("switch", [{"ERR-4": "unchanged"}, {"ST-2": "recreate"}, {"NT-2": "2"}, {"GEN-9": "lossy"}])
def test_other_profiles(model: Path, tmp_path: Path, switch: dict[str, str]) -> None:
    """ERR-4, ST-2, NT-2, GEN-9: the story follows the profile."""
    profile = tmp_path / "build.toml"
    profile.write_text("[rules]\n" + "".join(f'"{key}" = "{value}"\n' for key, value in switch.items()))
    assert command("demo", "--all", "--model", model, "--profile", profile).code == 0


def test_own_model() -> None:
    """ABI-1: the demo takes another of the project's own models by its name alone."""
    outcome = command("demo", "--all", "--model", "stories.f32.slm1")
    assert outcome.code == 0
    assert "demo with stories.f32.slm1 (" in outcome.stdout
    assert "all as expected" in outcome.stdout


@pytest.mark.parametrize(("columns", "rows"), [(120, 34), pytest.param(80, 36, marks=pytest.mark.slow), (60, 48)])
def test_a_screenful(columns: int, rows: int) -> None:
    """GEN-7, SA-6, FW-6: without arguments the story fits a screen: an answer, the coin, the first wrong number."""
    outcome = command("demo", columns=columns)
    assert outcome.code == 0, outcome.stdout
    lines = outcome.stdout.splitlines()
    assert len(lines) <= rows
    assert max(map(len, lines[:-4])) <= columns
    assert lines[0].startswith(f"refruntime demo with {resources.DEMO} (")
    text = outcome.stdout
    abi = ExportedABI()
    data = resources.demo_model().read_bytes()
    pointer = abi.alloc(len(data))
    abi.write(pointer, data)
    assert abi.load_model(pointer, len(data)) == 0
    abi.write(pointer, short.PROMPT)
    for seed, shown in ((7, True), (8, False)):
        assert abi.set_sampling_config(0.9, 40, 0.95, seed) == 0
        assert abi.generate(pointer, len(short.PROMPT), short.NEW_TOKENS) == 0
        said = abi.read(abi.last_result_ptr(), 24).decode().replace(" ", "\u2423")
        assert (said in text) == shown
    first = short.first_wrong_number(data, fault(), Oracle())
    assert first is not None
    assert first.tensor == "blk.0.attn.scores"
    assert float(first.found / first.expected) == 0.5  # sqrt(D) / sqrt(H) of 4 heads
    assert f"{first.tensor}[0, 0, 0] at" in text
    assert f"{first.expected!s}, {first.found!s}" in text
    assert "won" in text


def fault() -> Hypothesis:
    return next(each for each in catalogue(Profile()) if each.name == short.WRONG)


def test_the_short_story_notices_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """GEN-7: one seed that gives two texts is no story to tell; exit code 1."""

    class Forgetful(ExportedABI):
        def generate(self, pointer: Number, length: Number, max_new_tokens: Number) -> int:
            self.set_sampling_config(0.9, 40, 0.95, self._calls)
            self._calls += 1
            return super().generate(pointer, length, max_new_tokens)

        _calls = 1

    monkeypatch.setattr(short, "ExportedABI", Forgetful)
    outcome = command("demo")
    assert outcome.code == 1
    assert "same seed" in outcome.stdout


def test_without_its_own_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """GG-1: a damaged installation has no model; the demo says so, and that installing again helps."""
    monkeypatch.setattr(resources, "INSTALLED", tmp_path)
    monkeypatch.setattr(resources, "CHECKOUT", tmp_path)
    outcome = command("demo")
    assert outcome.code == 3
    assert "install the package again" in outcome.stderr


def test_a_broken_model_has_no_story(tmp_path: Path) -> None:
    """SL-1, MEM-1: a model that does not load is reported as everywhere; one that alloc cannot hold is wrong usage."""
    path = tmp_path / "model.slm1"
    path.write_bytes(b"SLM1")
    outcome = command("demo", "--model", path)
    assert outcome.code == 1
    assert "InvalidHeader (6)" in outcome.stderr
    with path.open("wb") as file:
        file.truncate(134_217_729)
    assert command("demo", "--model", path).code == 2


@pytest.mark.slow
def test_a_screenful_in_a_terminal(tmp_path: Path) -> None:
    """FW-6: in a real terminal of 40 lines nothing scrolls away, and the first wrong number stands out in color."""
    terminal = Terminal(tmp_path, 110, 40)
    try:
        terminal.run("demo")
        screen = terminal.wait_for("left with 0")
        assert screen.startswith(f"refruntime demo with {resources.DEMO} (")
        assert "refruntime demo --all" in screen
        (line,) = [line for line in terminal.screen(colours=True).splitlines() if "first wrong number  " in line]
        assert re.search(r"\x1b\[(1m\x1b\[31|1;31|31;1)mblk\.0\.attn\.scores\[0, 0, 0\] at position 0", line)
    finally:
        terminal.stop()
