"""Every command that looks into a build gives it files with the checksum that it computes itself (ID-2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.client import Client
from refruntime.commands.variation import read_off
from refruntime.contract.profile import Profile
from refruntime.engines.wasm import WasmEngine
from refruntime.identify.sealed_engine import fit_module
from refruntime.numerics.varied import PLAIN
from tests.support.command_line import command
from tests.support.foreign_guest import OTHER_START, foreign_guest

ROOT = Path(__file__).resolve().parents[3]
MUTANT = ROOT / "tests" / "guest" / "mutants" / "guest-bug-attention_scale_hidden.wasm"
SMALL = ROOT / "golden" / "models" / "small.q8_0.slm1"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "build.wasm"
    path.write_bytes(foreign_guest(MUTANT))
    assert Client(WasmEngine(path.read_bytes())).load_model(SMALL.read_bytes()) == 6
    return path


@pytest.mark.slow
def test_witness_seals_the_model(build: Path) -> None:
    """FW-6, ID-2: the wrong number of a build is found though no file in the world has its checksum."""
    outcome = command("witness", build, "--model", SMALL, "--prompt", "Once", "--json", "-")
    assert outcome.code == 1, outcome.stderr
    assert outcome.json["first"]["tensor"] == "blk.0.attn.scores"


def test_witness_takes_a_model_that_was_sealed_for_the_build(build: Path, tmp_path: Path) -> None:
    """ID-2: the oracle reads the build's own file too."""
    met = fit_module(build.read_bytes(), Profile())
    own = tmp_path / "own.slm1"
    own.write_bytes(met.fit(SMALL.read_bytes()))
    assert own.read_bytes() != SMALL.read_bytes()
    outcome = command("witness", build, "--model", own, "--prompt", "Once", "--json", "-")
    assert outcome.code == 1, outcome.stderr
    assert outcome.json["first"]["tensor"] == "blk.0.attn.scores"


def test_words_of_the_repl_seal_the_model(build: Path) -> None:
    """ID-2: `witness` looks into the build of `--wasm` under the build's own checksum."""
    outcome = command("repl", SMALL, "--wasm", build, stdin=b"generate Once 1\nwitness\n")
    assert "attn.scores" in outcome.stdout, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("known", [False, True])
def test_orders_are_read_off_a_sealed_model(build: Path, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """ID-2, ID-4: the build runs, with the formula in the profile or asked from it; reading off is tested elsewhere."""
    monkeypatch.setattr("refruntime.witness.orders.fit", lambda evidence, advance: evidence)
    profile = Profile.from_choices({"SL-5.start": OTHER_START}) if known else Profile()
    model = random_model(3, Shape(hidden=8, layers=1, heads=2, ffn=12, capacity=8), profile=Profile())
    evidence = read_off(build.read_bytes(), model, b"abc", profile, 60.0)
    rows = [row for _, row in evidence.rows(PLAIN, ("blk.0.attn_norm",))]
    assert rows
    assert all(evidence.known(row).all() for row in rows)
