"""Find our name of a tensor by that of an engine: of llama.cpp's graphs, of Hugging Face's modules, or by a table."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

GGML: Final = {
    "embd": "token_embd",
    "inp_embd": "token_embd",
    "attn_norm-N": "blk.N.attn_norm",
    "Qcur-N": "blk.N.attn_q",
    "Kcur-N": "blk.N.attn_k",
    "Vcur-N": "blk.N.attn_v",
    "Qcur_rope-N": "blk.N.attn_q.rope",
    "Kcur_rope-N": "blk.N.attn_k.rope",
    "kqv_out-N": "blk.N.attn.mixed",
    "attn_out-N": "blk.N.attn_output",
    "ffn_inp-N": "blk.N.attn_residual",
    "ffn_norm-N": "blk.N.ffn_norm",
    "ffn_gate-N": "blk.N.ffn_gate",
    "ffn_up-N": "blk.N.ffn_up",
    "ffn_swiglu-N": "blk.N.ffn_hidden",
    "ffn_gate_par-N": "blk.N.ffn_hidden",
    "ffn_out-N": "blk.N.ffn_down",
    "l_out-N": "blk.N.residual",
    "result_norm": "output_norm",
    "result_output": "logits",
}
"""Names of llama.cpp's callback, in the graph of a plain transformer."""

HUGGING_FACE: Final = {
    "model.embed_tokens": "token_embd",
    "model.layers.N.input_layernorm": "blk.N.attn_norm",
    "model.layers.N.self_attn.q_proj": "blk.N.attn_q",
    "model.layers.N.self_attn.k_proj": "blk.N.attn_k",
    "model.layers.N.self_attn.v_proj": "blk.N.attn_v",
    "model.layers.N.self_attn.o_proj": "blk.N.attn_output",
    "model.layers.N.self_attn": "blk.N.attn_output",
    "model.layers.N.post_attention_layernorm": "blk.N.ffn_norm",
    "model.layers.N.mlp.gate_proj": "blk.N.ffn_gate",
    "model.layers.N.mlp.up_proj": "blk.N.ffn_up",
    "model.layers.N.mlp.down_proj": "blk.N.ffn_down",
    "model.layers.N.mlp": "blk.N.ffn_down",
    "model.layers.N": "blk.N.residual",
    "model.norm": "output_norm",
    "lm_head": "logits",
}
"""Module paths of a plain transformer, for outputs that forward hooks collect."""

_LAYER = re.compile(r"(?<![0-9A-Za-z])\d+(?![0-9A-Za-z])")


class UnknownNames(ValueError):
    """No name of a dump is one of ours; the message says which were expected."""


@dataclass(frozen=True)
class Names:
    """How an engine names tensors: `table` with N for a layer, and `halves` where queries and keys lie in halves."""

    kind: str
    table: Mapping[str, str] = field(repr=False)
    halves: bool = False

    def ours(self, theirs: str) -> str | None:
        """Return our name, None for a tensor that is not known."""
        name = theirs.removesuffix(".output").removesuffix(".0") if self.kind == "Hugging Face" else theirs
        for candidate in (name, theirs):
            if candidate in self.table:
                return self.table[candidate]
            layer = _LAYER.search(candidate)
            if layer is not None:
                general = candidate[: layer.start()] + "N" + candidate[layer.end() :]
                if general in self.table:
                    return self.table[general].replace("N", layer.group())
        return None


def _own(names: Iterable[str]) -> Names:
    return Names("ours", {name: name for name in names})


KINDS: Final[dict[str, Callable[[], Names]]] = {
    "ggml": lambda: Names("ggml", GGML),
    "hf": lambda: Names("Hugging Face", HUGGING_FACE, halves=True),
}


def read_names(text: str) -> Names:
    """Read a table in TOML: `"their.name.N" = "blk.N.our_name"`, and `halves = true`; UnknownNames for others."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UnknownNames(f"no table of names: {error}") from error
    halves = document.pop("halves", False)
    wrong = [name for name, ours in document.items() if not isinstance(ours, str)]
    if wrong or not isinstance(halves, bool) or not document:
        raise UnknownNames('a table of names holds "their.name.N" = "blk.N.our_name", and halves = true or false')
    return Names("a table", document, halves)


def names_of(dump: Iterable[str], known: Iterable[str]) -> Names:
    """Return whose names a dump has: ours, llama.cpp's, Hugging Face's. UnknownNames where it has none of them."""
    dump, known = list(dump), set(known)
    candidates = [_own(name for name in dump if name in known), *(make() for make in KINDS.values())]
    best = max(candidates, key=lambda names: sum(names.ours(name) in known for name in dump))
    if not any(best.ours(name) in known for name in dump):
        shown = ", ".join(sorted(dump)[:4]) or "nothing"
        raise UnknownNames(f"the dump holds {shown}; expected names such as l_out-0, model.layers.0 or blk.0.residual")
    return best
