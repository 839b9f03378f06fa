"""Sum an inspection up: what a person asks of a model file first, each answer in one line."""

from __future__ import annotations

from refruntime.contract.profile import Profile
from refruntime.inspection.report import Inspection, TokenizerLine
from refruntime.numerics import Inventory
from refruntime.quants.ggml import GGML_TYPES, in_blocks

TEMPLATE_KEY = "tokenizer.chat_template"
TYPES = {each.name: each for each in GGML_TYPES.values()}


def summary(report: Inspection, profile: Profile) -> dict[str, str]:
    """Return question -> answer, for as much of the file as could be read."""
    answers = {}
    sizes = report.hyperparameters
    if sizes is not None:
        heads = f"{sizes.head_count} heads of {sizes.head_dim}"
        if sizes.kv_head_count != sizes.head_count:
            heads = f"{sizes.head_count} heads of {sizes.head_dim}, {sizes.kv_head_count} for keys and values"
        answers["architecture"] = sizes.architecture
        answers["size"] = f"{sizes.layer_count} layers, hidden {sizes.hidden_size}, ffn {sizes.ffn_size}, {heads}"
    if report.tensors:
        elements = sum(line.elements for line in report.tensors)
        shares = [f"{count.type} {100 * count.elements / max(elements, 1):.3g}%" for count in report.types]
        answers["weights"] = f"{elements:,} in {len(report.tensors)} tensors: {', '.join(shares)}"
        if report.container == "gguf" and _inventory(report).many:
            answers["in memory"] = "as stored in the file, by seq32 and fast where numba is (--resident auto)"
    if report.tokenizer is not None:
        answers |= _tokenizer(report.tokenizer)
    if report.container == "gguf":
        has_template = any(line.key == TEMPLATE_KEY for line in report.metadata)
        answers["chat template"] = "yes" if has_template else "no"
    if sizes is not None and sizes.encoder is not None:
        answers["pooling"] = sizes.encoder.pooling
    if sizes is not None:
        answers["capacity"] = _capacity(report, sizes.max_context, profile)
    if report.quantization is not None:
        answers["label"] = report.quantization
    return answers


def _inventory(report: Inspection) -> Inventory:
    matrices = [line for line in report.tensors if len(line.shape) > 1 and in_blocks(TYPES[line.type], line.shape[-1])]
    return Inventory(sum(line.elements for line in matrices))


def _tokenizer(line: TokenizerLine) -> dict[str, str]:
    pre_tokenizer = "" if line.pre_tokenizer is None else f", pre-tokenizer {line.pre_tokenizer}"
    added = [f"{name} {token}" for name, token, is_added in _ends(line) if is_added and token is not None]
    kept = [f"{name} {token}" for name, token, is_added in _ends(line) if not is_added and token is not None]
    said = [f"{', '.join(added)} added" if added else "", f"{', '.join(kept)} not added" if kept else ""]
    stops = [f'{token} "{text}"' for token, text in zip(line.stop_ids, line.stop_texts, strict=True)]
    return {
        "tokenizer": f"{line.kind}, {line.vocab_size:,} ids{pre_tokenizer}",
        "begin and end": "; ".join(part for part in said if part) or "neither is known",
        "stops at": ", ".join(stops) or "nothing",
    }


def _ends(line: TokenizerLine) -> tuple[tuple[str, int | None, bool], ...]:
    return ("BOS", line.bos_id, line.adds_bos), ("EOS", line.eos_id, line.adds_eos)


def _capacity(report: Inspection, capacity: int, profile: Profile) -> str:
    lengths = [line.value for line in report.metadata if line.key.endswith(".context_length")]
    trained = next((length for length in lengths if isinstance(length, int)), capacity)
    if trained == capacity:
        return f"{capacity:,} positions"
    limit = profile.gguf_context_limit
    return f"{capacity:,} positions: the profile ends there (GG-7, limit {limit:,}); the file says {trained:,}"
