"""The tokens that end a generation, worked out a second time: `llama_vocab::impl::load` retold step by step.

Read from src/llama-vocab.cpp of llama.cpp 0.5.0 (vendored in llama-cpp-python 0.3.36), lines 2585 to 3030. Tables and
steps are those of that file in its own order; nothing of the package's tables or of its reading of them is used. Not
retold: `<|plamo:eos|>`, which only vocabularies of a kind have that is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from refruntime.battery.ends import answering
from refruntime.battery.models.gguf import CONTROL, NORMAL, U32, value
from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model

END_OF_GENERATION = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
]
END_OF_TURN = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
]
END_OF_MESSAGE = ["<|eom_id|>"]
PADDING = ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]
REPOSITORY = ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]
SEPARATOR = ["<|file_sep|>"]
ROLES = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
OTHERS = ["<|other|>", "<|message|>", "<|fim_prefix|>", "<s>", "</S>", "<|END|>", "<|eot_id|> ", "eot_id"]


@dataclass(frozen=True)
class Words:
    """A vocabulary: the texts of its first tokens, and the first tokens that keys of the metadata name."""

    texts: tuple[str, ...]
    named: tuple[tuple[str, int], ...] = ()


def ends_of(tokens: list[str], named: dict[str, int]) -> set[int]:
    """Return the ids at which llama.cpp ends a generation, as its source does it."""
    ids = {text: place for place, text in enumerate(tokens)}
    special = dict(named)
    for role, texts in (
        ("eot", END_OF_TURN),
        ("eom", END_OF_MESSAGE),
        ("fim_pad", PADDING),
        ("fim_rep", REPOSITORY),
        ("fim_sep", SEPARATOR),
    ):
        for text in texts:
            if role not in special and text in ids:
                special[role] = ids[text]
    ends = {special[role] for role in ("fim_pad", "fim_rep", "fim_sep") if role in special}
    ends |= {token for text, token in ids.items() if text in END_OF_GENERATION}
    ends |= {special[role] for role in ("eos", "eot", "eom") if role in special}
    shown = {tokens[token] for token in ends}
    has_call, has_flush = bool(shown & {"<|call|>", "<|calls|>"}), "<|flush|>" in shown
    if "<|end|>" in shown and has_call and ("<|return|>" in shown or has_flush):
        ends.discard(ids["<|end|>"])
    if "</s>" in shown and "<|tool_response>" in shown:
        ends.discard(ids["</s>"])
    return ends


@st.composite
def vocabularies(draw: st.DrawFn) -> Words:
    """Draw some ends, at most one token for a role that has several (llama.cpp takes any of them), and some others."""
    texts = draw(st.lists(st.sampled_from([*END_OF_GENERATION, *OTHERS]), max_size=7, unique=True))
    for role in (PADDING, REPOSITORY, SEPARATOR):
        texts += draw(st.lists(st.sampled_from(role), max_size=1))
    texts = draw(st.permutations(texts or ["<|other|>"]))
    named = draw(st.dictionaries(st.sampled_from(ROLES), st.integers(0, len(texts) - 1), max_size=3))
    return Words(tuple(texts), tuple(sorted(named.items())))


@settings(max_examples=150)
@given(words=vocabularies(), kind=st.sampled_from([NORMAL, CONTROL]))
@example(Words(("<|end|>", "<|return|>", "<|calls|>")), NORMAL)
@example(Words(("<|end|>", "<|flush|>", "<|call|>")), NORMAL)
@example(Words(("<|end|>", "<|flush|>", "<|return|>")), NORMAL)
@example(Words(("</s>", "<|tool_response>"), (("eos", 0),)), CONTROL)
@example(Words(("<|end|>", "<|call|>", "<|return|>"), (("eos", 0), ("eot", 0))), CONTROL)
def test_ends_are_those_of_llama_cpp(words: Words, kind: int) -> None:
    """GG-6: every text, every role and every exemption, named by metadata or not, whatever type the file gives."""
    file = answering([text.encode() for text in words.texts], kind)
    keys = {f"tokenizer__ggml__{role}_token_id": value(U32, token) for role, token in words.named}
    model = validate_model(file.with_keys(**keys).data, Profile())
    vocabulary = model.tokenizer.vocabulary  # type: ignore[attr-defined]
    tokens = [text.decode() for text in vocabulary.texts]
    assert tuple(tokens[: len(words.texts)]) == words.texts
    named = {"eos": len(words.texts)} | dict(words.named)  # `answering` names the token behind the first ones
    assert set(model.tokenizer.stop_ids) == ends_of(tokens, named)
    plain = validate_model(file.with_keys(**keys).data, replace(Profile(), gguf_stop_tokens="metadata ids only"))
    assert set(plain.tokenizer.stop_ids) == {token for role, token in named.items() if role in ("eos", "eot", "eom")}
