"""`refruntime seal`: what is written, what is said, and how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.wasm import WasmEngine
from refruntime.identify.seal import probes
from tests.support.checksum_builds import summing_build
from tests.support.command_line import command
from tests.support.wat_modules import build


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.slm1"
    path.write_bytes(probes()[0])
    return path


def module_file(folder: Path, data: bytes) -> Path:
    path = folder / "build.wasm"
    path.write_bytes(data)
    return path


def test_a_file_is_sealed_beside_itself(tmp_path: Path, model: Path) -> None:
    """ID-2: the sealed file loads in the build; the build and the model stay as they were."""
    build_path = module_file(tmp_path, summing_build(start=5))
    before = (build_path.read_bytes(), model.read_bytes())
    outcome = command("seal", model, "--build", build_path)
    assert outcome.code == 0, outcome.stderr
    sealed = (tmp_path / "model.sealed.slm1").read_bytes()
    assert Client(WasmEngine(before[0])).load_model(sealed) == 0
    assert Client(WasmEngine(before[0])).load_model(before[1]) == 6
    assert f"{int.from_bytes(sealed[100:108], 'little'):#018x}, read off the build's own comparison" in outcome.stdout
    assert "i64.ne at offset" in outcome.stdout
    assert (build_path.read_bytes(), model.read_bytes()) == before


def test_json_names_output_sum_and_evidence(tmp_path: Path, model: Path) -> None:
    """ID-2: a machine reads the same."""
    build_path, output = module_file(tmp_path, summing_build(start=5)), tmp_path / "out.slm1"
    document = command("seal", model, "--build", build_path, "-o", output, "--json").json
    assert (document["exit_code"], document["how"], document["output"]) == (0, "asked", str(output))
    assert int(document["checksum"], 16) == int.from_bytes(output.read_bytes()[100:108], "little")
    assert document["comparison"]["kind"] == "whole"
    assert document["loads"] > 0


def test_a_profile_seals_without_the_build(tmp_path: Path, model: Path) -> None:
    """SL-5, ID-2: the formula of a profile gives what the build would give."""
    profile, output = tmp_path / "build.toml", tmp_path / "out.slm1"
    profile.write_text(Profile(checksum_start=5).to_toml(), "utf-8")
    outcome = command("seal", model, "--profile", profile, "-o", output)
    assert (outcome.code, "computed by the formula" in outcome.stdout) == (0, True)
    assert Client(WasmEngine(summing_build(start=5))).load_model(output.read_bytes()) == 0


def test_a_build_that_verifies_nothing_is_told(tmp_path: Path, model: Path) -> None:
    """ID-2: nothing has to be sealed; the file is copied and that is said."""
    outcome = command("seal", model, "--build", module_file(tmp_path, summing_build(equal="(i32.const 1)")))
    assert outcome.code == 0
    assert "whatever its checksum field holds" in outcome.stdout
    assert (tmp_path / "model.sealed.slm1").read_bytes() == model.read_bytes()


def test_failures_say_what_was_tried_and_write_nothing(tmp_path: Path, model: Path) -> None:
    """ID-2: a build that shows no sum exits with 1, and what was tried is listed."""
    build_path = module_file(tmp_path, summing_build(before="(unreachable)"))
    outcome = command("seal", model, "--build", build_path)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "load_model does not come back from a well-formed file" in outcome.stderr
    assert "tried: watched in load_model" in outcome.stderr
    document = command("seal", model, "--build", build_path, "--json").json
    assert (document["exit_code"], document["kind"]) == (1, "trapped")
    assert document["tried"]
    assert not (tmp_path / "model.sealed.slm1").exists()


def test_files_that_cannot_be_sealed(tmp_path: Path, model: Path) -> None:
    """ID-2: what is no SLM1 file, and what the build refuses before it compares, is refused in words."""
    build_path = module_file(tmp_path, summing_build())
    model.write_bytes(b"GGUF" + bytes(200))
    assert "no SLM1 file" in command("seal", model, "--build", build_path).stderr
    model.write_bytes(b"SLM1\x02\0\0\0" + bytes(200))
    outcome = command("seal", model, "--build", build_path)
    assert (outcome.code, "before it compares checksums: status 5" in outcome.stderr) == (1, True)


def test_wrong_usage(tmp_path: Path, model: Path) -> None:
    """ABI-1: neither build nor profile, no module, another surface, no file."""
    assert command("seal", model).code == 2
    assert command("seal", model, "--build", module_file(tmp_path, b"no module")).code == 2
    assert command("seal", model, "--build", module_file(tmp_path, build(without="alloc"))).code == 1
    assert command("seal", tmp_path / "absent", "--build", model).code == 3
