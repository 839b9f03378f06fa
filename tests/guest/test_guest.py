"""The guest itself: its surface, its build record, its switches, and what other people's software says about it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
from pathlib import Path

import pytest

from tests.guest import build

wasmtime = pytest.importorskip("wasmtime")

from tests.guest.dialects import Dialect  # noqa: E402
from tests.guest.host import Host  # noqa: E402
from tests.support.toolchain import needed_toolchain  # noqa: E402

GUEST = Path(build.GUEST)
CLEAN = GUEST / "guest.wasm"
ARCHITECTURES = sorted((GUEST / "architectures").glob("*.wasm"))
MUTANTS = sorted((GUEST / "mutants").glob("*.wasm"))
PAGE_BYTES = 65536


SIGNATURES = {
    "alloc": (["i32"], ["i32"]),
    "dealloc": (["i32", "i32"], []),
    "init_runtime": ([], ["i32"]),
    "load_model": (["i32", "i32"], ["i32"]),
    "set_sampling_config": (["f32", "i32", "f32", "i64"], ["i32"]),
    "generate": (["i32", "i32", "i32"], ["i32"]),
    "generate_next_token": ([], ["i32"]),
    "last_result_ptr": ([], ["i32"]),
    "last_result_len": ([], ["i32"]),
    "get_diagnostics_ptr": ([], ["i32"]),
    "get_diagnostics_len": ([], ["i32"]),
    "reset_context": ([], ["i32"]),
    "free_model": ([], ["i32"]),
}


@pytest.mark.parametrize(
    "module",
    [CLEAN, *(pytest.param(module, marks=pytest.mark.slow) for module in MUTANTS)],
    ids=lambda path: path.stem,
)
def test_surface_is_the_published_one(module: Path) -> None:
    """ABI-1, ABI-2: nothing imported; the 13 functions with their wasm types and the memory exported, nothing else."""
    compiled = wasmtime.Module.from_file(wasmtime.Engine(), str(module))
    assert list(compiled.imports) == []
    functions = {}
    for export in compiled.exports:
        if isinstance(export.type, wasmtime.FuncType):
            functions[export.name] = (
                [str(kind) for kind in export.type.params],
                [str(kind) for kind in export.type.results],
            )
        else:
            assert export.name == "memory"
    assert functions == SIGNATURES


@pytest.mark.parametrize("module", [CLEAN, *MUTANTS], ids=lambda path: path.stem)
def test_record_belongs_to_module(module: Path) -> None:
    """ABI-5: a module is known by its hash, so the record beside it must be that of its bytes."""
    record = json.loads(module.with_name(module.name + ".json").read_text("utf-8"))
    binary = module.read_bytes()
    assert record["sha256"] == hashlib.sha256(binary).hexdigest()
    assert record["size"] == len(binary)
    assert module.name == build.file_name(record["options"], record["bugs"])
    assert set(record["bugs"]) <= set(build.load_bugs())


def test_mutants_are_different_modules() -> None:
    """ABI-5: a seeded bug that compiles to the clean module, or to another's, would prove nothing."""
    assert len(MUTANTS) >= 10
    hashes = {hashlib.sha256(module.read_bytes()).hexdigest() for module in [CLEAN, *MUTANTS]}
    assert len(hashes) == len(MUTANTS) + 1


def test_tables_name_the_switches_of_the_source() -> None:
    """ERR-4, ST-5: every option and bug of the tables is a switch in the source, and the other way round."""
    source = "".join(path.read_text("utf-8") for path in sorted((GUEST / "src").glob("*.rs")))
    assert set(re.findall(r'\bbug = "(\w+)"', source)) - {"..."} == set(build.load_bugs())
    assert set(re.findall(r'\boption = "(\w+)"', source)) == set(build.option_names())
    for rule, texts in build.load_options().items():
        assert list(texts.values()).count(None) == 1, rule


def test_every_bug_says_what_it_breaks() -> None:
    """ABI-5: family, rule and description of every seeded bug; at least forty of them."""
    bugs = build.load_bugs()
    assert len(bugs) >= 40
    for name, bug in bugs.items():
        assert set(bug) == {"family", "rule", "description"}, name
        assert re.fullmatch(r"[A-Z]{2,3}-\d+", bug["rule"]), name


def test_two_options_of_one_rule_are_refused(tmp_path: Path) -> None:
    """PR-1: one rule has one option at a time."""
    with pytest.raises(build.BuildError, match="PR-1: only one option"):
        build.build(tmp_path, options=["pr1_star", "pr1_7_9_8"])


def test_every_option_can_be_declared() -> None:
    """ABI-5: what a module declares of its options is one choice for each, and no two options are the same choice."""
    choices = [build.declared_choices([name]) for name in build.option_names()]
    assert all(len(choice) == 1 for choice in choices)
    assert len({tuple(choice.items()) for choice in choices}) == len(choices)
    assert build.declared_choices(["pr4_load_reseeds", "sc3_no"]) == {"PR-4.load": "reseeded", "SC-3": "no"}


def test_options_can_be_combined() -> None:
    """SA-3, SL-1: one option of every rule at once is declared whole, and has a name that a file can have."""
    chosen = [next(cfg for cfg in texts.values() if cfg is not None) for texts in build.load_options().values()]
    assert len(build.declared_choices(chosen)) == len(chosen) > 25
    assert len(build.file_name(chosen, ["top_k_off_by_one"])) < 255
    assert build.file_name(chosen, []) != build.file_name(chosen[1:], [])
    assert build.file_name(["sc3_no"], []) == "guest-option-sc3_no.wasm"


def test_unknown_switches_are_refused(tmp_path: Path) -> None:
    """ST-2: a misspelt switch must not build the default silently."""
    with pytest.raises(build.BuildError, match="unknown option 'st2'"):
        build.build(tmp_path, options=["st2"])
    with pytest.raises(build.BuildError, match="unknown bug 'none'"):
        build.build(tmp_path, bugs=["none"])
    assert list(tmp_path.iterdir()) == []


def test_custom_section_is_valid_and_readable(tmp_path: Path) -> None:
    """ABI-5: a module with the section still compiles, and the section can be found by a plain walk over the ids."""
    payload = json.dumps({"contract": "0.1.0", "padding": "x" * 300}).encode()
    module = CLEAN.read_bytes() + build.custom_section(build.ABI_SECTION, payload)
    wasmtime.Module(wasmtime.Engine(), module)
    name = build.ABI_SECTION.encode()
    body = bytes([len(name)]) + name + payload
    # 300-odd bytes need a two-byte LEB128 length.
    assert module.endswith(bytes([0, len(body) & 0x7F | 0x80, len(body) >> 7]) + body)


@pytest.mark.slow
@pytest.mark.parametrize("module", [CLEAN, *ARCHITECTURES], ids=lambda path: path.stem[:30])
def test_build_is_reproducible(module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-5: the source gives a stored module, byte for byte, in another directory too."""
    tools = needed_toolchain()
    stored = json.loads(module.with_name(module.name + ".json").read_text("utf-8"))
    if tools.version != stored["compiler"]:
        pytest.skip(f"the stored module was built by {stored['compiler']}, here is {tools.version}")
    copy = tmp_path / "elsewhere"
    shutil.copytree(GUEST, copy)
    monkeypatch.setattr(build, "GUEST", copy)
    dialect = Dialect.of(stored.get("dialect", ()))
    built = build.build(tmp_path / "out", options=stored["options"], dialect=dialect, toolchain=tools)
    assert built.sha256 == stored["sha256"]


def test_slice_past_memory_traps_and_keeps_the_lock() -> None:
    """MEM-6, ERR-2: the last byte of memory is fine; one more traps, and from then on 13 and 0 while alloc works."""
    host = Host(CLEAN)
    # The first refused load may grow memory; the second finds it as large as it stays.
    assert host.call("load_model", 16, 4) == 4
    size = host.exports["memory"].data_len(host.store)
    assert size % PAGE_BYTES == 0
    assert host.call("load_model", size - 4, 4) == 4
    assert host.exports["memory"].data_len(host.store) == size
    with pytest.raises(wasmtime.Trap):
        host.call("load_model", size - 4, 5)
    assert host.call("init_runtime") == 13
    assert host.call("load_model", 0, 0) == 13
    assert host.call("set_sampling_config", 0.0, 1, 1.0, 1) == 13
    for getter in ("last_result_ptr", "last_result_len", "get_diagnostics_ptr", "get_diagnostics_len"):
        assert host.call(getter) == 0
    assert host.call("alloc", 16) != 0


def test_checks_of_a_slice_come_in_order() -> None:
    """MEM-1, MEM-2, GEN-1: null before length, length before the end of memory, model before count."""
    host = Host(CLEAN)
    limit = 134_217_728
    assert host.call("alloc", 0) == 0
    assert host.call("alloc", limit + 1) == 0
    assert host.call("load_model", 0, 0) == 1
    assert host.call("load_model", 16, 0) == 2
    assert host.call("load_model", 16, limit + 1) == 2
    assert host.generate(b"\xff", 0) == 3
    assert host.generate(b"a", 0) == 12
    assert host.call("generate_next_token") == 12
    assert host.diagnostics()["last_error"] == "model not loaded"


@pytest.mark.parametrize(
    ("model", "status"),
    [
        (b"SLM", 4),
        (b"SLM2" + bytes(200), 4),
        (b"SLM1" + bytes(103), 6),
        (b"SLM1" + struct.pack("<I", 2) + bytes(100), 5),
        (b"SLM1" + struct.pack("<I", 1) + bytes(100), 6),
        (b"GGUF" + struct.pack("<I", 1), 5),
        (b"GGUF" + struct.pack("<I", 3), 6),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0), 6),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), 6),
    ],
)
def test_broken_files_have_their_status(model: bytes, status: int) -> None:
    """SL-1, GG-1, GG-2, GG-4: magic, then length, then version, then header."""
    host = Host(CLEAN)
    assert host.load(model) == status
    assert host.diagnostics()["model_loaded"] is False


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_greedy_text_is_that_of_llama_cpp(shared_data: Path, kind: str) -> None:
    """GG-5, GG-6, GG-8, FW-2: prompt ids and 200 greedy tokens equal llama.cpp's; its margins are no near ties."""
    expected = json.loads((shared_data / "real" / f"stories260K-{kind}.greedy.json").read_text("utf-8"))
    host = Host(CLEAN)
    assert host.load((shared_data / "real" / f"stories260K-{kind}.gguf").read_bytes()) == 0
    for case in expected["greedy"]:
        assert case["min_margin"] > 1e-4
        assert host.generate(case["prompt"].encode(), 200) == 0
        shown = host.diagnostics()
        assert shown["tokenizer_output"] == ",".join(map(str, case["prompt_ids"]))
        assert host.result() == bytes.fromhex(case["bytes"])
        assert shown["generated_tokens"] == len(case["ids"])
        assert shown["quantization"] == kind


def test_prompt_ids_are_those_of_llama_cpp(shared_data: Path) -> None:
    """GG-5: every nasty text that fits the context is cut into llama.cpp's tokens."""
    cases = json.loads((shared_data / "real" / "stories260K-f32.cases.json").read_text("utf-8"))["cases"]
    host = Host(CLEAN)
    assert host.load((shared_data / "real" / "stories260K-f32.gguf").read_bytes()) == 0
    compared = 0
    for case in cases:
        if not case["text"]:
            continue
        status = host.generate(case["text"].encode(), 1)
        if len(case["ids_add_special"]) >= 512:
            assert status == 11
            continue
        assert status in (0, 3)  # 3: the one sampled token is half a character
        if status == 0:
            assert host.diagnostics()["tokenizer_output"] == ",".join(map(str, case["ids_add_special"])), case["text"]
            compared += 1
    assert compared > 100
