"""Ask a build: run experiments and keep its answers as they are, before anything is known of its names and texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from refruntime.cases.observation import Ended, EngineFailed, Observation
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import Case, Step, Write
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine, EngineError

Seal = Callable[[bytes], bytes]
"""Return an artifact with the checksum that the build expects; what is no SLM1 file with a right checksum stays."""


@dataclass(frozen=True)
class BuildAnswer:
    """What a build answered to one step; `document` are its diagnostics as JSON values, None where there are none."""

    observation: Observation
    document: Mapping[str, Any] | None = None

    @property
    def step(self) -> Step:
        """Return the step that was answered."""
        return self.observation.step


class _Listening(Client):
    """A client that keeps the last diagnostics document as it came."""

    document: bytes | None = None

    def diagnostics(self) -> bytes:
        self.document = super().diagnostics()
        return self.document


@dataclass
class AskedBuild:
    """The build that is asked: `fresh` makes an instance, `seal` fits artifacts to its checksum.

    `asked` are the sessions whose answers are kept.
    """

    fresh: Callable[[], Engine]
    seal: Seal = lambda data: data
    calls: int = 0
    asked: dict[str, Case] = field(default_factory=dict)
    _answers: dict[str, list[BuildAnswer]] = field(default_factory=dict)
    _sealed: dict[bytes, bytes] = field(default_factory=dict)

    def sealed(self, data: bytes) -> bytes:
        """Return the artifact for this build; each content is sealed once."""
        if not data.startswith(b"SLM1"):
            return data
        if data not in self._sealed:
            self._sealed[data] = self.seal(data)
        return self._sealed[data]

    def answers(self, experiment: Case) -> list[BuildAnswer]:
        """Return the answers to an experiment on a fresh instance; asked once."""
        if experiment.name not in self._answers:
            self.asked[experiment.name] = experiment
            self._answers[experiment.name] = self.ask(experiment)
        return self._answers[experiment.name]

    def ask(self, experiment: Case) -> list[BuildAnswer]:
        """Run an experiment on a fresh instance; it ends early after a step that leaves the instance unusable."""
        try:
            client = _Listening(self.fresh())
        except EngineError as error:
            return [BuildAnswer(EngineFailed(experiment.steps[0], str(error)))]
        session = StepRunner(client, Profile(), {name: self.sealed(data) for name, data in experiment.models.items()})
        answers: list[BuildAnswer] = []
        for step in experiment.steps:
            client.document = None
            sent = replace(step, data=self.sealed(step.data)) if isinstance(step, Write) else step
            observation = replace(session.run(sent), step=step)
            answers.append(BuildAnswer(observation, parsed(client.document)))
            self.calls += 1
            if isinstance(observation, Ended):
                break
        return answers


def parsed(document: bytes | None) -> Mapping[str, Any] | None:
    """Return a diagnostics document as JSON values; None when it is none, or no object."""
    if document is None:
        return None
    try:
        values = json.loads(document.decode("utf-8"), parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
