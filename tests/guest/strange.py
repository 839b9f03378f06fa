"""Hold a strange build against the oracle, through what its truth says about it: statuses, results, diagnostics.

Only the truth that was written beside the build is used, nothing that a tool of the package found out about it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from refruntime.battery.models.gguf import LlamaShape, llama_model, value
from refruntime.battery.models.slm1 import Shape, btok_section, random_model
from refruntime.client import Client
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.engines.reference import ReferenceEngine
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.exports import ExportedABI
from tests.guest.dialect_reader import contract_document
from tests.guest.dialects import CHECKSUM_GROUPS, Dialect, checksum

MESSAGES = (
    "null pointer",
    "invalid length",
    "invalid utf-8",
    "invalid model magic",
    "unsupported model version",
    "invalid header",
    "invalid tensor directory",
    "missing tensor",
    "shape mismatch",
    "unsupported dtype",
    "context exceeded",
    "model not loaded",
    "generation failed",
    "output buffer exceeded",
)
F32_VALUE = 6


@dataclass(frozen=True)
class ModelFile:
    """A file, the features that it needs, and the status of a build that lacks one of them."""

    name: str
    data: bytes
    needs: tuple[str, ...] = ()
    refusal: int = 10


def bpe1_section(vocab: int) -> bytes:
    """Return a BPE1 section with three merges (SL-9)."""
    records = [(260, b"th"), (261, b"the"), (262, b"an")]
    merges = [(ord("t"), ord("h"), 260, 0), (260, ord("e"), 261, 1), (ord("a"), ord("n"), 262, 2)]
    section = b"BPE1" + struct.pack("<8I", 1, vocab, 256, 257, 258, 259, len(records), len(merges))
    section += b"".join(struct.pack("<2I", number, len(text)) + text for number, text in records)
    return section + b"".join(struct.pack("<4I", *merge) for merge in merges)


@cache
def models(profile: Profile) -> tuple[ModelFile, ...]:
    """Return small models of every kind that a guest may read; SLM1 files are sealed for `profile`."""
    bpe1 = random_model(5, Shape(vocab=300), tokenizer=bpe1_section(300), profile=profile)
    scaling: dict[str, Any] = {
        "llama.rope.scaling.type": value(8, b"linear"),
        "llama.rope.scaling.factor": value(F32_VALUE, 4.0),
    }
    return (
        ModelFile("f32", random_model(1, profile=profile)),
        ModelFile("f32-wide", random_model(2, Shape(270, 48, 3, 6, 80), tokenizer=btok_section(270), profile=profile)),
        ModelFile("q8_0", random_model(3, dtype=DType.Q8_0, profile=profile), ("q8_0",)),
        ModelFile("q4_0", random_model(4, dtype=DType.Q4_0, block_size=8, profile=profile), ("q4_0",)),
        ModelFile("bpe1", bpe1, ("bpe1",), 6),
        ModelFile("gguf", llama_model(6, LlamaShape()).data, ("gguf",), 4),
        ModelFile("gguf-f16", llama_model(7, LlamaShape(type=1, kv_heads=2)).data, ("gguf", "gguf_f16"), 10),
        ModelFile("gguf-q8_0", llama_model(8, LlamaShape(type=8)).data, ("gguf", "gguf_q8_0"), 10),
        ModelFile("gguf-factors", llama_model(9, LlamaShape(rope_factors=True)).data, ("gguf", "rope_factors"), 6),
        ModelFile("gguf-linear", llama_model(10, LlamaShape(), **scaling).data, ("gguf", "rope_scaling"), 6),
    )


SAMPLING = ((0.0, 1, 1.0, 1), (1.0, 1024, 1.0, 0), (0.8, 5, 0.6, 7), (1.3, 40, 0.95, 2**64 - 1))


class Comparison:
    """Two runtimes that get the same calls; `problems` says where they answer differently."""

    def __init__(self, module: Path, truth: dict[str, Any]) -> None:
        self.dialect = Dialect.of(truth["choices"])
        self.profile = self.profile_of(truth["declared"])
        self.truth = truth
        self.build = Client(WasmEngine(WasmModule(module.read_bytes())))
        self.oracle = Client(ReferenceEngine(ExportedABI(self.profile)))
        self.problems: list[str] = []
        self.calls = 0
        self.tokens = 0

    @staticmethod
    def profile_of(declared: dict[str, Any]) -> Profile:
        """Return the profile of what a truth declares."""
        return Profile.from_choices(declared)

    def call(self, export: str, *arguments: Any) -> int:
        """Make one call of a `Client` method or export on both, compare all that can be seen; the build's status."""
        statuses = []
        for client, given in ((self.oracle, arguments), (self.build, self._sealed(export, arguments))):
            method = getattr(client, export, None)
            statuses.append(method(*given) if method else client.status(export, *given))
        seen = [self._seen(self.oracle, MESSAGES, None), self._seen(self.build, self._messages, self.dialect)]
        self.calls += 1
        expected, found = ((status, *rest) for status, rest in zip(statuses, seen, strict=True))
        document = {key: item for key, item in expected[2].items() if key in found[2]}
        if "top_tokens_without_logits" in self.dialect.all("form") and "top_tokens" in document:
            document["top_tokens"] = [[number, None] for number, _ in document["top_tokens"]]
        if (expected[0], expected[1], document) != found:
            self.problems.append(f"{export}{arguments!r:.60}: expected {(*expected[:2], document)}, found {found}")
        return statuses[1]

    def load(self, model: ModelFile) -> bool:
        """Load a model; a build that lacks a feature must refuse it, and then nothing is compared."""
        lacking = [feature for feature in model.needs if feature in self.truth["without"]]
        if not lacking:
            return self.call("load_model", model.data) == 0
        status = self.build.load_model(*self._sealed("load_model", (model.data,)))
        wanted = 4 if lacking[0] == "gguf" else model.refusal
        if status != wanted:
            self.problems.append(f"{model.name}: a build without {lacking} gave {status} instead of {wanted}")
        self.oracle.load_model(b"SLM0")
        self.build.load_model(b"SLM0")
        return False

    def run(self) -> list[str]:
        """Play the whole session and return the problems."""
        for step in self._session():
            step()
            if len(self.problems) > 3:
                break
        return self.problems

    def _session(self) -> Iterator[Any]:
        yield lambda: self.call("generate_next_token")
        yield lambda: self.call("generate", b"a", 1)
        yield lambda: self.call("load_model", b"SLM1" + bytes(120))
        yield lambda: self.call("set_sampling_config", 1.0, 0, 1.0, 1)
        for model in models(self.profile):
            if not self.load(model):
                continue
            for config in SAMPLING:
                yield lambda config=config: self.call("set_sampling_config", *config)
                yield lambda: self.call("generate_next_token")
                yield lambda: self._generate(b"the man", 12)
                yield lambda: self.call("generate_next_token")
                yield lambda: self.call("generate_next_token")
                yield lambda: self.call("reset_context")
                yield lambda: self.call("init_runtime")
            yield lambda: self.call("generate", b"\xff", 1)
            yield lambda: self.call("generate", b"x" * 500, 1)
        yield lambda: self.call("free_model")

    def _generate(self, prompt: bytes, count: int) -> None:
        if self.call("generate", prompt, count) == 0:
            self.tokens += count

    @property
    def _messages(self) -> list[str]:
        return self.dialect.messages or list(MESSAGES)

    def _sealed(self, export: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments with a model file sealed by the build's own formula."""
        foreign = any(self.dialect.all(group) for group in CHECKSUM_GROUPS)
        if export != "load_model" or not foreign or arguments[0][:4] != b"SLM1" or len(arguments[0]) < 300:
            return arguments
        return (sealed(arguments[0], self.dialect),)

    def _seen(
        self, client: Client, messages: list[str] | tuple[str, ...], dialect: Dialect | None
    ) -> tuple[str, dict[str, Any]]:
        """Return result and diagnostics, texts of failures as those of ERR-3."""
        standard = dict(zip(messages, MESSAGES, strict=True))
        result = client.result().decode()
        document = json.loads(client.diagnostics(), parse_float=_float32)
        if dialect is not None:
            document = contract_document(document, dialect)
        if document.get("last_error") is not None:
            document["last_error"] = standard.get(document["last_error"], document["last_error"])
        return standard.get(result, result), document


def _float32(text: str) -> float:
    """Return the f32 that a decimal reads back to (DG-7)."""
    number: float = struct.unpack("<f", struct.pack("<f", float(text)))[0]
    return number


@cache
def sealed(file: bytes, dialect: Dialect) -> bytes:
    """Return the file with the checksum of the dialect's formula."""
    return file[:100] + checksum(file, dialect).to_bytes(8, "little") + file[108:]
