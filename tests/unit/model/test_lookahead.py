"""A guess of what follows saves time and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.runtime import Runtime
from tests.support.synthetic import SMALL, random_weights, slm1_file

FILE = slm1_file(random_weights(11, **SMALL), **SMALL)
PROMPT = b"Once upon"


class CountingTransformer(Transformer):
    """Counts passes over the model."""

    passes = 0

    def forward(self, *arguments: object, **options: object) -> np.ndarray:
        type(self).passes += 1
        return super().forward(*arguments, **options)  # type: ignore[arg-type]


def observed(guesses: dict[int, list[int]]) -> list[object]:
    """Run one session; `guesses` names the step before which a guess is given."""
    runtime = Runtime(Profile(invalid_output_utf8="lossy"))
    seen: list[object] = []

    def note() -> None:
        seen.append((runtime.result, runtime.diagnostics(), runtime.machine.generator, runtime.state))

    runtime.load_model(FILE)
    runtime.set_sampling_config(1.0, 260, 1.0, 7)
    steps = [lambda: runtime.generate(PROMPT, 8), *[runtime.generate_next_token] * 5, runtime.reset_context,
             lambda: runtime.generate(b"A", 3), lambda: runtime.generate(PROMPT, 60)]  # fmt: skip
    for index, step in enumerate(steps):
        if index in guesses:
            runtime.expect(guesses[index])
        step()
        note()
    return seen


def tokens_of(prompt: bytes, count: int) -> list[int]:
    runtime = Runtime(Profile(invalid_output_utf8="lossy"))
    runtime.load_model(FILE)
    runtime.set_sampling_config(1.0, 260, 1.0, 7)
    runtime.generate(prompt, count)
    return list(runtime.machine.generated_ids)


RIGHT = tokens_of(PROMPT, 60)


@pytest.mark.parametrize(
    "guesses",
    [
        {0: RIGHT[:8]},
        {0: RIGHT[:4] + [0] * 20},
        {0: [0]},
        {0: RIGHT, 7: [65] * 200, 8: RIGHT},
        {8: [9999, 1, 2]},
        {1: RIGHT, 6: RIGHT},
    ],
)
def test_no_guess_changes_an_answer(guesses: dict[int, list[int]]) -> None:
    """GEN-4, GEN-6: right, partly right, wrong, too long and impossible guesses give the same results."""
    assert observed(guesses) == observed({})


def test_what_was_computed_early_belongs_to_its_position() -> None:
    """GEN-2, GEN-4: a prompt of the very token that was computed ahead elsewhere is forwarded at position 0."""
    fresh, used = (Runtime(Profile(invalid_output_utf8="lossy")) for _ in range(2))
    for runtime in (fresh, used):
        runtime.load_model(FILE)
        runtime.set_sampling_config(1.0, 260, 1.0, 7)
    used.expect(RIGHT[:20])
    used.generate(PROMPT, 8)  # leaves the logits behind RIGHT[8] ready
    for runtime in (fresh, used):
        runtime.generate_from_ids([RIGHT[8]], 5)
    assert used.diagnostics() == fresh.diagnostics()
    assert used.machine.generated_ids == fresh.machine.generated_ids


def test_right_guess_needs_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """GEN-4: a right guess turns a generation into one pass, a missing one into a pass for every token."""
    monkeypatch.setattr("refruntime.model.binding.Transformer", CountingTransformer)
    passes = []
    for guess in ([], RIGHT[:20]):
        runtime = Runtime(Profile(invalid_output_utf8="lossy"))
        runtime.load_model(FILE)
        runtime.set_sampling_config(1.0, 260, 1.0, 7)
        runtime.expect(guess)
        CountingTransformer.passes = 0
        runtime.generate(PROMPT, 20)
        passes.append(CountingTransformer.passes)
    assert passes == [21, 1]
