"""The goldens are guarded from two sides: a broken oracle shows in `fill --check`, a changed file in `verify`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from refruntime import exports
from refruntime.commands import fill as fill_command
from refruntime.containers import slm1
from refruntime.contract import status
from refruntime.contract.status import Status
from refruntime.golden.corpus import Corpus
from refruntime.golden.verify import verify
from refruntime.host_numbers import to_u32
from refruntime.model.slm1 import model as slm1_model
from refruntime.quants.slm1 import unpack_q4_0
from refruntime.runtime import Machine
from refruntime.sampling import Stages
from refruntime.sampling.config import SamplingConfig
from refruntime.sampling.stages import cut
from refruntime.tokenizers.bpe1 import Bpe1Tokenizer
from tests.support.command_line import command

GOLDEN = Path(__file__).resolve().parent.parent.parent / "golden"


@pytest.fixture(scope="module")
def committed() -> Path:
    """Return the goldens of the checkout."""
    if not (GOLDEN / "INDEX.json").is_file():
        pytest.skip("the goldens are not beside the package here")
    return GOLDEN


def check(folder: Path, *patterns: str) -> Any:
    shown = command("fill", "--golden", folder, "--check", "--json", *patterns)
    assert shown.stdout, shown.stderr
    return shown.json


def test_the_goldens_are_what_they_say(committed: Path) -> None:
    """DG-3, ABI-1: every hash fits, every rule is pinned or excused, tables are the package's, nothing is left over."""
    result = verify(Corpus(committed))
    assert [str(finding) for finding in result.findings] == []
    assert result.cases > 100
    assert result.hashes > 5 * result.cases
    assert result.root == json.loads((committed / "INDEX.json").read_bytes())["root"]


def test_the_goldens_are_what_the_oracle_answers(committed: Path) -> None:
    """GEN-5, SA-6, SL-1, GG-8: filling again gives every stored answer, and the second opinion still agrees."""
    report = check(committed)
    assert [item for item in report["cases"] if item["outcome"] != "unchanged"] == []
    assert report["unchanged"] == len(json.loads((committed / "INDEX.json").read_bytes())["cases"]) > 100
    assert (report["index"], report["exit_code"]) == ([], 0)


# One rule broken in the oracle, in each family -----------------------------------------------------------------------


def _clamp(value: Any) -> int:
    return min(max(int(value), 0), 2**32 - 1)


def _free_and_reset(self: Machine) -> Machine:
    return replace(FREE(self), sampling=SamplingConfig())


def _cut_beyond(weighing: Any, top_p: Any, profile: Any) -> Any:
    """Keep one candidate more where the threshold is reached exactly."""
    kept = cut(weighing, top_p, profile)
    if weighing.cumulative[kept.kept - 1] != kept.threshold or kept.kept == weighing.cumulative.size:
        return kept
    return replace(kept, kept=kept.kept + 1, mass=weighing.cumulative[kept.kept])


def _take_beyond(self: Machine, logits: Any, forced: int | None = None) -> Machine:
    return replace(TAKE(replace(self, stages=Stages(cut=_cut_beyond)), logits, forced), stages=self.stages)


TAKE: Final = Machine.take
FREE: Final = Machine.free

Patch = Callable[[pytest.MonkeyPatch], None]
BREAKS: Mapping[str, tuple[str, Patch, str]] = {
    "abi": ("numbers are clamped (ABI-3)", lambda m: m.setattr(exports, "to_u32", _clamp), "status"),
    "memory": (
        "alloc gives one byte more (MEM-1)",
        lambda m: m.setattr(exports, "MAX_TRANSFER_BYTES", 134_217_729),
        "value",
    ),
    "load": (
        "free_model resets the configuration (ST-6)",
        lambda m: m.setattr(Machine, "free", _free_and_reset),
        "diagnostics.temperature",
    ),
    "errors": (
        "a message has another text (ERR-3)",
        lambda m: m.setitem(status._MESSAGES, Status.ModelNotLoaded, "no model loaded"),
        "diagnostics.last_error",
    ),
    "tokenize": (
        "no merge is applied (SL-10)",
        lambda m: m.setattr(Bpe1Tokenizer, "merge", lambda self, symbols: list(symbols)),
        "diagnostics.tokenizer_output",
    ),
    "sampling": (
        "the prefix must exceed the threshold (SA-5)",
        lambda m: m.setattr(Machine, "take", _take_beyond),
        "result",
    ),
    "generate": (
        "the context is full one position early (GEN-6)",
        lambda m: m.setattr(Machine, "full_length", property(lambda self: self.model.capacity - 1)),
        "diagnostics.generated_tokens",
    ),
    "containers": (
        "the checksum is not looked at (SL-5)",
        lambda m: m.setattr(slm1, "_check_checksum", lambda *given: None),
        "status",
    ),
    "quants": (
        "the high nibble comes first (SL-2)",
        lambda m: m.setattr(
            slm1_model, "unpack_q4_0", lambda payload: unpack_q4_0(payload).reshape(-1, 2)[:, ::-1].reshape(-1)
        ),
        "diagnostics.top_tokens",
    ),
}


def citing(folder: Path, family: str, rule: str) -> list[str]:
    """Return the first cases of a family that cite a rule; all of them see no more than these."""
    cases = json.loads((folder / "INDEX.json").read_bytes())["cases"]
    return [name for name, entry in cases.items() if name.startswith(f"{family}/") and rule in entry["rules"]][:SEEING]


SEEING: Final = 6
"""Cases of a family that are enough to see its broken rule."""


@pytest.mark.parametrize("family", BREAKS)
def test_a_broken_rule_is_named(committed: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """ABI-3, MEM-1, ST-6, ERR-3, SL-10, SA-5, GEN-6, SL-5, SL-2: the check names the case, the step and the field.

    Both guards see it: the stored answer differs, and the second opinion contradicts the broken oracle.
    """
    meaning, patch, field = BREAKS[family]
    patch(monkeypatch)
    monkeypatch.setattr(fill_command, "_index_differences", lambda *_: [])  # no rule changes it; the test above asks it
    report = check(committed, *citing(committed, family, meaning.rpartition("(")[2].rstrip(")")))
    assert report["exit_code"] == 1, meaning
    shown = [item for item in report["cases"] if item["outcome"] == "refused"]
    assert shown, meaning
    assert all(item["id"].startswith(f"{family}/") for item in shown)
    problems = [problem for item in shown for problem in item["problems"]]
    stored = [p for p in problems if re.fullmatch(r"step \d+", p["place"]) and p["text"].startswith("stored ")]
    assert field in {problem["field"] for problem in stored}, meaning
    contradicted = [p for p in problems if re.match(r"step \d+ \w", p["place"]) and "second opinion" in p["text"]]
    assert field.split(".")[-1].replace("value", "status") in {problem["field"] for problem in contradicted}, meaning


def test_every_family_is_broken_once(committed: Path) -> None:
    """The table above has a rule of every family of the goldens."""
    families = {path.name for path in (committed / "cases").iterdir()}
    assert families == set(BREAKS)
    assert to_u32(-1) != _clamp(-1)
