"""What the words work with and never change: the models by name, the contract, the build, the goldens, progress."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refruntime.api import Artifact, artifact_bytes
from refruntime.cases.observation import is_failure
from refruntime.cases.steps import Case, Load, Step, describe
from refruntime.contract.limits import MAX_TRANSFER_BYTES
from refruntime.contract.profile import Profile
from refruntime.differential.compare import outcome
from refruntime.golden.corpus import Corpus
from refruntime.model.binding import BoundModels, bind_model
from refruntime.model.forward import Transformer
from refruntime.model.load import Buffer
from refruntime.numerics import CompiledSeq32, Numerics
from refruntime.repl.node import Node
from refruntime.resources import golden_folder
from refruntime.session.compared import ComparedBuild
from refruntime.session.from_case import Calls
from refruntime.session.prefix_cache import PrefixCache
from refruntime.session.session import Session
from refruntime.session.state import SessionError, Subject
from refruntime.tokenizers.unknown_bytes import with_unknown_bytes

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Show progress on something long: a description and the number of steps; gives a function that takes steps done."""


def no_progress(_description: str, _total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing."""
    return nullcontext(lambda _steps: None)


@dataclass
class Tools:
    """Everything around a session. `specs` are models as a golden case writes them, by name, where they came from one.

    `own` gives a file that was sealed for the build the contract's own checksum: then the oracle loads it too (ID-2).

    What is kept here saves time and changes no answer: bound models, prefix caches, the oracle that stands where the
    last call left it, the last look into the build (`looked`: what was looked at, and what looks).
    """

    profile: Profile = field(default_factory=Profile)
    numerics: Numerics = field(default_factory=CompiledSeq32)
    models: dict[str, Artifact] = field(default_factory=dict)
    specs: Mapping[str, Any] = field(default_factory=dict)
    build: ComparedBuild | None = None
    golden: Corpus = field(default_factory=lambda: Corpus(golden_folder()))
    show_progress: Progress = no_progress
    unknown_bytes: str = "refuse"
    looked: tuple[Any, Any] | None = None
    own: Callable[[bytes], bytes] = lambda data: data
    _busy: bool = False
    _bind: BoundModels = field(default_factory=BoundModels)
    _prefix_caches: dict[int, PrefixCache] = field(default_factory=dict)
    _contents: dict[str, bytes] = field(default_factory=dict)
    _calls: Calls | None = None

    @contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show progress on something long; within something that shows its own, nothing."""
        if self._busy:
            yield lambda _steps: None
            return
        self._busy = True
        try:
            with self.show_progress(description, total) as advance:
                yield advance
        finally:
            self._busy = False

    # Models --------------------------------------------------------------------------------------------------------

    def add_model(self, path: Path) -> str:
        """Take a file as a model and return the name that stands for it in calls: OSError."""
        for name, known in self.models.items():
            if known == path:
                return name
        artifact_bytes(path)  # whether it can be read is said now, not at the first call
        base = re.sub(r"[^a-z0-9._-]+", "-", path.name.lower()).lstrip("._-") or "model"
        base = re.sub(r"\.(slm1|slm|gguf)$", "", base) or "model"
        name, number = base, 2
        while name in self.models:
            name, number = f"{base}-{number}", number + 1
        self.models[name] = path
        return name

    def _artifact(self, name: str) -> Buffer:
        data = artifact_bytes(self.models[name])
        return self.own(bytes(data)) if self.build is not None and bytes(data[:4]) == b"SLM1" else data

    def content(self, name: str) -> bytes:
        """Return the bytes of a model for a transfer. SessionError where no transfer takes so many (MEM-2); OSError."""
        if name not in self._contents:
            data = self._artifact(name)
            size = memoryview(data).nbytes
            if size > MAX_TRANSFER_BYTES:
                raise SessionError(
                    f"model {name} has {size} bytes and a transfer takes at most {MAX_TRANSFER_BYTES} (MEM-2), "
                    "so that no call loads it; words such as `prompt` and `step` work without calls"
                )
            self._contents[name] = bytes(data)
        return self._contents[name]

    def opened(self, name: str) -> Node:
        """Return a fresh session with a model, as if a host had loaded it: statuses 4 to 10; OSError."""
        data = self._artifact(name)
        bind = self._bind if memoryview(data).nbytes <= MAX_TRANSFER_BYTES else bind_model
        with self.progress("loading", None):
            bound = bind(data, self.profile, self.numerics)
        tokenizer = with_unknown_bytes(bound.tokenizer, self.unknown_bytes)
        subject = Subject(self._prefix_cache(bound.transformer), tokenizer, self.profile, name, self.models[name])
        return Node.of(Session.of(subject, subject.loaded()), None)

    def _prefix_cache(self, transformer: Transformer) -> PrefixCache:
        return self._prefix_caches.setdefault(id(transformer), PrefixCache(transformer))

    # Calls ---------------------------------------------------------------------------------------------------------

    def case(self, name: str, script: tuple[Step, ...]) -> Case:
        """Return calls as a case with the models that they load."""
        loaded = dict.fromkeys(step.model for step in script if isinstance(step, Load))
        return Case(name, script, {each: self.content(each) for each in loaded})

    def call(self, node: Node, step: Step) -> tuple[Node, list[str]]:
        """Let the oracle answer one more call; returns the place behind it, and which earlier calls failed on the way.

        SessionError where something led here that no export does. HostMisuse where the contract leaves undefined what
        happens.
        """
        if node.unspeakable:
            raise SessionError(f"no call leads on from here, because {node.unspeakable}; `back` and `prompt` help")
        script = node.calls
        calls, notes = self._standing_at(script, step)
        observation = calls.run(step)
        self._calls = calls
        if not calls.new_sessions:
            return Node(calls.steps, None, node, observation, calls.trapped), notes
        for session in calls.new_sessions:
            node = Node.of(session, node)
        return Node(node.script, node.session, node.before, observation), notes

    def _standing_at(self, script: tuple[Step, ...], step: Step) -> tuple[Calls, list[str]]:
        """Return an oracle that answered `script`: the one of the last call if it stands there, else a fresh one."""
        calls, self._calls = self._calls, None  # an interrupted call leaves none behind
        self.case("models", (*script, step))  # brings the models into memory that the calls load
        if calls is not None and calls.steps == script:
            return calls, []
        calls = Calls(self._contents, self.profile, self.numerics, bind=self._bind, prefix_cache=self._prefix_cache)
        notes = []
        with self.progress("replaying the calls so far", len(script)) as advance:
            for index, each in enumerate(script):
                observation = calls.run(each)
                if is_failure(observation):
                    notes.append(f"call {index} {describe(each)} gave {outcome(observation)}")
                advance(1)
        return calls, notes
