"""Find out what a build has before it is judged, by asking it to load one plain file for each feature (ID-1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from refruntime.cases.steps import INIT, Case, Load
from refruntime.client import Client
from refruntime.contract.features import REFUSALS, absence, feature, refusal, with_needs
from refruntime.contract.status import Status
from refruntime.engines.base import Engine, EngineError, EngineLimit

RULES = ("ID-1", "ST-3")


@dataclass(frozen=True)
class Found:
    """What a build was asked and what it does not have.

    `asked` are the names of all features whose plain file was given to it; `absent` maps those that it refused to the
    status. What stands on an absent feature is absent too and was not asked. `required` is the case that shows how the
    build refuses what it has to have; None where it does not.
    """

    asked: tuple[str, ...] = ()
    absent: Mapping[str, Status] = field(default_factory=dict)
    required: Case | None = None

    def missing(self, needs: Iterable[str]) -> str:
        """Return the first feature that is absent of these and all that they stand on; empty if none is."""
        return next((name for name in with_needs(needs) if name in self.absent), "")

    def reason(self, needs: Iterable[str]) -> str:
        """Say why a case with these needs cannot be judged; empty if it can."""
        name = self.missing(needs)
        return absence(feature(name).title, self.absent[name].name) if name else ""

    @property
    def of_one_case(self) -> Found:
        """Return this for a case that is judged alone: a build that refuses what it has to have is held against it."""
        return self if self.required is None else Found(self.asked)

    @property
    def refusal(self) -> str:
        """Say that the build refuses what it has to have; empty if it does not."""
        if self.required is None:
            return ""
        (name,) = self.required.models
        return refusal(feature(name).title, self.absent[name].name)


def ask(
    fresh: Callable[[], Engine],
    names: Iterable[str],
    plain_file: Callable[[str], bytes],
    required: str,
    seal: Callable[[bytes], bytes] | None = None,
) -> Found:
    """Ask a build for features and all that they stand on, each on a fresh instance.

    `plain_file` gives the file of a feature; `seal` puts the build's own checksum into it. A build that answers
    anything but a refusal (4, 6, 10) is taken to have the feature and is held to the contract; after a limit no more
    is asked.
    """
    asked: list[str] = []
    absent: dict[str, Status] = {}
    shown: Case | None = None
    for name in with_needs(names):
        if any(need in absent or need not in asked for need in feature(name).needs):
            continue
        data = plain_file(name) if seal is None else seal(plain_file(name))
        asked.append(name)
        try:
            client = Client(fresh())
            client.status(INIT.export)
            status = client.load_model(data)
        except EngineLimit:
            break
        except EngineError:  # whatever that is, it is no refusal: the cases will show it
            continue
        if status in REFUSALS:
            absent[name] = Status(status)
            if name == required:
                shown = Case(f"features/{name}", (Load(name),), {name: data}, RULES)
    return Found(tuple(asked), absent, shown)
