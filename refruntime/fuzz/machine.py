"""The rule-based state machine that draws sessions: what a host may do next, whatever was before.

It only writes steps down; a session is run when it ends, on a fresh build and a fresh oracle. It does what the contract
defines, also where that is wrong use: null, huge, out of order, after a trap. What it leaves undefined (MEM-3, MEM-4:
freeing twice, reading what was freed) no two builds need to answer alike, so no rule does it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, HypothesisWarning
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from refruntime.battery.state import CALLS
from refruntime.battery.state import SITUATIONS as BEGINNINGS
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Configure, Generate, Load, Step, Write
from refruntime.fuzz.draws import (
    BUFFERS,
    CALLS_AT_ONCE,
    CHANGES,
    GETTERS,
    LAST,
    NUMBERS,
    SEALED,
    TEXT,
    TRAPPING,
    UNFIT,
    configurations,
    counts,
    letters,
    odd_configurations,
    prompts,
)
from refruntime.fuzz.pool import SURPRISES, Pool

Judge = Callable[[Sequence[Step]], None]
"""Run a session; raise what Hypothesis is to shrink."""


class SessionMachine(RuleBasedStateMachine):
    """Draw one session from a pool and give it to `judge` when it ends."""

    pool: Pool
    turn: tuple[str, ...]
    judge: Judge

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.buffers: dict[str, int] = {}

    def teardown(self) -> None:
        """Run what was drawn."""
        if self.steps:
            type(self).judge(tuple(self.steps))

    def _any(self, data: st.DataObject) -> str:
        return self.turn[data.draw(st.sampled_from(range(len(self.turn))))]

    # The exports, one by one -----------------------------------------------------------------------------------------

    @rule(step=st.sampled_from([INIT, RESET, FREE]))
    def call_without_arguments(self, step: Step) -> None:
        """Make the runtime, clear the context or release the model."""
        self.steps.append(step)

    @rule(data=st.data())
    def load(self, data: st.DataObject) -> None:
        """Load a model on which sessions go far."""
        self.steps.append(Load(data.draw(st.sampled_from(self.pool.lively))))

    @rule(data=st.data(), more=st.integers(0, 5))
    def load_any(self, data: st.DataObject, more: int) -> None:
        """Load artifacts one after the other, well-formed or malformed."""
        self.steps += [Load(self._any(data)) for _ in range(1 + more)]

    @rule(data=st.data(), place=st.integers(0, 2**17), value=st.integers(0, 255), sealed=st.booleans())
    def load_changed(self, data: st.DataObject, place: int, value: int, sealed: bool) -> None:
        """Load a model with one byte changed, with and without the checksum of what it is now."""
        name = data.draw(st.sampled_from(sorted(self.pool.fields)))
        size = len(self.pool.files[name])
        where = data.draw(st.sampled_from(["header and directory", "anywhere", "the end"]))
        place = {"header and directory": place % min(1024, size), "anywhere": place % size}.get(where, size - 1)
        self.steps.append(Load(self.pool.changed(name, place, bytes([value]), sealed)))

    @rule(data=st.data(), more=st.integers(0, 5))
    def load_with_other_numbers(self, data: st.DataObject, more: int) -> None:
        """Load models with another number in a field of the header, the tokenizer section or the directory."""
        for _ in range(1 + more):
            name = data.draw(st.sampled_from(sorted(self.pool.fields)))
            place, width = data.draw(st.sampled_from(data.draw(st.sampled_from(self.pool.fields[name]))))
            number = int.from_bytes(self.pool.files[name][place : place + width], "little")
            other = (data.draw(st.sampled_from(CHANGES))(number) % 2 ** (8 * width)).to_bytes(width, "little")
            self.steps.append(Load(self.pool.changed(name, place, other, data.draw(SEALED))))

    @rule(data=st.data(), more=st.binary(min_size=1, max_size=8), sealed=st.booleans())
    def load_longer(self, data: st.DataObject, more: bytes, sealed: bool) -> None:
        """Load a model with bytes behind its end."""
        name = data.draw(st.sampled_from(sorted(self.pool.fields)))
        self.steps.append(Load(self.pool.changed(name, len(self.pool.files[name]), more, sealed)))

    @rule(step=configurations)
    def configure(self, step: Configure) -> None:
        """Set a valid sampling configuration."""
        self.steps.append(step)

    @rule(step=odd_configurations)
    def configure_oddly(self, step: Configure) -> None:
        """Set any values."""
        self.steps.append(step)

    @rule(prompt=prompts, count=counts)
    def generate(self, prompt: bytes, count: int) -> None:
        """Generate from any prompt."""
        self.steps.append(Generate(prompt, count))

    @rule(times=st.integers(1, 5))
    def continue_generation(self, times: int) -> None:
        """Continue by some tokens."""
        self.steps += [NEXT_TOKEN] * times

    @rule(export=st.sampled_from(GETTERS))
    def ask(self, export: str) -> None:
        """Call a getter."""
        self.steps.append(Call(export))

    # Memory and slices -----------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.buffers) < len(BUFFERS))
    @rule()
    def allocate(self) -> None:
        """Keep a buffer with text over whatever comes."""
        name = next(name for name in BUFFERS if name not in self.buffers)
        self.buffers[name] = len(TEXT)
        self.steps += [Call("alloc", (len(TEXT),), name), Write(name, TEXT)]

    @precondition(lambda self: self.buffers)
    @rule(data=st.data())
    def free_buffer(self, data: st.DataObject) -> None:
        """Free a buffer."""
        name = data.draw(st.sampled_from(sorted(self.buffers)))
        self.steps.append(Call("dealloc", (name, self.buffers.pop(name))))

    @precondition(lambda self: self.buffers)
    @rule(data=st.data(), first=st.integers(0, len(TEXT) - 1), length=st.integers(1, len(TEXT)), count=counts)
    def generate_from_buffer(self, data: st.DataObject, first: int, length: int, count: int) -> None:
        """Generate from a part of a buffer that may be older than the model."""
        name = data.draw(st.sampled_from(sorted(self.buffers)))
        place = f"{name}+{first}" if first else name
        self.steps.append(Call("generate", (place, min(length, len(TEXT) - first), count)))

    @precondition(lambda self: self.buffers)
    @rule(data=st.data(), export=st.sampled_from(["generate", "load_model"]), length=st.sampled_from([4, *UNFIT]))
    def unfit_slice(self, data: st.DataObject, export: str, length: int) -> None:
        """Give a slice of no length, of too great a length, or text in the place of a model."""
        name = data.draw(st.sampled_from(sorted(self.buffers)))
        self.steps.append(Call(export, (name, length, 1) if export == "generate" else (name, length)))

    @rule(export=st.sampled_from(["generate", "load_model"]), length=st.sampled_from(NUMBERS), count=counts)
    def null_slice(self, export: str, length: int, count: int) -> None:
        """Give the null pointer, also as a number that only a host takes for another."""
        pointer = 0 if count % 2 else LAST
        self.steps.append(Call(export, (pointer, length, count) if export == "generate" else (pointer, length)))

    @rule(length=st.sampled_from([0, -LAST, 134_217_729, -1, 2**31]))
    def allocate_unfit(self, length: int) -> None:
        """Ask for no memory or for too much."""
        self.steps.append(Call("alloc", (length,)))

    @rule(size=st.sampled_from([1, 65_536, 3_000_000]))
    def allocate_and_free(self, size: int) -> None:
        """Let memory grow."""
        self.steps += [Call("alloc", (size,), "grown"), Call("dealloc", ("grown", size))]

    @rule(
        export=st.sampled_from(["generate", "load_model"]),
        length=st.sampled_from([2, 16, 134_217_728]),
        seldom=st.integers(0, 7),
    )
    def slice_past_the_end(self, export: str, length: int, seldom: int) -> None:
        """Trap, now and then: all that follows is answered by an unavailable lock."""
        if not seldom:
            self.steps.append(Call(export, (LAST - 1, length, 1) if export == "generate" else (LAST - 1, length)))

    # Several calls at once -------------------------------------------------------------------------------------------

    @initialize(first=st.sampled_from([*CALLS_AT_ONCE, TRAPPING]), seldom=st.integers(0, 2))
    def begin(self, first: Step, seldom: int) -> None:
        """Make a call first of all: later none meets a runtime that was never made."""
        if not seldom:
            self.steps.append(first)

    @rule(beginning=st.sampled_from([*BEGINNINGS]), call=st.sampled_from([*CALLS]))
    def situation_and_call(self, beginning: str, call: str) -> None:
        """Bring about a situation of the state machine and make one call in it."""
        self.steps += [*BEGINNINGS[beginning], *CALLS[call]]

    @rule(beginning=st.sampled_from([*BEGINNINGS]), behind=st.sampled_from(CALLS_AT_ONCE), seldom=st.integers(0, 3))
    def situation_and_trap(self, beginning: str, behind: Step, seldom: int) -> None:
        """Now and then, trap in a situation of the state machine, and make one call behind it."""
        if not seldom:
            self.steps += [*BEGINNINGS[beginning], TRAPPING, behind]

    @rule(prompt=st.sampled_from([b"a", b"x"]), greedy=st.booleans())
    def continue_to_a_surprise(self, prompt: bytes, greedy: bool) -> None:
        """Continue to a text that is too long, or to bytes that are no UTF-8."""
        self.steps += [Load(SURPRISES), *([Configure()] if greedy else []), Generate(prompt, 1), NEXT_TOKEN]

    @rule(data=st.data(), step=configurations, prompt=letters, count=st.integers(1, 6), times=st.integers(1, 4))
    def load_and_draw(self, data: st.DataObject, step: Configure, prompt: bytes, count: int, times: int) -> None:
        """Load, configure, generate and continue: numbers of every kind of model."""
        name = self._any(data)
        self.steps += [Load(name), step, Generate(prompt, count), *[NEXT_TOKEN] * times]


def run_machine(pool: Pool, judge: Judge, number: int, sessions: int, rules: int, *, turn: int, shrink: bool) -> None:
    """Draw so many sessions of at most so many rules; the same number and turn give the same ones.

    What `judge` raises is shrunk, if that is asked for, and raised.
    """
    chosen: dict[str, Any] = {"pool": pool, "turn": pool.turn(turn), "judge": staticmethod(judge)}
    machine = type("Sessions", (SessionMachine,), chosen)
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    options = settings(
        max_examples=sessions,
        stateful_step_count=rules,
        phases=phases,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    # A build that answers one session in two ways is flaky; what was seen of it is kept. What Hypothesis warns of are
    # other threads of a worker that use the module `random`; no rule does.
    with suppress(Flaky), warnings.catch_warnings(), _the_same_in_every_process():
        warnings.simplefilter("ignore", HypothesisWarning)
        run_state_machine_as_test(seed(number)(machine), settings=options)


@contextmanager
def _the_same_in_every_process() -> Iterator[None]:
    """Let Hypothesis draw no constants of the modules that happen to be loaded, which differ between processes."""
    before = getattr(providers, "_get_local_constants", None)
    if before is None:  # a version that draws none
        yield
        return
    setattr(providers, "_get_local_constants", Constants)  # noqa: B010
    providers.CONSTANTS_CACHE.cache.clear()
    try:
        yield
    finally:
        setattr(providers, "_get_local_constants", before)  # noqa: B010
        providers.CONSTANTS_CACHE.cache.clear()
