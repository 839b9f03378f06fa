"""Goldens for one build: the project's cases with files that this build accepts, and the answers under its profile.

    derivation = Derivation(project, Corpus(folder), oracle, profile, fit, plain, info)
    derivation.begin(ids)                                   # consumers, artifacts
    computed = [derivation.compute(identifier) for identifier in ids]
    written = [derivation.write(each) for each in computed if not each.problems]
    derivation.finish()                                     # plain files, INDEX.json

Every answer comes from the oracle under the build's profile, told in the contract's words; the index says as data how
the build writes them. The build itself is asked for no answer: goldens that it had made would agree with its bugs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from refruntime.cases.observation import Observation, StatusAnswer
from refruntime.cases.steps import Case
from refruntime.containers.checksum import CHECKSUM_FIELD
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.run import Oracle
from refruntime.golden.case import GoldenCase, ModelSpec, bytes_value, parse_case
from refruntime.golden.corpus import Corpus
from refruntime.golden.expect import expectation_document
from refruntime.golden.features import plain_path, write_plain_files
from refruntime.golden.fill import Computed, Problem, answer_case, write_computed
from refruntime.golden.index import INDEX, build_index
from refruntime.golden.reading import GoldenError, JsonNode, parse_document
from refruntime.golden.samples import SampleTrace
from refruntime.golden.values import disk_json

OWN_SUFFIXES: Final = (".mjs", ".html")
"""Of the files beside the index, what consumes goldens; FORMAT.md says how."""

NO_OPINION: Final = "none: these answers follow from options of the profile, which the oracle alone knows"

Fit = Callable[[bytes], bytes]
"""Return an artifact as the build expects it; what is wrong on purpose stays wrong."""


@dataclass(frozen=True)
class Derivation:
    """Make goldens below `target` from those of `source`, for the build of `profile`.

    `oracle` has the options and texts of the profile, but the contract's own checksum formula and diagnostics: it
    answers the cases as `source` has them. `plain` makes the plain file of a feature, with that formula. `info` is
    provenance for people; it is never hashed.
    """

    source: Corpus
    target: Corpus
    oracle: Oracle
    profile: Profile
    fit: Fit
    plain: Callable[[str], bytes]
    info: Mapping[str, str]
    _fitted: dict[str, bytes] = field(default_factory=dict)

    def begin(self, ids: Iterable[str]) -> None:
        """Write what consumes goldens, and the cases with their artifacts: OSError, GoldenError."""
        self.target.path("models").mkdir(parents=True, exist_ok=True)
        for name in self.source.files():
            if name == "FORMAT.md" or name.startswith("consumer/") or ("/" not in name and name.endswith(OWN_SUFFIXES)):
                self._put(name, self.source.read(name))
        for identifier in ids:
            golden = self.source.case(identifier)
            for spec in golden.models.values():
                self._put(spec.file, self.artifact(spec.file))
            document = {**golden.document, "steps": [self._step(step) for step in golden.document["steps"]]}
            if golden.models:
                document["models"] = {
                    name: self._recipe(golden.document["models"][name], spec) for name, spec in golden.models.items()
                }
            self._put(f"cases/{identifier}/case.json", disk_json(document))

    def _put(self, name: str, data: bytes) -> None:
        self.target.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.target.write(name, data)

    def artifact(self, path: str) -> bytes:
        """Return a file below `models/` as the build expects it."""
        if path not in self._fitted:
            self._fitted[path] = self.fit(self.source.artifact(path))
        return self._fitted[path]

    def _recipe(self, document: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
        """Return how an artifact is made of the fitted file, so that what was right stays right."""
        ours, theirs = self.source.artifact(spec.file), self.artifact(spec.file)
        place = JsonNode(None, spec.file)
        made = spec.artifact(ours, place)
        wanted, found = self.fit(made), spec.artifact(theirs, place)
        first, last = CHECKSUM_FIELD
        if wanted == made and found == theirs != ours and made != ours:  # the wrong byte is this build's right one
            wanted = found[:first] + bytes([found[first] ^ 1]) + found[first + 1 :]
        elif wanted in (made, found):
            return dict(document)
        kept = [
            {"at": at, "hex": patch.hex()} for at, patch in spec.patch if not first <= at <= at + len(patch) <= last
        ]
        return {**document, "patch": [*kept, {"at": first, "hex": wanted[first:last].hex()}]}

    def _step(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        if "write" not in document:
            return document
        data = JsonNode(document["bytes"], "case.json").bytes()
        fitted = self.fit(data)
        return document if fitted == data else {**document, "bytes": bytes_value(fitted)}

    def compute(self, identifier: str) -> Computed:
        """Return what would be written for a case; whatever is wrong with it is a problem, not an exception."""
        try:
            ours = self.source.case(identifier)
            case = ours.case(self.source.artifact)
            answered = answer_case(case, self.oracle, exact=bool(ours.exact))
            if answered.problems:
                return Computed(identifier, problems=answered.problems)
            golden = parse_case(identifier, self.target.read(f"cases/{identifier}/case.json"))
            return self._computed(golden, case, answered.observations, answered.samples)
        except GoldenError as error:
            return Computed(identifier, problems=(Problem("", "", str(error)),))
        except OSError as error:
            return Computed(identifier, problems=(Problem("", "", f"{error.filename}: {error.strerror}"),))

    def _computed(
        self, golden: GoldenCase, case: Case, observations: Sequence[Observation], samples: Iterable[Any]
    ) -> Computed:
        trace = SampleTrace(self.oracle.profile)
        for sample in samples:
            trace.add(sample.step, sample.choice, sample.logits)
        shown = [projected(item, self.profile.dialect) for item in observations]
        fitted = golden.case(self.target.artifact)
        info = {**self.info, "second_opinion": self._opinion(golden, case, observations)}
        document = expectation_document(golden, fitted, shown, trace.documents, self.profile, info)
        return Computed(golden.id, document, trace.arrays())

    def _opinion(self, golden: GoldenCase, case: Case, observations: Sequence[Observation]) -> str:
        """Return whose second opinion holds for these answers too: that of the project's, where they say the same."""
        name = f"cases/{golden.id}/expect.json"
        stored = parse_document(self.source.read(name), name)
        spoken = [in_own_words(item, self.profile) for item in observations]
        same = expectation_document(golden, case, spoken, (), self.profile, {})
        return str(stored["_info"]["second_opinion"]) if same["steps"] == stored["steps"] else NO_OPINION

    def write(self, computed: Computed) -> bool:
        """Write the answers of a case without problems; say whether any file changed."""
        return write_computed(self.target, computed)

    def leave_out(self, identifier: str) -> None:
        """Remove a case that could not be answered."""
        for name in ("case.json", "expect.json", "ids.npy", "weights.npy"):
            self.target.remove(f"cases/{identifier}/{name}")

    def finish(self) -> dict[str, Any]:
        """Write the plain files of features and the index; return it."""
        used = {spec.file for each in self.target.ids() for spec in self.target.case(each).models.values()}
        self.target.forget()
        index = build_index(self.target, self.profile)
        plain = {entry["file"] for entry in index["features"]["plain"].values()}
        for name in index["models"].keys() - used - plain:
            self.target.remove(name)
        write_plain_files(self.target, index, self._plain)
        self.target.forget()
        index = build_index(self.target, self.profile)
        self.target.write(INDEX, disk_json(index))
        return index

    def _plain(self, name: str) -> bytes:
        path = plain_path(name)
        stored = self.source.read_if_there(path)
        return self.fit(self.plain(name) if stored is None else stored)


def projected(observation: Observation, dialect: Dialect) -> Observation:
    """Return an observation as far as the build's form of the fields can hold it; fields it does not have are kept."""
    if not isinstance(observation, StatusAnswer) or observation.diagnostics is None or dialect.plain:
        return observation
    shown = dialect.read(dialect.write(observation.diagnostics))
    return replace(observation, diagnostics={**observation.diagnostics, **shown})


def in_own_words(observation: Observation, profile: Profile) -> Observation:
    """Return an observation with the contract's texts instead of the profile's."""
    if not isinstance(observation, StatusAnswer):
        return observation
    own = {profile.message(status): status.message for status in Status if status is not Status.Ok}
    result, diagnostics = observation.result, observation.diagnostics
    if observation.code and result is not None:
        text = own.get(result.decode("utf-8", "replace"))
        result = result if text is None else text.encode()
    if diagnostics is not None and diagnostics.get("last_error") is not None:
        diagnostics = {**diagnostics, "last_error": own.get(diagnostics["last_error"], diagnostics["last_error"])}
    return replace(observation, result=result, diagnostics=diagnostics)
