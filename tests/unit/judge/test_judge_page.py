"""docs/judging-an-engine.md: every command runs as it stands there, on engines that the oracle answers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from refruntime.api import open_model
from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model
from refruntime.numerics import Fast
from tests.support.asked_engines import DUMPED_IDS, Dumping, dumped, llama_answers, llama_package, logs_of, serving
from tests.support.command_line import command

PROJECT = Path(__file__).parents[3]
MODEL = PROJECT / "golden/models/stories.f32.gguf"
PAGE = (PROJECT / "docs" / "judging-an-engine.md").read_text("utf-8")
BLOCK = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[0]
SERVER = "http://127.0.0.1:8080"

NODE_LLAMA_CPP = """
import {readFileSync} from "node:fs";
const {ids, rows, bos, vocabulary} = JSON.parse(readFileSync(new URL("rows.json", import.meta.url)));
const sequence = {
    clearHistory: async () => {},
    controlledEvaluate: async (input) => input.map((each, at) => {
        const [id, asked] = Array.isArray(each) ? each : [each, null];
        if (id !== ids[at]) throw new Error(`token ${id} at ${at}, ${ids[at]} was expected`);
        return asked && {next: {probabilities: new Map(rows[at].map((share, token) => [token, share]))}};
    }),
};
export const getModuleVersion = async () => "0";
export const getLlama = async () => ({
    loadModel: async ({modelPath}) => ({
        createContext: async () => ({getSequence: () => sequence}),
        fileInfo: {metadata: {tokenizer: {ggml: {tokens: Array(vocabulary)}}}},
        tokens: {shouldPrependBosToken: true, bos},
        tokenize: (text) => ids.slice(1, ids.length - 16),
        path: modelPath,
    }),
});
"""
"""What stands for node-llama-cpp: probabilities of one text and its greedy continuation of 16 tokens."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the commands name, in which they run."""
    shutil.copy(MODEL, tmp_path / "model.gguf")
    model = open_model(MODEL, numerics="fast")
    np.savez(tmp_path / "theirs.npz", logits=model.logits(DUMPED_IDS), ids=np.array(DUMPED_IDS))
    right = Dumping("", lambda values: values)
    np.savez(tmp_path / "hooks.npz", **dumped(validate_model(MODEL.read_bytes(), Profile()), right, Fast()))  # type: ignore[arg-type]
    (tmp_path / "docs").mkdir()
    shutil.copy(PROJECT / "docs" / "judge-node-llama-cpp.mjs", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def node_package(folder: Path) -> None:
    """Write what stands for node-llama-cpp where Node finds it."""
    from refruntime.commands.judge import TEXT

    model = open_model(MODEL, numerics="fast")
    ids = model.tokenize(TEXT.encode() if isinstance(TEXT, str) else TEXT)
    rows = []
    for at in range(len(ids) + 16):
        if at >= len(ids):
            ids.append(int(np.argmax(rows[-1])))
        rows.append(np.exp(logs_of(model, ids[: at + 1])).tolist())
    package = folder / "node_modules" / "node-llama-cpp"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "node-llama-cpp", "type": "module", "exports": "./index.mjs"}')
    (package / "index.mjs").write_text(NODE_LLAMA_CPP)
    document = {"ids": ids, "rows": rows, "bos": ids[0], "vocabulary": model.tokenizer.vocab_size}
    (package / "rows.json").write_text(json.dumps(document))


@pytest.mark.slow
@pytest.mark.parametrize("line", BLOCK.splitlines())
def test_command(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing blames an engine that computes in float32; every source is reached as the page says."""
    _, *words = shlex.split(line, comments=True)
    if "--node" in words:
        if shutil.which("node") is None:
            pytest.skip("Node is not installed")
        node_package(folder)
    monkeypatch.setitem(sys.modules, "llama_cpp", llama_package(MODEL))
    with serving(llama_answers(MODEL)) as address:
        outcome = command(*(address if word == SERVER else word for word in words))
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    said = " ".join(outcome.stdout.split())
    assert re.search(r"ROUNDING|EQUAL|every tensor is what rounding makes", said), said


def test_every_source_is_shown() -> None:
    """The page has a command for each way to ask."""
    asked = re.findall(r"--(server|python|node|logits|layers) ", BLOCK)
    assert sorted(asked) == ["layers", "logits", "node", "python", "server"]
