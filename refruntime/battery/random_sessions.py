"""Random sessions: what no author of cases thought of. The same seed gives the same sessions everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from refruntime.battery.models.slm1 import Numbers
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Case, Configure, Generate, Load, Step, Write

T = TypeVar("T")

RULES: Final = ("ST-1", "ST-3", "ST-4", "ST-5", "ST-6", "ST-7", "ST-8", "GEN-1", "GEN-5", "NT-4", "SC-2", "MEM-2")
PROMPTS: Final = (
    b"Once upon a time", b"The little", b"Mia ", b"a", b"hello the abba", b"\n\t ", b"0123456789" * 3, b"x" * 70,
    "h\u00e9llo w\u00f6rld".encode(), "\u65e5\u672c \U0001f98a".encode(), b"\x00\x01", b"\xff\xfe", b"ab\xc3", b"",
    b"y" * 300,
)  # fmt: skip
TEMPERATURES: Final = (0.0, -0.0, 1.0, 0.7, 1e-3, 1e-38, 5.0, 1e30)
BAD_VALUES: Final = (
    Configure(-1.0), Configure(float("nan")), Configure(float("inf")), Configure(1.0, 0), Configure(1.0, 1025),
    Configure(1.0, 5, 0.0), Configure(1.0, 5, 1.5), Configure(1.0, 5, float("nan")),
)  # fmt: skip
RAW_CALLS: Final = (
    Call("load_model", (0, 10)), Call("load_model", (16, 0)), Call("generate", (0, 5, 1)), Call("generate", (16, 0, 1)),
    Call("generate", (16, 134217729, 1)), Call("alloc", (0,)), Call("alloc", (134217729,)), Call("last_result_len"),
    Call("get_diagnostics_len"), Call("last_result_ptr"), Call("get_diagnostics_ptr"),
)  # fmt: skip


class Choices:
    """Draws from SplitMix64."""

    def __init__(self, seed: int) -> None:
        self._numbers = Numbers(seed)

    def below(self, limit: int) -> int:
        """Return an integer 0 .. limit - 1."""
        return int(self._numbers.integers(1)[0]) % limit

    def one(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]


def random_sessions(seed: int, count: int, models: Mapping[str, bytes]) -> Iterator[Case]:
    """Return `count` sessions `random/<seed>-<number>` over these models; they do nothing that is undefined."""
    for number in range(count):
        choices = Choices(seed * 1_000_003 + number)
        used = sorted({choices.one(sorted(models)) for _ in range(3)})
        steps: list[Step] = [INIT] if choices.below(2) else []
        if choices.below(8):
            steps += [Load(choices.one(used)), _valid(choices)]
        for _ in range(3 + choices.below(8)):
            steps += _action(choices, used)
        yield Case(f"random/{seed}-{number}", tuple(steps), {name: models[name] for name in used}, RULES)


def _action(choices: Choices, models: Sequence[str]) -> list[Step]:
    """Return one thing that a host may do."""
    weighted: tuple[tuple[int, Callable[[], list[Step]]], ...] = (
        (10, lambda: [Generate(choices.one(PROMPTS), 1 + choices.below(40))]),
        (2, lambda: [Generate(choices.one(PROMPTS), choices.one((0, 1, 2000, 2**32 - 1)))]),
        (9, lambda: [NEXT_TOKEN] * (1 + choices.below(6))),
        (5, lambda: [_valid(choices)]),
        (1, lambda: [choices.one(BAD_VALUES)]),
        (3, lambda: [Load(choices.one(models))]),
        (2, lambda: [RESET]),
        (1, lambda: [FREE]),
        (1, lambda: [INIT]),
        (2, lambda: [choices.one(RAW_CALLS)]),
        (1, lambda: _by_hand(choices)),
    )
    return choices.one([action for weight, action in weighted for _ in range(weight)])()


def _valid(choices: Choices) -> Configure:
    top_k, top_p = choices.one((1, 2, 5, 40, 260, 1024)), choices.one((1.0, 0.95, 0.5, 1e-6))
    seed = choices.one((0, 1, 7, 2**63, 2**64 - 1, choices.below(2**63)))
    return Configure(choices.one(TEMPERATURES), top_k, top_p, seed)


def _by_hand(choices: Choices) -> list[Step]:
    """Transfer a prompt by raw calls, a part of it only, and use it twice."""
    text = b"The little fox"
    part = 1 + choices.below(len(text))
    call = Call("generate", ("p", part, 1 + choices.below(5)))
    return [Call("alloc", (len(text),), "p"), Write("p", text), call, call, Call("dealloc", ("p", len(text)))]
