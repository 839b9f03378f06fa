"""Desks and shells for tests: small models, the guest as a build, words run one after the other."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.golden.corpus import Corpus
from refruntime.repl.node import Branches
from refruntime.repl.shell import LineResult, Shell
from refruntime.repl.tools import Tools
from refruntime.repl.words.table import all_words
from refruntime.session.compared import ComparedBuild
from refruntime.session.session import Session
from refruntime.show.text import as_string
from tests.support.synthetic import SMALL, random_weights, slm1_file

PROJECT = Path(__file__).resolve().parents[2]
GUEST = PROJECT / "tests" / "guest" / "guest.wasm"
MUTANTS = PROJECT / "tests" / "guest" / "mutants"
STORIES = PROJECT / "golden" / "models" / "stories.q8_0.slm1"
TINY = {**SMALL, "hidden_size": 16, "layer_count": 1, "head_count": 2, "ffn_size": 24, "max_context": 24}


@functools.cache
def tiny_model(seed: int = 5) -> bytes:
    """Return a small model whose logits spread widely, so that sampling says every byte, also what is no UTF-8."""
    weights = random_weights(seed, **TINY)
    weights["output.weight"] = (weights["output.weight"] / np.float32(2)).astype(np.float32)
    return slm1_file(weights, **TINY)


@functools.cache
def module(path: Path) -> WasmModule:
    return WasmModule(path.read_bytes())


def build(path: Path = GUEST) -> ComparedBuild:
    data = path.read_bytes()
    return ComparedBuild(path.name, data, hashlib.sha256(data).hexdigest(), lambda: fresh(path))


def fresh(path: Path = GUEST) -> Engine:
    return WasmEngine(module(path))


def shell(
    model: bytes | Path, profile: Profile | None = None, golden: Path = PROJECT / "golden", **rest: object
) -> Shell:
    """Return a shell behind `load` of a model."""
    name = model.stem if isinstance(model, Path) else "tiny"
    tools = Tools(profile if profile is not None else Profile(), models={name: model}, golden=Corpus(golden), **rest)
    return Shell(tools, all_words(), Branches(tools.opened(name)))


def say(talk: Shell, *lines: str) -> LineResult:
    """Run lines that must all be obeyed; returns what became of the last one."""
    outcome = LineResult(0)
    for line in lines:
        outcome = talk.obey(line)
        assert outcome.code == 0, (line, outcome.error, outcome.traceback)
    return outcome


def bits(session: Session | None) -> object:
    """Return everything that a state decides, bit for bit: ids, calls, generators, configuration, next logits."""
    if session is None:
        return None
    state = session.state
    logits = session.next_logits.tobytes() if state.prompt_ids and len(session.ids) else b""
    taken = tuple(
        (each.token, each.choice.token, each.generator, each.owner, each.position, each.forced, each.logits.tobytes())
        for each in state.taken
    )
    generators = state.generate_generator, state.runtime_generator
    return session.ids, state.script, generators, state.owner, state.sampling, taken, state.unspeakable, logits


DRAWN = ("set temperature=1 top_k=260 seed=3", 'prompt "Once upon"')


def shown(outcome: LineResult) -> str:
    """Return what people see of an answer."""
    assert outcome.answer is not None
    return as_string(outcome.answer.shown, 160)


def golden_folder(folder: Path) -> Path:
    (folder / "models").mkdir(parents=True)
    (folder / "models" / STORIES.name).write_bytes(STORIES.read_bytes())
    return folder
