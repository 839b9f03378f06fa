"""What can be asked of a session: text, why, what if, logits, generators, intermediates; nothing here leads on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refruntime.api import Artifact, artifact_bytes, raw_bytes
from refruntime.display import Displayed
from refruntime.runtime import Generator, Taken
from refruntime.sampling import ranked
from refruntime.session.answers import Generators, HeadAttention, Seen, TokenLogits, Top, Trace
from refruntime.session.numbers import whole
from refruntime.session.prefix_cache import Float32
from refruntime.session.probabilities import softmax
from refruntime.session.state import SessionError, SessionState, Subject, called, tokens_of
from refruntime.session.what_if import WhatIf, what_if
from refruntime.session.why import Why
from refruntime.visible import shortened

if TYPE_CHECKING:  # a session that compares with no build and saves nothing does without these
    from refruntime.samplers.explain import ChainExplanation
    from refruntime.session.compared import BuildComparison, ComparedBuild


class Questions(Displayed):
    """The state of a generation, and what it answers: see `Session`, whose words lead from one to the next."""

    subject: Subject
    state: SessionState

    @property
    def ids(self) -> tuple[int, ...]:
        """Return every id in the context: prompt and taken tokens without stop tokens."""
        return (*self.state.prompt_ids, *self.generated_ids)

    @property
    def position(self) -> int:
        """Return the position that the next token is for."""
        return self.state.machine.kv_length

    @property
    def generated_ids(self) -> tuple[int, ...]:
        """Return the taken ids without stop tokens."""
        return self.state.machine.generated_ids

    @property
    def text(self) -> bytes:
        """Return the bytes of the generated tokens, not necessarily valid UTF-8 (GEN-8)."""
        return self.subject.tokenizer.decode(list(self.generated_ids))

    @property
    def last(self) -> Taken:
        """Return the last sampled token. SessionError before the first."""
        if not self.state.taken:
            raise SessionError("no token was sampled yet; `step` samples one")
        return self.state.taken[-1]

    @property
    def finished(self) -> str:
        """Say why no token can be sampled now, empty if one can."""
        return self.state.machine.ended

    @cached_property
    def next_logits(self) -> Float32:
        """Return the logits that the next token will be sampled from: [V]. SessionError without a prompt."""
        if not self.state.prompt_ids:
            raise SessionError("there is no prompt yet; `prompt` begins a generation")
        return self.subject.prefix_cache.logits(self.ids)

    def why(self, at: int | None = None) -> Why:
        """Explain the last choice stage by stage, with the very numbers that the sampler used, or that for a position.

        SessionError for a position whose token this generation did not choose.
        """
        return Why(self._taken_at(at), self.subject.tokenizer, self.subject.profile)

    def _taken_at(self, at: int | None) -> Taken:
        if at is None:
            return self.last
        for taken in reversed(self.state.taken):
            if taken.position == at:
                return taken
        first = self.state.taken[0].position if self.state.taken else self.position
        known = f"expected {first} .. {self.last.position}" if self.state.taken else "no token was sampled yet"
        raise SessionError(f"no token of this generation was chosen for position {at}; {known}")

    def what_if(self, **changes: Any) -> WhatIf:
        """Choose the last token again under other sampling values or options of the profile, side by side.

        Keys: temperature, top_k, top_p, seed, or a profile key such as `PR_3="53 high bits"` (`-` written as `_`).
        Without any, every option of the sampler's rules is tried.
        """
        return what_if(self.last, self.subject.tokenizer, self.subject.profile, changes)

    def tensors(self, wanted: str = "*") -> dict[str, NDArray[Any]]:
        """Return intermediates of a pass over all ids by name; `wanted` is a shell pattern such as `blk.0.*`."""
        if not self.ids:
            raise SessionError("there is no prompt yet; `prompt` begins a generation")
        return self.subject.prefix_cache.tensors(self.ids, wanted)

    def trace(self, wanted: str = "*") -> Trace:
        """Return intermediates as `tensors` does, shown with shape and range; `0/attn_q` is `blk.0.attn_q`.

        SessionError with the names there are where none fits.
        """
        found = self.tensors(pattern(wanted))
        if not found:
            names = [name for name in self.tensors() if not name.startswith("blk.") or name.startswith("blk.0.")]
            raise SessionError(f"no tensor fits {wanted!r}; names of layer 0: {', '.join(names)}")
        return Trace(found)

    def attention(self, layer: int, head: int) -> HeadAttention:
        """Return how much each position looked at each earlier one in one head: weights [T, T] and tokens (FW-6)."""
        name = f"blk.{layer}.attn.weights"
        found = self.tensors(name)
        if name not in found:
            raise SessionError(f"layer {layer} has no attention weights; see `trace` for the names there are")
        weights = found[name]  # [A, T, T]
        if not 0 <= head < weights.shape[0]:
            raise SessionError(f"there is no head {head}; expected 0 .. {weights.shape[0] - 1}")
        tokenizer = self.subject.tokenizer
        texts = tuple(tokenizer.decode([token]) for token in self.ids)
        return HeadAttention(layer, head, self.ids, texts, np.asarray(weights[head]), tokenizer)

    def top(self, count: int = 10) -> Top:
        """Return the greatest logits that the next token is sampled from, with probabilities (SA-2)."""
        logits = self.next_logits
        order = ranked(logits, self.subject.profile)[: whole("count", count, 1)]
        return Top(self.position, order, logits, softmax(logits), self.subject.tokenizer)

    def logits(self, token: int | str | bytes) -> TokenLogits:
        """Return the logit of one token, an id or its text, at every step so far and at the next one."""
        wanted = self.token_id(token)
        rows = [(each.position, each.logits, each.token) for each in self.state.taken]
        steps = [_seen(wanted, *row) for row in rows]
        if self.state.prompt_ids or not self.finished:  # logits from a file end with its last row
            steps.append(_seen(wanted, self.position, self.next_logits, None))
        return TokenLogits(wanted, tuple(steps), self.subject.tokenizer)

    def rng(self) -> Generators:
        """Return where the generators stand, and what they draw next."""
        state = self.state
        return Generators(state.generate_generator, state.runtime_generator, state.owner, self.subject.profile)

    def samplers(
        self, ids: Sequence[int] | None = None, min_p: float = 0.0, chains: Sequence[str] | None = None
    ) -> ChainExplanation:
        """Say which runtime's sampler explains the tokens since the prompt, or others in their place: `ids`."""
        from refruntime.session.chains import explain_taken

        return explain_taken(self.state.taken, self.subject.profile, ids, chains, min_p)

    def diff(self, build: Artifact | ComparedBuild) -> BuildComparison:
        """Compare the calls that lead here with a build: a path, bytes, or one that is compiled already.

        SessionError where no calls lead here; EngineMissing without wasmtime; EngineError, InterfaceMismatch; OSError.
        """
        from refruntime.cases.steps import Case
        from refruntime.session.compared import ComparedBuild, compare_calls

        self._check_speakable("only calls can be compared")
        case = Case("session/python", called(self.state), self._artifacts())
        if not isinstance(build, ComparedBuild):
            name = Path(build).name if isinstance(build, str | PathLike) else "build"
            build = ComparedBuild.compiled(name, bytes(artifact_bytes(build)))
        return compare_calls(case, build, self.subject.profile, self.subject.prefix_cache.transformer.numerics)

    def save(self, identifier: str, golden: str | PathLike[str], about: str = "", rules: str = "") -> Path:
        """Write the calls that lead here as a golden case FAMILY/NAME below the goldens in `golden`; returns its path.

        SessionError for a bad name, a case that exists, or what a case cannot hold; OSError.
        """
        from refruntime.golden.corpus import Corpus
        from refruntime.session.save import Shelf, save_case

        self._check_speakable("a golden case holds calls only")
        shelf = Shelf(Corpus(Path(golden)), lambda name: self._artifacts()[name])
        return save_case(shelf, called(self.state), identifier, about, rules)

    def _check_speakable(self, why: str) -> None:
        if self.state.unspeakable:
            raise SessionError(f"{why}, and {self.state.unspeakable}")

    def _artifacts(self) -> dict[str, bytes]:
        if self.subject.artifact is None:
            raise SessionError("this session does not know its model's file, which calls load")
        return {self.subject.name: bytes(artifact_bytes(self.subject.artifact))}

    def token_id(self, token: int | str | bytes) -> int:
        """Return the id that an id or a text names; SessionError unless the text is exactly one token."""
        tokenizer = self.subject.tokenizer
        if not isinstance(token, str | bytes):
            number = whole("token", token)
            if not 0 <= number < tokenizer.vocab_size:
                raise SessionError(f"there is no token {number}; expected 0 .. {tokenizer.vocab_size - 1}")
            return number
        wanted = raw_bytes(token)
        found = tokens_of(tokenizer, wanted)
        if len(found) != 1:
            what = f"several tokens, {', '.join(map(str, found))}" if found else "not exactly one token"
            raise SessionError(f'"{shortened(wanted)}" is {what}; give an id')
        return found[0]

    def to_dict(self) -> Mapping[str, Any]:
        """Return the state as plain values."""
        state = self.state
        return {
            "prompt_ids": list(state.prompt_ids),
            "generated_ids": list(self.generated_ids),
            "text": self.text.decode("utf-8", "replace"),
            "sampling": state.sampling.to_dict(),
            "generator": None if self.generator is None else f"{self.generator.state:016x}",
            "finished": self.finished,
        }

    @property
    def generator(self) -> Generator | None:
        """Return the generator that the next step draws from, None before a prompt."""
        return self.state.machine.drawing

    def __repr__(self) -> str:
        """Describe the state in one line."""
        sampling = self.state.sampling
        return (
            f"<Session {self.subject.name}: {len(self.state.prompt_ids)} prompt ids, {len(self.generated_ids)} taken, "
            f"temperature {sampling.temperature!s}, top_k {sampling.top_k}, top_p {sampling.top_p!s}, "
            f"seed {sampling.seed}>"
        )


def pattern(wanted: str) -> str:
    """Return the shell pattern of event names for what a person wrote: `0/attn_q` is `blk.0.attn_q`."""
    layer, slash, tensor = wanted.partition("/")
    if not slash:
        return wanted
    return f"{layer if layer.startswith('blk.') else 'blk.' + layer}.{tensor}"


def _seen(token: int, position: int, logits: Float32, taken: int | None) -> Seen:
    value = logits[token]
    rank = None if np.isnan(value) else int(np.count_nonzero(logits > value)) + 1
    return Seen(position, value, rank, float(softmax(logits)[token]), taken)
