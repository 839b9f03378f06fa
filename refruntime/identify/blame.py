"""Name the rule that a build breaks from the shortest session in which it shows: what its last step does, and how.

A rule is blamed for what it says, not for being tested by many experiments that fail: a call that clears too much is
told by the call, a wrong field by the field, a draw by the part of the configuration that it needs.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Final

from refruntime.cases.needs import needs_of
from refruntime.cases.observation import Observation, code_of, diagnostics_of, result_of
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Configure, Generate, Load, Step
from refruntime.contract.fields import FIELDS_BY_NAME
from refruntime.contract.status import Status
from refruntime.differential.run import PairRun
from refruntime.identify.draw_rules import (
    NUMBERS,
    Often,
    Tags,
    configured,
    draws_otherwise,
    rule_of_configuration,
    rule_of_draw,
    shows,
)
from refruntime.identify.shortest import Shortener
from refruntime.memory import HostMisuse

CONFIGURED: Final = frozenset(each.name for each in fields(Configure))
PROMPT: Final = frozenset({"tokenizer_output", "prompt_tokens"})
CLEARED: Final = frozenset(
    {"prompt_tokens", "generated_tokens", "kv_length", "tokenizer_output", "selected_token", *NUMBERS}
)
"""What a reset or a failure clears (ST-5, ST-7)."""

TOKENIZERS: Final = {"slm1/tokenizer/bpe1": "SL-10", "slm1": "SL-8", "gguf": "GG-5"}
"""The rule of the tokenizer of a model, by the first of these features that it needs."""

RESULTS: Final = {"Generate": "GEN-8", NEXT_TOKEN.export: "NT-6", "Load": "ST-3", "Configure": "ST-9"}
"""The rule of the result text of a call that is right otherwise."""

CALLS: Final = {INIT.export: "ST-2", RESET.export: "ST-5", FREE.export: "ST-6"}
"""The rule of what a call does to the state."""

BEFORE_TRANSACTION: Final = frozenset(
    {Status.NullPointer, Status.InvalidLength, Status.InvalidUtf8, Status.ModelNotLoaded}
)

MANY: Final = 3
"""Tokens that tell a context that lacks one from one that lacks all of them."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")


def rule_of(run: PairRun, tags: Tags, shortener: Shortener | None = None) -> str:
    """Return the rule that the first difference of a shortest session breaks; empty where it tells none.

    `shortener` asks the build once more where two rules would show the same.
    """
    often: Often = (lambda run: True) if shortener is None else shortener.often
    first = run.comparison.first
    if first is None:
        return ""
    index = first.index
    differing = frozenset(each.field for each in run.comparison.differences)
    last = run.case.steps[index]
    if "status" in differing:
        return _of_status(run, index, tags, often)
    special = _special(run, index)
    if special is not None:
        return _of_state(run, special, index, differing)
    return _of_fields(run, last, index, differing, shortener) or rule_of_draw(run, index, differing, tags, often)


# What a call leaves behind -------------------------------------------------------------------------------------------


def _special(run: PairRun, end: int) -> int | None:
    """Return the last step up to `end` that does more than to bring a build where it generates."""
    for index in range(end, -1, -1):
        step = run.case.steps[index]
        failed = code_of(run.reference[index]) not in (0, None)
        again = step == INIT and index > 0
        if failed or again or step in (RESET, FREE):
            return index
    return None


def _of_state(run: PairRun, special: int, end: int, differing: frozenset[str]) -> str:
    step, answer = run.case.steps[special], run.reference[special]
    if len(differing) == 1 and not differing & (CLEARED | CONFIGURED | {"result", "model_loaded", "quantization"}):
        return _of_field(run, end, next(iter(differing)))
    if draws_otherwise(run, end, differing) and code_of(answer) == 0:
        return "PR-4"
    if isinstance(step, Call) and step.export in CALLS:
        return CALLS[step.export]
    return _of_failure(step, answer)


def _of_failure(step: Step, answer: Observation) -> str:
    """Return the rule of what a failed call keeps and clears."""
    code = code_of(answer)
    export = step.export if isinstance(step, Call) else ""
    if isinstance(step, Load) or export == "load_model":
        return "ST-4"
    if isinstance(step, Configure) or export == "set_sampling_config":
        return "SC-2"
    if step == NEXT_TOKEN:
        return {Status.ContextExceeded: "NT-3", Status.ModelNotLoaded: "NT-1"}.get(Status(code or 0), "NT-2")
    if isinstance(step, Generate):
        early = step.max_new_tokens < 1 or not _is_text(step.prompt) or code == Status.ModelNotLoaded
        return "ST-8" if early else "ST-7"
    return "ST-8" if code in BEFORE_TRANSACTION else "ST-7"


# Statuses ------------------------------------------------------------------------------------------------------------


def _of_status(run: PairRun, index: int, tags: Tags, often: Often) -> str:
    step, mine, theirs = run.case.steps[index], code_of(run.reference[index]), code_of(run.build[index])
    before = _special(run, index - 1)
    went_on = Status.Ok in (mine, theirs)  # one side has a state in which it can
    if before is not None and went_on and not isinstance(step, Load | Configure):
        return _of_state(run, before, index, frozenset({"status", "model_loaded"}))
    drawn = isinstance(step, Generate) or step == NEXT_TOKEN
    if drawn and {mine, theirs} == {Status.Ok, Status.InvalidUtf8} and configured(run, index).temperature > 0:
        return rule_of_configuration(run, index, tags, often)  # the text is one of other tokens
    if isinstance(step, Generate):
        return _of_generate(run, step, mine, theirs)
    if step == NEXT_TOKEN:
        if mine == Status.Ok:
            return "NT-7" if theirs == Status.InvalidUtf8 else "NT-4"
        return {Status.ModelNotLoaded: "NT-1", Status.ContextExceeded: "NT-3"}.get(Status(mine or 0), "NT-2")
    if isinstance(step, Configure):
        return "SC-2"
    if isinstance(step, Load):
        return tags(("SL-", "GG-", "ST-3", "ST-4"))
    if {mine, theirs} == {Status.NullPointer, Status.InvalidLength}:
        return "MEM-2"
    return (
        "GEN-1" if isinstance(step, Call) and step.export == "generate" and Status.NullPointer in (mine, theirs) else ""
    )


def _of_generate(run: PairRun, step: Generate, mine: int | None, theirs: int | None) -> str:
    if not _is_text(step.prompt) or step.max_new_tokens < 1 or mine in (Status.NullPointer, Status.ModelNotLoaded):
        return "GEN-1"
    by_status = {
        Status.InvalidUtf8: "GEN-9",
        Status.ContextExceeded: "GEN-3",
        Status.InvalidLength: "GEN-3",
        Status.OutputBufferExceeded: "GEN-10",
    }
    other = theirs if mine == Status.Ok else mine
    return by_status.get(Status(other or 0), _tokenizer(run))


# Documents and results -----------------------------------------------------------------------------------------------


def _of_fields(run: PairRun, last: Step, index: int, differing: frozenset[str], shortener: Shortener | None) -> str:
    if differing & PROMPT and isinstance(last, Generate):
        return _of_prompt(run, index, differing)
    if differing == {"seed"} and _same_bits(run, index):
        return "DG-6"
    if differing and differing <= CONFIGURED:
        return "SC-2" if isinstance(last, Configure) else "ST-3"
    if draws_otherwise(run, index, differing):
        return ""
    if last == NEXT_TOKEN and _lost_its_context(run, index):
        return "NT-6" if result_of(run.reference[index]) else "NT-5"
    if isinstance(last, Generate) and any(isinstance(step, Generate) for step in run.case.steps[:index]):
        return "GEN-2"  # without the generation before it this one would be right
    if differing != {"generated_tokens"} and ("generated_tokens" in differing or _ended_early(run, index)):
        return "GEN-5" if isinstance(last, Generate) else "NT-5"
    if differing == {"result"}:
        return _of_result(run, last, index)
    if differing == {"kv_length"} and isinstance(last, Generate) and _is_one_short(run, index):
        return "GEN-5" if shortener is None or _stays_one_short(run, index, last, shortener) else "DG-8"
    if len(differing) == 1:
        return _of_field(run, index, next(iter(differing)))
    return ""


def _is_one_short(run: PairRun, index: int) -> bool:
    """Say whether the token that was appended last is not in the context of the build."""
    mine, theirs = (diagnostics_of(side[index]) for side in (run.reference, run.build))
    return bool(mine.get("generated_tokens")) and theirs.get("kv_length") == mine["kv_length"] - 1


def _stays_one_short(run: PairRun, index: int, last: Generate, shortener: Shortener) -> bool:
    """Say whether the context lacks one token only, however many are appended."""
    steps = (*run.case.steps[:index], replace(last, max_new_tokens=MANY))
    try:
        longer = shortener.run(replace(run.case, name=f"{run.case.name}-longer", steps=steps))
    except HostMisuse:
        return True
    return diagnostics_of(longer.reference[index]).get("generated_tokens") != MANY or _is_one_short(longer, index)


def _same_bits(run: PairRun, index: int) -> bool:
    """Say whether both sides show a seed of the same 64 bits, one of them in another way."""
    texts = [str(diagnostics_of(side[index]).get("seed")) for side in (run.reference, run.build)]
    return all(_INTEGER.fullmatch(text) for text in texts) and len({int(text) % 2**64 for text in texts}) == 1


def _lost_its_context(run: PairRun, index: int) -> bool:
    mine, theirs = (diagnostics_of(side[index]).get("kv_length") for side in (run.reference, run.build))
    return bool(mine) and theirs == 0


def _of_prompt(run: PairRun, index: int, differing: frozenset[str]) -> str:
    """Return the rule of ids of a prompt: of an EOS that is kept or a BOS that is not (GEN-2), or of the tokenizer.

    As many ids as the build itself does not count are no prompt's (DG-6).
    """
    if not shows(run, index, "tokenizer_output"):
        return _tokenizer(run)
    if "tokenizer_output" not in differing:
        return "DG-8"
    sides = run.reference[index], run.build[index]
    mine, theirs = (str(diagnostics_of(each).get("tokenizer_output")).split(",") for each in sides)
    counted = diagnostics_of(run.build[index]).get("prompt_tokens")
    if "prompt_tokens" not in differing and counted is not None and len(theirs) != counted:
        return "DG-6"
    at_an_end = mine == theirs[:-1] or mine == theirs[1:] or mine[1:] == theirs
    return "GEN-2" if at_an_end else _tokenizer(run)


def _of_result(run: PairRun, last: Step, index: int) -> str:
    """Return the rule of a text of right tokens: what stands around it is wrong, or how a token becomes text."""
    mine, theirs = result_of(run.reference[index]) or b"", result_of(run.build[index]) or b""
    name = last.export if isinstance(last, Call) else type(last).__name__
    decoded = isinstance(last, Generate) or last == NEXT_TOKEN
    return _tokenizer(run) if decoded and mine not in theirs else RESULTS.get(name, "")


def _of_field(run: PairRun, index: int, name: str) -> str:
    """Return the rule that says what a field holds."""
    if name == "last_error":
        return "ERR-5" if code_of(run.reference[index]) == 0 else "ERR-3"
    if name == "logits_summary":
        mine, theirs = (diagnostics_of(each).get(name) or {} for each in (run.reference[index], run.build[index]))
        wrong = {part for part in mine if mine[part] != theirs.get(part)}
        if theirs and wrong == {"mean"}:
            return "DG-7"
    return FIELDS_BY_NAME[name].rule if name in FIELDS_BY_NAME else ""


def _ended_early(run: PairRun, index: int) -> bool:
    mine, theirs = run.reference[index], run.build[index]
    counts = [diagnostics_of(each).get("generated_tokens") for each in (mine, theirs)]
    return ends_early(result_of(mine), result_of(theirs)) and (None in counts or counts[0] != counts[1])


def ends_early(mine: bytes | None, theirs: bytes | None) -> bool:
    """Say whether one side stopped where the other went on, with the same text up to there."""
    if not mine or theirs is None or mine == theirs:
        return False
    return mine.startswith(theirs) or theirs.startswith(mine)


# Models --------------------------------------------------------------------------------------------------------------


def _tokenizer(run: PairRun) -> str:
    needs = needs_of(run.case)
    return next((rule for feature, rule in TOKENIZERS.items() if feature in needs), "")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
