"""Cases on the tokens that end a generation by their text or by the metadata of a GGUF file (GG-6).

All logits of the models are 0, so that the first token, id 0, is the answer to everything. What follows depends on
what that token is called, and on whether the build takes it for an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from refruntime.battery.models.gguf import (
    CONTROL,
    F32,
    I32,
    NORMAL,
    STRING,
    U32,
    GgufParts,
    LlamaShape,
    array,
    llama_model,
    spm_vocabulary,
    value,
)
from refruntime.cases.steps import NEXT_TOKEN, Case, Generate, Load

SHAPE: Final = LlamaShape(hidden=8, layers=1, heads=2, kv_heads=2, ffn=12, context=24)
EOS: Final = b"<stop>"

FIRST_TOKENS: Final[dict[str, tuple[bytes, ...]]] = {
    "end-of-sequence": (b"</s>",),
    "end-of-turn": (b"<|im_end|>",),
    "end-of-text": (b"<|endoftext|>",),
    "gemma": (b"<eos>",),
    "padding-mark": (b"<PAD>",),
    "file-mark": (b"<|file_sep|>",),
    "prefix-mark": (b"<|fim_prefix|>",),
    "message-end": (b"<|end|>", b"<|return|>", b"<|call|>"),
    "plain-beside-tools": (b"</s>", b"<|tool_response>"),
    "end-without-call": (b"<|end|>", b"<|return|>"),
    "always-shown": (b"<|message|>",),
    "no-known-text": (b"<|other|>",),
}
"""Case -> texts of the first tokens of the vocabulary, the answer first."""


def end_cases() -> Iterator[Case]:
    """Yield a session for every kind of first token, as a normal and as a control token, named by a key or not."""
    for name, texts in FIRST_TOKENS.items():
        for kind in (NORMAL, CONTROL):
            title = f"gguf/ends-{name}-{'control' if kind == CONTROL else 'normal'}"
            model = answering(texts, kind)
            yield _case(title, model)
            yield _case(f"{title}-named-eos", model.with_keys(tokenizer__ggml__eos_token_id=value(U32, 0)))
    other = answering(FIRST_TOKENS["no-known-text"], NORMAL)
    for role in ("eot", "eom", "fim_pad", "fim_rep", "fim_sep", "fim_pre"):
        named = other.with_keys(**{f"tokenizer__ggml__{role}_token_id": value(U32, 0)})
        yield _case(f"gguf/ends-no-known-text-named-{role.replace('_', '-')}", named)


def _case(title: str, model: GgufParts) -> Case:
    prompts = (b"ab", b"a<|message|></s>b")
    steps = [Load("model"), *(step for prompt in prompts for step in (Generate(prompt, 3), NEXT_TOKEN, NEXT_TOKEN))]
    return Case(title, tuple(steps), {"model": model.data}, ("GG-6", "GG-5", "GEN-5", "NT-5"))


def answering(texts: Sequence[bytes], kind: int) -> GgufParts:
    """Return a model that answers everything with its first token; the first tokens have these texts and one type."""
    plain = spm_vocabulary()
    known = {*texts, EOS, b"</s>", b"<|end|>"}
    rest = [place for place, token in enumerate(plain.tokens) if token not in known]
    tokens = [*texts, EOS, *(plain.tokens[place] for place in rest)]
    types = [*(kind for _ in texts), CONTROL, *(plain.types[place] for place in rest)]
    scores = [*(0.0 for _ in texts), 0.0, *(plain.scores[place] for place in rest)]
    size = len(tokens)
    file = llama_model(520, SHAPE)
    tensors = []
    for tensor in file.tensors:
        if tensor.name == b"output_norm.weight":
            tensor = replace(tensor, payload=bytes(len(tensor.payload)))
        elif tensor.name in (b"token_embd.weight", b"output.weight"):
            bytes_ = 4 * SHAPE.hidden * size
            payload = (tensor.payload + bytes(bytes_))[:bytes_]
            tensor = replace(tensor, dimensions=(SHAPE.hidden, size), payload=payload)
        tensors.append(tensor)
    return replace(file, tensors=tuple(tensors)).with_keys(
        tokenizer__ggml__tokens=array(STRING, tokens),
        tokenizer__ggml__token_type=array(I32, types),
        tokenizer__ggml__scores=array(F32, scores),
        tokenizer__ggml__eos_token_id=value(U32, len(texts)),
        tokenizer__ggml__bos_token_id=value(U32, tokens.index(b"<s>")),
    )
