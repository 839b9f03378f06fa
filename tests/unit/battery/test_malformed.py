"""Malformed files: the oracle answers each with the status of its recipe, in bounds; so does an independent build."""

from __future__ import annotations

import hashlib
import json
import time
import tracemalloc
from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import pytest

from refruntime.battery.malformed.catalogue import malformed_files
from refruntime.battery.malformed.gguf import SHAPE
from refruntime.battery.malformed.recipe import Malformed
from refruntime.battery.models.gguf import U16, llama_model, value
from refruntime.client import Client
from refruntime.contract.rules import load_contract
from refruntime.contract.status import Status
from refruntime.engines.base import Engine
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from tests.support.builds import GUEST, wasm_build
from tests.support.command_line import command

CVES = (
    *("2024-21802", "2024-23496", "2024-23605", "2024-25664", "2024-25665", "2024-25666", "2024-25667"),
    *("2025-49847", "2025-53630", "2026-33298", "2026-7482"),
)
MOST_SECONDS = 2.0


@cache
def malformed() -> tuple[Malformed, ...]:
    """Return all files, which take a second to make."""
    return tuple(malformed_files())


def wrong_answers(engine: Engine, files: Sequence[Malformed]) -> list[str]:
    """Return the files that an engine answers otherwise than their recipes, or with too much processor time."""
    client, wrong = Client(engine), []
    for file in files:
        began = time.process_time()
        status = client.load_model(file.data)
        seconds = time.process_time() - began
        if status != file.status or seconds > MOST_SECONDS:
            wrong.append(f"{file.name}: {file.status!r} ({file.rule}), found {status} in {seconds:.2f} s")
    return wrong


def test_the_oracle_answers_as_the_recipes_say() -> None:
    """GG-1, GG-2, GG-3, GG-4, GG-13, SL-1, SL-2, SL-3, SL-5, SL-6, SL-7: every file, each in bounds of time."""
    assert wrong_answers(ReferenceEngine(ExportedABI()), malformed()) == []


def test_an_independent_build_answers_as_the_recipes_say() -> None:
    """GG-3, SL-1, ID-1: the guest shares no code with the oracle. It has few block types, which it refuses with 10."""
    blocks = [file for file in malformed() if file.check == "block size"]
    others = [file for file in malformed() if file not in blocks]
    assert wrong_answers(wasm_build(GUEST)(), others) == []
    client = Client(wasm_build(GUEST)())
    assert {client.load_model(file.data) for file in blocks} <= {Status.InvalidTensorDirectory, Status.UnsupportedDType}
    assert len(others) > 3900


def test_what_stands_behind_a_nul_is_no_part_of_a_name() -> None:
    """CL-gguf: a name ends before its first NUL; a file is whole with a `split.count` of 0 or 1."""
    plain = llama_model(500, SHAPE)
    named = plain.with_tensor("output_norm.weight", name=b"output_norm.weight\0token_embd.weight")
    wholes = [plain.with_keys(split__count=value(U16, count)) for count in (0, 1)]
    for engine in (ReferenceEngine(ExportedABI()), wasm_build(GUEST)()):
        client = Client(engine)
        answers = []
        for file in (plain, named, *wholes):
            assert client.load_model(file.data) == Status.Ok
            client.check(client.generate(b"a", 2))
            answers.append((client.result(), json.loads(client.diagnostics())["top_tokens"]))
        assert answers == answers[:1] * 4


def test_whole_numbers_are_no_malformed_weights() -> None:
    """GG-3, GG-8: i32 is neither unknown nor removed, so it loads; each number is rounded once, to float32."""
    answers = []
    for kind, layout in ((26, "<i4"), (0, "<f4")):
        plain = llama_model(500, SHAPE)
        for tensor in plain.tensors:
            if tensor.name == b"blk.0.ffn_down.weight":
                numbers = np.arange(prod(tensor.dimensions)) % 5 - 2
                plain = plain.with_tensor("blk.0.ffn_down.weight", type=kind, payload=numbers.astype(layout).tobytes())
        client = Client(ReferenceEngine(ExportedABI()))
        assert client.load_model(plain.data) == Status.Ok
        statuses = [client.generate(prompt, 1) for prompt in (b"a", b"th", b"hello")]
        client.check(min(statuses))
        shown = json.loads(client.diagnostics())
        answers.append((statuses, client.result(), shown["top_tokens"], shown["logits_summary"]))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("step", [18, pytest.param(1, marks=pytest.mark.slow)])
def test_memory_of_a_load_is_bounded_by_the_file(step: int) -> None:
    """GG-3, MEM-1: no load takes more than ten times the file and 64 MB, whatever the file claims."""
    files = malformed()[::step]
    tracemalloc.start()
    try:
        for file in files:
            client = Client(ReferenceEngine(ExportedABI()))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            client.load_model(file.data)
            assert tracemalloc.get_traced_memory()[1] - before < 10 * len(file.data) + 64 * 2**20, file.name
    finally:
        tracemalloc.stop()


def test_the_corpus_is_large_and_names_what_it_rests_on() -> None:
    """GG-3: at least 1,500 files, no two alike, each after a rule that exists; public CVEs are named."""
    assert len(malformed()) >= 1500
    assert len({file.name for file in malformed()}) == len({file.data for file in malformed()}) == len(malformed())
    rules = load_contract().rules
    known = {rule.id for rule in (rules.values() if isinstance(rules, dict) else rules)}
    assert {file.rule for file in malformed()} <= known
    checks = " ".join({file.check for file in malformed()})
    assert [cve for cve in CVES if cve not in checks] == []
    loads = {Status(number) for number in (4, 5, 6, 7, 8, 9, 10)}
    assert {file.status for file in malformed()} == loads


@pytest.mark.slow
def test_corpus_write(tmp_path: Path) -> None:
    """GG-3: the command writes every file and an index that fits; a folder with something in it stays as it is."""
    folder = tmp_path / "malformed"
    outcome = command("corpus", "write", folder)
    assert outcome.code == 0
    assert f"{len(malformed())} files" in outcome.stdout
    index = json.loads((folder / "INDEX.json").read_text())
    assert sum(row["files"] for row in index["checks"]) == len(index["files"]) == len(malformed())
    for entry in index["files"][::50]:
        assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert command("corpus", "write", folder).code == 2
    document = command("corpus", "write", tmp_path / "again", "--json").json
    assert (document["files"], document["checks"]) == (len(malformed()), index["checks"])
