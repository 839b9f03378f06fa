"""Talk to a model with a chat template for several turns; what the KV cache holds of a prompt is not computed again.

conversation = Conversation(open_model(path), template, SamplingConfig())
turn = conversation.say("Why is the sky blue?", 64)
print(turn.text, turn.reused)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from refruntime.api import Model
from refruntime.chat.prompt import ChatPrompt, ChatTemplate, messages_of
from refruntime.chat.template import Message
from refruntime.runtime import Machine, Resident
from refruntime.sampling import SamplingConfig
from refruntime.session.prefix_cache import PrefixCache

LIMIT: Final = "limit"
FULL: Final = "context full"
STOP_TOKEN: Final = "stop token"
INTERRUPTED: Final = "interrupted"


@dataclass(frozen=True)
class Turn:
    """What was said and answered. `reused` are the first tokens of the prompt, those that were in the KV cache.

    `ids` are the sampled ones without the stop token `stop`; `stopped` is one of the four reasons of this module.
    """

    user: str
    prompt: ChatPrompt
    reused: int
    ids: tuple[int, ...]
    raw: bytes
    stopped: str
    stop: int | None = None

    @property
    def text(self) -> str:
        """Return the answer as text, with U+FFFD where its bytes are none."""
        return self.raw.decode("utf-8", "replace")


class Conversation:
    """A chat with an open model: `turns` so far, and the system message before them."""

    def __init__(
        self, model: Model, template: ChatTemplate, sampling: SamplingConfig, system: str | None = None
    ) -> None:
        self.model, self.template, self.sampling, self.system = model, template, sampling, system
        self.prefix_cache = PrefixCache(model.transformer)
        self.turns: tuple[Turn, ...] = ()
        resident = Resident(model.tokenizer, self.prefix_cache.capacity)
        self._machine = Machine.fresh(model.profile).load(resident).configure(sampling)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return everything that was said, as a template takes it."""
        said: tuple[Message, ...] = ()
        for turn in self.turns:
            said = (*said, *self._beginning(turn.user, not said), {"role": "assistant", "content": turn.text})
        return said

    def _beginning(self, user: str, first: bool) -> tuple[Message, ...]:
        return messages_of(user, self.system if first else None)

    def say(self, user: str, most: int, take: Callable[[int], object] = lambda _token: None) -> Turn:
        """Let the model answer with at most `most` tokens; `take` is given each as it is sampled.

        An answer is drawn as `generate` draws, from a generator of its own (GEN-7), so that the first one is that of
        `run --chat`. KeyboardInterrupt ends an answer that has begun, and it stays; before, it passes and nothing was
        said. Failures change nothing either: ContextExceeded, InvalidUtf8, GenerationFailed, ChatTemplateError.
        """
        prompt = self._prompt((*self.messages, *self._beginning(user, not self.turns)))
        begun = self._machine.begin(self._machine.checked(prompt.ids))
        reused = self.prefix_cache.shared(prompt.ids)
        ids: list[int] = []
        try:
            stopped, stop = self._generate(begun, most, ids, take)
        except KeyboardInterrupt:
            if not ids:
                raise
            stopped, stop = INTERRUPTED, None
        turn = Turn(user, prompt, reused, tuple(ids), self.model.tokenizer.decode(ids), stopped, stop)
        self.turns = (*self.turns, turn)
        return turn

    def _prompt(self, messages: tuple[Message, ...]) -> ChatPrompt:
        if not self.turns:
            return self.template.prompt(messages)
        last = self.turns[-1]
        return self.template.following(last.prompt, last.ids, last.text, messages)

    def _generate(
        self, machine: Machine, most: int, ids: list[int], take: Callable[[int], object]
    ) -> tuple[str, int | None]:
        """Sample into `ids` until something stops it; returns why, and the stop token."""
        while len(ids) < most:
            if machine.ended:
                return FULL, None
            machine = machine.take(self.prefix_cache.logits((*machine.prompt_ids, *ids)))
            token = machine.last.token
            if token in machine.stop_ids:
                return STOP_TOKEN, token
            ids.append(token)
            take(token)
        return LIMIT, None

    def reset(self) -> None:
        """Forget what was said; the system message stays, and so does what the cache holds of it."""
        self.turns = ()
