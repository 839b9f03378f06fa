"""The scripts of docs that let `judge` ask other engines, with stand-ins for the packages that they import.

What a package computes is its own; tested is that a script speaks the protocol, gives each position its own row, and
hands its arguments on. `docs/judge-wllama.mjs` needs a browser that loads a real package, and is left to the matrix.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.engines.base import EngineError
from refruntime.engines.lines import LineEngine
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import F64
from tests.consumers.node import PROJECT

DOCS = PROJECT / "docs"
VOCABULARY = 8

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")

TRANSFORMERS_JS = """
import {appendFileSync} from "node:fs";
import {join} from "node:path";
export const env = {version: "9"};
const told = (what) => appendFileSync(process.env.TOLD, JSON.stringify(what) + "\\n");
export class Tensor { constructor(type, data, dims) { Object.assign(this, {type, data, dims}); } }
const model = async ({input_ids: {data, dims}, attention_mask}) => {
    const ids = Array.from(data, Number);
    if (attention_mask.dims[1] !== ids.length) throw new Error("another length");
    if (ids.includes(7)) throw new Error("no such id");
    const row = (id, at) => Array.from({length: 8}, (_, token) => (token === (id + 1) % 8 ? 9 : at + token / 16));
    const rows = ids.flatMap(row);
    return {logits: {dims: [1, dims[1], 8], data: Float32Array.from(rows)}};
};
const loads = async (name, options) => {
    told([join(env.localModelPath, name), options, env.allowRemoteModels]);
    return model;
};
const encode = (text) => Array.from(text, (letter) => letter.codePointAt() % 8);
export const AutoModelForCausalLM = {from_pretrained: loads};
export const AutoTokenizer = {from_pretrained: async () => ({encode})};
"""

NODE_LLAMA_CPP = """
export const getModuleVersion = async () => "9";
const sequence = {
    clearHistory: async () => {},
    controlledEvaluate: async (input) => input.map((one) => {
        if (!Array.isArray(one)) return undefined;
        const likely = (one[0] + 1) % 8;
        return {next: {probabilities: new Map([[likely, 0.75], [(likely + 1) % 8, 0.25], [(likely + 2) % 8, 0]])}};
    })
};
const model = {
    fileInfo: {metadata: {tokenizer: {ggml: {tokens: Array(8)}}}},
    tokens: {shouldPrependBosToken: true, bos: 1},
    tokenize: (text) => Array.from(text, (letter) => letter.codePointAt() % 8),
    createContext: async (options) => {
        if (options.contextSize !== 64) throw new Error("options");
        return {getSequence: () => sequence};
    }
};
export const getLlama = async () => ({loadModel: async () => model});
"""

MISTRALRS = """
from types import SimpleNamespace as Some
print("what the package writes to its standard output")
class Which:
    GGUF = staticmethod(lambda **named: named)
ChatCompletionRequest = lambda **named: Some(**named)
class Runner:
    def __init__(self, which, chat_template):
        assert which["quantized_filename"] == "model.gguf" and open(chat_template).read()
    def tokenize_text(self, text, add_special_tokens, enable_thinking):
        return [1, *(ord(letter) - ord("a") for letter in text)]
    def detokenize_text(self, ids, skip_special_tokens):
        return "".join(chr(ord("a") + one) for one in ids[1:])
    def send_chat_completion_request(self, request):
        last = self.tokenize_text(request.messages[0]["content"], True, False)[-1]
        tops = [Some(token=(last + shift) % 8, logprob=-float(shift)) for shift in range(1, 9)]
        return Some(choices=[Some(logprobs=Some(content=[Some(top_logprobs=tops)]))])
"""


def installed(folder: Path, script: str, package: str, source: str) -> Path:
    """Put a script of docs beside a package of npm."""
    place = folder / "node_modules" / package
    place.mkdir(parents=True)
    (place / "index.mjs").write_text(source)
    (place / "package.json").write_text(json.dumps({"name": package, "exports": "./index.mjs"}))
    return Path(shutil.copy(DOCS / script, folder))


@pytest.fixture
def transformers_js(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the script, and let its stand-in tell what it was asked for."""
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    return installed(tmp_path, "judge-transformers-js.mjs", "@huggingface/transformers", TRANSFORMERS_JS)


def told(folder: Path) -> list[object]:
    """Return what was told last."""
    return list(json.loads((folder / "told").read_text().splitlines()[-1]))


@needs_node
def test_transformers_js(transformers_js: Path) -> None:
    """A folder is loaded from the disk alone; rows are those of the positions, errors are answers."""
    folder = transformers_js.parent / "some folder"
    engine = LineEngine(["node", str(transformers_js), str(folder), '{"dtype": "fp16"}'], VOCABULARY)
    try:
        assert (engine.name, engine.kind) == ("transformers.js 9", "logits")
        assert engine.tokenize("abc") == [1, 2, 3]
        rows = engine.rows([1, 2, 3], [0, 2])
        assert rows.argmax(axis=1).tolist() == [2, 4]
        assert rows[1, 0] == 2  # the position of the whole
        assert engine.greedy([1], 3) == [2, 3, 4]
        with pytest.raises(EngineError, match="no such id"):
            engine.rows([7], [0])
        assert engine.rows([1], [0]).shape == (1, VOCABULARY)  # it goes on behind an error
    finally:
        engine.close()
    assert told(transformers_js.parent) == [str(folder), {"dtype": "fp16", "device": "cpu"}, False]


@needs_node
@pytest.mark.skipif(os.name != "posix", reason="a stand-in for Python is a shell script")
def test_transformers_js_makes_a_folder_of_a_file(transformers_js: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a GGUF file `onnx-folder.py` beside the script makes a folder, which is gone with the program."""
    bin_folder = transformers_js.parent / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").write_text('#!/bin/sh\necho said by it; touch "$3/made"; echo "$@" > "$TOLD.arguments"\n')
    (bin_folder / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=os.pathsep)
    engine = LineEngine(["node", str(transformers_js), "model.gguf"], VOCABULARY)
    try:
        assert engine.name == "transformers.js 9"
        made = Path(str(told(transformers_js.parent)[0]))
        assert (made / "made").exists()
        arguments = Path(os.environ["TOLD"] + ".arguments").read_text().split()
        assert arguments == [str(transformers_js.parent / "onnx-folder.py"), "model.gguf", str(made)]
    finally:
        engine.close()
    assert not made.exists()


@needs_node
def test_node_llama_cpp(tmp_path: Path) -> None:
    """Probabilities become logarithms, 0 one that is far below all, and what is not told stays open."""
    script = installed(tmp_path, "judge-node-llama-cpp.mjs", "node-llama-cpp", NODE_LLAMA_CPP)
    engine = LineEngine(["node", str(script), "model.gguf", '{"contextSize": 64}'], VOCABULARY)
    try:
        assert (engine.name, engine.kind) == ("node-llama-cpp 9", "log probabilities")
        assert engine.tokenize("bc") == [1, 2, 3]
        rows = engine.rows([1, 2, 3], [0, 2])
        assert np.exp(rows[0, 2:4]) == pytest.approx([0.75, 0.25])
        assert rows[0, 4] < -1e29
        assert np.isnan(rows[0, [0, 1, 5, 6, 7]]).all()
        assert engine.greedy([1], 3) == [2, 3, 4]
    finally:
        engine.close()


def test_mistral_rs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are spelt as a text that has them, else nothing is told; what the package prints is no answer."""
    (tmp_path / "mistralrs.py").write_text(MISTRALRS)
    distribution = tmp_path / "mistralrs-9.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: mistralrs\nVersion: 9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = str(DOCS / "judge-mistralrs.py")
    engine = LineEngine([sys.executable, script, "models/model.gguf", "kv=f32"], VOCABULARY)
    try:
        assert (engine.name, engine.kind) == ("mistral.rs 9", "log probabilities")
        assert engine.tokenize("cd") == [1, 2, 3]
        rows = engine.rows([1, 2, 3], [1, 2])
        assert rows[[0, 0, 1], [3, 4, 4]].tolist() == [-1.0, -2.0, -1.0]
        assert not np.isnan(rows).any()
        assert engine.greedy([1, 2], 2) == [3, 4]
        assert np.isnan(engine.rows([5, 2], [1])).all()  # no text begins without BOS
    finally:
        engine.close()


@pytest.mark.package
def test_onnx_of_a_file(tmp_path: Path) -> None:
    """The ONNX file of a model of goldens computes our logits, whatever the number of tokens."""
    for package in ("torch", "transformers", "accelerate"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    onnx = pytest.importorskip("onnx.reference", reason="onnx is not installed")
    path = PROJECT / "golden/models/stories.f32.gguf"
    command = [sys.executable, "-W", "ignore", str(DOCS / "onnx-folder.py"), str(path), str(tmp_path)]
    subprocess.run(command, check=True, timeout=300)
    assert {"config.json", "tokenizer.json"} <= {each.name for each in tmp_path.iterdir()}
    evaluator = onnx.ReferenceEvaluator(str(tmp_path / "onnx/model.onnx"))
    transformer = Transformer(validate_model(path.read_bytes(), Profile()), Profile(), F64())
    for ids in ([256, 70, 101], [256, 1, 34, 9, 80, 120, 33]):
        inputs = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        (rows,) = evaluator.run(None, inputs)
        ours = transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids))
        np.testing.assert_allclose(rows[0], ours, atol=1e-3)
