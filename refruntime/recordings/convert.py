"""A recorded session as a case and the build's answers: what a page did, made into steps that any engine can repeat.

`load_model` and `generate` become `Load` and `Generate` steps with the bytes that they read: where those lay in memory
decides nothing. The `alloc` before and the `dealloc` behind such a call belong to the step if nothing but getters lies
between; every other `alloc` and `dealloc` stays a call of its own, with a name for its pointer. Calls that no engine
could repeat, or that the contract leaves undefined, are left out, and the notes say so.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from refruntime.cases.observation import EngineFailed, NoAnswer, Observation, StatusAnswer, Trapped, ValueAnswer
from refruntime.cases.observe import read_diagnostics
from refruntime.cases.steps import Call, Case, Configure, Generate, Load, Step
from refruntime.contract.limits import MAX_TRANSFER_BYTES
from refruntime.contract.profile import Profile
from refruntime.golden.case import MAX_STEPS
from refruntime.golden.reading import MAX_BYTES_VALUE, GoldenError
from refruntime.golden.values import bytes_hash
from refruntime.recordings.read import SLICE_EXPORTS, Blob, Event, RecordedBuild, Recording

GETTERS: Final = ("last_result_ptr", "last_result_len", "get_diagnostics_ptr", "get_diagnostics_len")
BEYOND_MEMORY: Final = 2**32 - 1
SOMEWHERE: Final = 1
SHOWN_NOTES: Final = 20
MAX_HELD_BYTES: Final = 2**30
"""Most bytes in regions that a case holds at a time: the oracle sets them aside too."""

RULES_OF: Final = {
    "alloc": "MEM-1",
    "dealloc": "MEM-3",
    "init_runtime": "ST-1",
    "load_model": "ST-3",
    "set_sampling_config": "SC-2",
    "generate": "GEN-5",
    "generate_next_token": "NT-4",
    "last_result_ptr": "MEM-7",
    "last_result_len": "MEM-7",
    "get_diagnostics_ptr": "DG-2",
    "get_diagnostics_len": "DG-2",
    "reset_context": "ST-5",
    "free_model": "ST-6",
}
"""The rule that says what a call does, for the list of rules of a recorded case."""


class MissingModels(Exception):
    """The recording holds only hash and length of `blobs`, and nobody gave their bytes."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self.blobs = tuple(blobs)
        super().__init__("; ".join(f"{blob.length} bytes with SHA-256 {blob.sha256}" for blob in blobs))


@dataclass(frozen=True)
class RecordedAnswer:
    """What a build answered to one step; its diagnostics are in `document` alone, as raw bytes."""

    shown: Observation
    document: bytes | None = None

    def observation(self, profile: Profile) -> Observation:
        """Return what was shown with its diagnostics; the profile knows the build's names of their fields."""
        if self.document is None or not isinstance(self.shown, StatusAnswer):
            return self.shown
        return replace(self.shown, diagnostics=read_diagnostics(self.document, profile))


@dataclass(frozen=True)
class RecordedSession:
    """The steps of a recording and the build's answer to each; there may be fewer answers if one ended the session."""

    case: Case
    answers: tuple[RecordedAnswer, ...]
    build: RecordedBuild
    notes: tuple[str, ...] = ()


def convert(recording: Recording, name: str, models: Mapping[str, bytes]) -> RecordedSession:
    """Make a case of a recording; `models` gives bytes by SHA-256 for what it does not hold itself.

    Raises MissingModels, and GoldenError for a session without a call that can be repeated.
    """
    needed = {event.slice.sha256: event.slice for event in recording.events if isinstance(event.slice, Blob)}
    missing = [blob for blob in needed.values() if blob.data is None and blob.sha256 not in models]
    if missing:
        raise MissingModels(missing)
    conversion = _Conversion(recording.events, models)
    conversion.run()
    if not conversion.steps:
        raise GoldenError(name, "$.events", "a call that can be repeated", "none")
    notes = [*conversion.notes[:SHOWN_NOTES]]
    if len(conversion.notes) > SHOWN_NOTES:
        notes.append(f"{len(conversion.notes) - SHOWN_NOTES} more calls like these")
    notes += [f"{count} calls of {export}, which the contract does not know" for export, count in foreign(recording)]
    if recording.truncated is not None:
        notes.append(f"the recording ends early: {recording.truncated}")
    case = Case(name, tuple(conversion.steps), conversion.models, tuple(conversion.rules))
    return RecordedSession(case, tuple(conversion.answers), recording.build, tuple(notes))


def foreign(recording: Recording) -> list[tuple[str, int]]:
    """Return the calls of exports beyond the contract, most frequent first."""
    return sorted(recording.unrecorded.items(), key=lambda item: (-item[1], item[0]))


@dataclass
class _Conversion:
    """The walk over the events. `live` maps the pointer of a live allocation to its length and bound name."""

    events: Sequence[Event]
    given: Mapping[str, bytes]
    steps: list[Step] = field(default_factory=list)
    answers: list[RecordedAnswer] = field(default_factory=list)
    models: dict[str, bytes] = field(default_factory=dict)
    rules: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    live: dict[int, tuple[int, str]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    bound: int = 0
    held: int = 0

    def run(self) -> None:
        """Convert every event up to the first that ends the session."""
        folded = folded_events(self.events)
        for event in self.events:
            if event.refused:
                self._note(event, f"the host refused the arguments, so it never reached the module: {event.refused}")
                continue
            step = self._step(event, event.index in folded)
            if step is None:
                continue
            if len(self.steps) == MAX_STEPS:
                self._note(event, f"a case has at most {MAX_STEPS} steps; this call and those after it are left out")
                return
            self.steps.append(step)
            self.answers.append(_answer(step, event))
            self.rules.setdefault(RULES_OF[event.export.name])
            if isinstance(self.answers[-1].shown, EngineFailed):
                return

    def _note(self, event: Event, text: str) -> None:
        self.notes.append(f"call {event.index}, {event.export.name}: {text}")

    def _step(self, event: Event, is_folded: bool) -> Step | None:
        name = event.export.name
        if name == "alloc":
            return self._alloc(event, is_folded)
        if name == "dealloc":
            return self._dealloc(event, is_folded)
        if name in SLICE_EXPORTS:
            return self._slice_call(event)
        if name == "set_sampling_config":
            temperature, top_k, top_p, seed = event.arguments
            return Configure(float(temperature), int(top_k), float(top_p), int(seed))
        return Call(name, event.arguments)

    def _alloc(self, event: Event, is_folded: bool) -> Step | None:
        length, pointer = int(event.arguments[0]), event.returned or 0
        if not pointer:
            return Call("alloc", event.arguments)
        if length == 0 or length > MAX_TRANSFER_BYTES:  # no right runtime gives a region: there is nothing to name
            return Call("alloc", event.arguments)
        if not is_folded and self.held + length > MAX_HELD_BYTES:
            self._note(event, f"{self.held} bytes are allocated already; beyond {MAX_HELD_BYTES} alloc is left out")
            return None
        bound = "" if is_folded else self._next_name()
        self.held += 0 if is_folded else length
        if pointer not in self.live:
            insort(self.starts, pointer)
        self.live[pointer] = length, bound
        return None if is_folded else Call("alloc", event.arguments, bound)

    def _next_name(self) -> str:
        number, letters = self.bound, ""
        self.bound += 1
        while number >= 0:
            letters = chr(ord("a") + number % 26) + letters
            number = number // 26 - 1
        return f"buffer_{letters}"

    def _dealloc(self, event: Event, is_folded: bool) -> Step | None:
        pointer, length = (int(argument) for argument in event.arguments)
        allocated, bound = self.live.get(pointer, (None, ""))
        if allocated is None:
            self._note(event, f"alloc returned no region at {pointer} that is still live (MEM-3); left out")
            return None
        del self.live[pointer]
        self.starts.remove(pointer)
        self.held -= allocated if bound else 0
        if allocated != length:
            self._note(event, f"{length} bytes, where {allocated} were allocated (MEM-3); left out")
            return None
        return None if is_folded else Call("dealloc", (bound, length))

    def _slice_call(self, event: Event) -> Step:
        pointer, length, *count = (int(argument) for argument in event.arguments)
        name, data = event.export.name, event.slice
        if pointer == 0 or length == 0 or length > MAX_TRANSFER_BYTES:  # refused before anything is read (MEM-2)
            return Call(name, (SOMEWHERE if pointer else 0, length, *count))
        if data == "outside":
            return Call(name, (BEYOND_MEMORY, length, *count))
        if data is None or isinstance(data, str):
            raise GoldenError("recording", f"$.events[{event.index}]", "the bytes that the call read", "none")
        if not self._is_live(pointer, length):
            self._note(event, f"its {length} bytes at {pointer} lie in no live allocation (MEM-4)")
        raw = data if isinstance(data, bytes) else data.data if data.data is not None else self.given[data.sha256]
        if name == "load_model":
            return Load(self._model(raw))
        if length > MAX_BYTES_VALUE:
            limit = f"a prompt of at most {MAX_BYTES_VALUE} bytes"
            raise GoldenError("recording", f"$.events[{event.index}]", limit, f"{length} bytes")
        return Generate(raw, count[0])

    def _is_live(self, pointer: int, length: int) -> bool:
        place = bisect_right(self.starts, pointer)
        start = self.starts[place - 1] if place else 0
        return bool(place) and pointer + length <= start + self.live[start][0]

    def _model(self, data: bytes) -> str:
        name = self.names.setdefault(bytes_hash(data), f"model-{len(self.names) + 1}")
        self.models[name] = data
        return name


def folded_events(events: Sequence[Event]) -> frozenset[int]:
    """Return the indices of each `alloc` and `dealloc` that do nothing but carry one call's bytes."""
    folded: set[int] = set()
    for start, event in enumerate(events):
        if event.export.name != "alloc" or not event.returned:
            continue
        call = _next_loud(events, start + 1)
        end = None if call is None else _next_loud(events, call + 1)
        if call is None or end is None or events[call].export.name not in SLICE_EXPORTS:
            continue
        region = (event.returned, event.arguments[0])
        is_freed = events[end].export.name == "dealloc" and events[end].arguments == region and not events[end].trap
        if is_freed and events[call].arguments[:2] == region:
            folded |= {event.index, events[end].index}
    return frozenset(folded)


def _next_loud(events: Sequence[Event], start: int) -> int | None:
    """Return the index of the next call that is more than a getter."""
    for index in range(start, len(events)):
        event = events[index]
        if not event.refused and (event.trap or event.export.name not in GETTERS):
            return index
    return None


def _answer(step: Step, event: Event) -> RecordedAnswer:
    if event.trap:
        return RecordedAnswer(Trapped(step, event.trap))
    if event.unreadable:
        return RecordedAnswer(EngineFailed(step, event.unreadable))
    if event.returned is None:
        return RecordedAnswer(NoAnswer(step))
    if event.export.returns_status:
        return RecordedAnswer(StatusAnswer(step, event.returned, event.result), event.diagnostics)
    return RecordedAnswer(ValueAnswer(step, event.export.defined(event.returned)))
