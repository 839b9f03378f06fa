"""Learn the text of each status, and speak the contract's texts in its place (ERR-3, ID-3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from refruntime.cases.observation import Observation, StatusAnswer, ValueAnswer, result_of
from refruntime.cases.steps import Call
from refruntime.contract.dialect import Dialect
from refruntime.contract.status import Status
from refruntime.identify.asking import BuildAnswer

RESULT_LENGTH: Final = Call("last_result_len")

FAILURES: Final = tuple(status for status in Status if status is not Status.Ok)


@dataclass(frozen=True)
class Text:
    """The text of one status: how often it was seen, and what else was seen with that code."""

    status: Status
    text: str
    seen: int
    source: str
    others: Mapping[str, int] = field(default_factory=dict)
    evidence: tuple[tuple[str, int], ...] = ()


def learn_texts(
    sessions: Mapping[str, Sequence[BuildAnswer]], dialect: Dialect, *, has_field: bool
) -> dict[Status, Text]:
    """Return the text that goes with each failed status: that of `last_error`, else that of the result.

    A result counts where the call before left another one, since a build may leave results alone (ERR-4).
    """
    texts: dict[Status, Counter[str]] = {}
    places: dict[tuple[Status, str], list[tuple[str, int]]] = {}
    for case, answers in sessions.items():
        before: bytes | None = None
        for index, answer in enumerate(answers):
            seen = answer.observation
            shown = result_of(seen)
            if isinstance(seen, StatusAnswer) and seen.code in FAILURES:
                status = Status(seen.code)
                text = _last_error(answer, dialect) if has_field else _fresh_result(shown, before)
                if text:
                    texts.setdefault(status, Counter())[text] += 1
                    places.setdefault((status, text), []).append((case, index))
            if shown is not None:  # what has no status shows no result, and leaves it
                before = shown
    learnt = {}
    for status, counter in sorted(texts.items()):
        (text, count), *others = counter.most_common()
        source = "last_error" if has_field else "result"
        learnt[status] = Text(status, text, count, source, dict(others), tuple(places[status, text][:2]))
    if not has_field:
        learnt = {status: item for status, item in learnt.items() if item.seen >= 2 and not item.others}
    return learnt


def _last_error(answer: BuildAnswer, dialect: Dialect) -> str:
    value = dialect.read(answer.document or {}).get("last_error")
    return value if isinstance(value, str) else ""


def _fresh_result(shown: bytes | None, before: bytes | None) -> str:
    if not shown or shown == before:
        return ""
    try:
        return shown.decode("utf-8")
    except UnicodeDecodeError:
        return ""


@dataclass(frozen=True)
class Translation:
    """Turn a build's answers into the contract's words: fields by place and form, texts by status."""

    dialect: Dialect
    texts: Mapping[Status, str] = field(default_factory=dict)
    _projected: dict[int, tuple[Observation, Observation]] = field(default_factory=dict, compare=False, repr=False)

    def read(self, answer: BuildAnswer) -> Observation:
        """Return one answer as an observation that can be held against the oracle's."""
        seen = answer.observation
        if not isinstance(seen, StatusAnswer):
            return seen
        document: Mapping[str, Any] | None = None
        if answer.document is not None:
            document = self.dialect.read(answer.document)
            if "last_error" in document:
                document = {**document, "last_error": self._own(document["last_error"], seen.code)}
        result = seen.result
        if result:
            text = self._own(result.decode("utf-8", "replace"), seen.code)
            result = text.encode() if text != result.decode("utf-8", "replace") else result
        return replace(seen, diagnostics=document, result=result)

    def read_all(self, answers: Iterable[BuildAnswer]) -> list[Observation]:
        """Return all answers of a session; the length of a result is that of the text in the contract's words."""
        observations: list[Observation] = []
        theirs = own = b""
        for answer in answers:
            seen = self.read(answer)
            raw, word = result_of(answer.observation), result_of(seen)
            if isinstance(seen, ValueAnswer) and seen.step == RESULT_LENGTH and seen.value == len(theirs):
                seen = replace(seen, value=len(own))
            if raw is not None and word is not None:
                theirs, own = raw, word
            observations.append(seen)
        return observations

    def project(self, observation: Observation) -> Observation:
        """Return an oracle's observation as far as the build's form of the fields can hold it."""
        if not isinstance(observation, StatusAnswer) or observation.diagnostics is None or self.dialect.plain:
            return observation
        known = self._projected.get(id(observation))
        if known is None:  # the oracle's answers are kept in trees and met again and again
            shown = self.dialect.read(self.dialect.write(observation.diagnostics))
            known = self._projected[id(observation)] = observation, replace(observation, diagnostics=shown)
        return known[1]

    def _own(self, text: Any, status: int | None) -> Any:
        """Return the contract's text for a build's: by the status of the call, else of any that has this text."""
        if not isinstance(text, str):
            return text
        if status in FAILURES and self.texts.get(Status(status)) == text:
            return Status(status).message
        for known, theirs in self.texts.items():
            if theirs == text:
                return known.message
        return text
