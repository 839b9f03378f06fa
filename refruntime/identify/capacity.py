"""Find how many positions a build gives a GGUF model at most (GG-7): prompts that just fit, and just do not (GEN-3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from refruntime.api import open_model
from refruntime.battery.models.gguf import LlamaShape, llama_model
from refruntime.cases.observation import code_of
from refruntime.cases.steps import INIT, Case, Configure, Generate, Load, describe
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.identify.asking import AskedBuild
from refruntime.identify.identification import Evidence, Learnt

KEY: Final = "GG-7"
CONTEXT: Final = 1 << 16
"""Positions that the asked model has itself."""

LONGEST: Final = 4096
"""Tokens of the longest prompt that is tried: attention over it takes a build some tenths of a second."""

UNLIMITED: Final = 2**31 - 1
SHAPE: Final = LlamaShape(hidden=8, layers=1, heads=2, kv_heads=2, ffn=12, context=CONTEXT)
LETTER: Final = b"!"


@dataclass
class _Asked:
    """What the build was asked: prompts of so many tokens, and with which status it answered."""

    build: AskedBuild
    dialect: Dialect
    model: bytes
    beside: int
    longest: int
    statuses: dict[int, int | None] = field(default_factory=dict)

    def refuses(self, tokens: int) -> bool | None:
        """Say whether a prompt of so many tokens exceeds the context; None where the answer is neither yes nor no."""
        if tokens not in self.statuses:
            answers = self.build.answers(self.case(tokens))
            seen = answers[-1].observation
            self.statuses[tokens] = code_of(seen) if len(answers) == 4 else None
        status = self.statuses[tokens]
        return status == Status.ContextExceeded if status in (Status.Ok, Status.ContextExceeded) else None

    def case(self, tokens: int) -> Case:
        """Return the session that asks with a prompt of so many tokens."""
        prompt = Generate(LETTER * max(tokens - self.beside, 1), 1)
        steps = (INIT, Load("model"), Configure(0.0, 1, 1.0, 1), prompt)
        return Case(f"identify/capacity-{tokens}", steps, {"model": self.model}, (KEY, "GEN-3"))

    def counted_beside(self) -> int:
        """Return how many tokens the build itself counts besides the letters; the oracle's number where it tells none.

        A build whose tokenizer is wrong has its limit all the same.
        """
        steps = (INIT, Load("model"), Generate(LETTER * 5, 1))
        answers = self.build.answers(Case("identify/capacity-count", steps, {"model": self.model}, (KEY,)))
        count = self.dialect.read(answers[-1].document or {}).get("prompt_tokens")
        if len(answers) < len(steps) or not isinstance(count, int) or isinstance(count, bool):
            return self.beside
        return count - 5 if 5 <= count <= 10 else self.beside

    def shown(self) -> int | None:
        """Return the capacity that the scratch formula shows after the load (DG-5), None where nothing shows it."""
        document = self.build.answers(self.case(2))[1].document
        scratch = self.dialect.read(document or {}).get("peak_scratch_bytes")
        if not isinstance(scratch, int) or isinstance(scratch, bool) or scratch % 4:
            return None
        found = scratch // 4 - 10 * SHAPE.hidden - 3 * SHAPE.ffn
        return found if 0 < found <= CONTEXT else None


def find_capacity(build: AskedBuild, dialect: Dialect, longest: int = LONGEST) -> Learnt:
    """Return the limit of GG-7 of a build that has GGUF, with the prompts that leave no other.

    `longest` is the longest prompt that is tried, in tokens.
    """
    model = llama_model(77, SHAPE).data
    beside = len(open_model(model).prompt_ids(LETTER * 5)) - 5
    asked = _Asked(build, dialect, model, beside, longest)
    beside = asked.beside = asked.counted_beside()
    default = Profile().gguf_context_limit
    if asked.refuses(longest) is False:
        return _without_limit(asked)
    for guess in (asked.shown(), default):
        if guess is not None and beside < guess <= longest and _is_limit(asked, guess):
            return _learnt(asked, guess)
    low, high = beside + 1, longest  # a prompt of `low` tokens fits, one of `high` does not
    if asked.refuses(low) is not False or asked.refuses(high) is not True:
        return Learnt(KEY, _meaning(), default, "assumed", (), "prompts of few and of many tokens do not tell it")
    while high - low > 1:
        middle = (low + high) // 2
        refused = asked.refuses(middle)
        if refused is None:
            reason = f"a prompt of {middle} tokens neither fits nor exceeds the context"
            return Learnt(KEY, _meaning(), default, "assumed", (), reason)
        low, high = (low, middle) if refused else (middle, high)
    return _learnt(asked, high)


def _is_limit(asked: _Asked, tokens: int) -> bool:
    return asked.refuses(tokens) is True and asked.refuses(tokens - 1) is False


def _learnt(asked: _Asked, limit: int) -> Learnt:
    refused, fitting = Status.ContextExceeded.name, Status.Ok.name
    evidence = (
        _evidence(asked, limit, f"more than {limit}", fitting, refused),
        _evidence(asked, limit - 1, f"less than {limit}", refused, fitting),
    )
    return Learnt(KEY, _meaning(), limit, "observed", evidence)


def _without_limit(asked: _Asked) -> Learnt:
    shown = asked.shown()
    evidence = (
        _evidence(asked, asked.longest, f"{asked.longest} or less", Status.ContextExceeded.name, Status.Ok.name),
    )
    if shown is not None and asked.longest < shown < CONTEXT:
        reason = f"peak_scratch_bytes says it (DG-5); prompts of up to {asked.longest} tokens fit"
        return Learnt(KEY, _meaning(), shown, "observed", evidence, reason)
    reason = f"prompts of up to {asked.longest} tokens fit, longer ones are not tried"
    return Learnt(KEY, _meaning(), UNLIMITED, "observed" if shown == CONTEXT else "assumed", evidence, reason)


def _evidence(asked: _Asked, tokens: int, instead: str, expected: str, found: str) -> Evidence:
    case = asked.case(tokens)
    step = len(case.steps) - 1
    return Evidence(case.name, step, describe(case.steps[step])[:80], "status", instead, expected, found)


def _meaning() -> str:
    return "largest capacity of a GGUF model in positions"
