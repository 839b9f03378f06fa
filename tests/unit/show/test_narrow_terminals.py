"""What commands show fits the terminal: no line is broken by it, nothing is cut."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from refruntime.resources import golden_folder
from tests.support.command_line import command

MODEL = "stories.f32.gguf"
SHOWN = {
    "trace": ("trace", MODEL, "Once"),
    "golden list": ("golden", "list"),
    "contract": ("contract",),
    "a rule": ("contract", "--rule", "SA-5"),
    "inspect": ("inspect", MODEL),
    "tensors": ("inspect", MODEL, "--tensors"),
    "metadata": ("inspect", MODEL, "--metadata"),
    "tokenizer": ("inspect", MODEL, "--tokenizer"),
    "logits": ("logits", MODEL, "Once"),
}
WHOLE = {
    "trace": "blk.3.ffn_norm",
    "golden list": "tokenize/terminal-eos-removed",
    "tensors": "blk.0.attn_output.weight",
    "metadata": "llama.attention.layer_norm_rms_epsilon",
    "inspect": "chat template",
}
"""What stands in one line however narrow it is."""


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", SHOWN)
def test_lines_fit(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-5: names stay whole, and no line is longer than the terminal is wide."""
    monkeypatch.chdir(golden_folder() / "models")  # paths are shown as they were given, whole
    outcome = command(*SHOWN[name], columns=columns)
    assert outcome.code == 0, outcome.stderr
    assert [line for line in outcome.stdout.splitlines() if cell_len(line.rstrip()) > columns] == []
    assert WHOLE.get(name, "") in outcome.stdout
    assert "…" not in outcome.stdout.replace("[…]", "")
