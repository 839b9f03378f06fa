"""`refruntime logits`: the logits of every position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from refruntime.api import Model
from refruntime.commands.computing import computing_options, opened_with_ids, prompt_arguments
from refruntime.commands.files import save as write_file
from refruntime.commands.shared import (
    NumericsChoice,
    add_row,
    contract_failures,
    map_file,
    one_prompt,
    plain_table,
    progress,
    visible,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.trace import Event, TensorEvent

SHOWN = 5


@click.command(
    "logits",
    epilog="""\b
Examples:
  refruntime logits model.gguf "Once upon a time"
  refruntime logits model.gguf --ids 1,403,407 --save logits.npy --numerics f64
""",
)
@prompt_arguments
@click.option("--save", type=click.Path(path_type=Path), help="Write all logits [T, V] to this .npy file.")
@computing_options
def logits_command(
    model: Path,
    prompt: str | None,
    ids: list[int] | None,
    save: Path | None,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Compute the logits of every position of PROMPT: float32 [T, V], or float64 with --numerics f64.

    A prompt is encoded as for a generation (BOS, no terminal EOS). Shown are the five best tokens after the last one.
    """
    source = one_prompt(prompt, ids)
    about = {"model": str(model), "profile": profile.fingerprint, "numerics": numerics.name}
    data = map_file(model)
    with contract_failures(as_json, **about):
        opened, tokens = opened_with_ids(data, source, profile, numerics)
        with progress("computing", len(tokens) * opened.hyperparameters.layer_count) as advance:
            values = opened.logits(tokens, tracer=_LayerCounter(advance))  # [T, V]
    if save is not None:
        write_file(save, lambda file: np.save(file, values), model)
    if as_json:
        shape = {"ids": tokens, "shape": list(values.shape), "dtype": values.dtype.name}
        write_json({**about, **shape, "saved": None if save is None else str(save), "top": _top(opened, values[-1])})
        return
    _print_top(opened, values)
    if save is not None:
        click.echo(f"wrote {values.shape[0]} x {values.shape[1]} {values.dtype.name} to {save}")


def _top(model: Model, logits: NDArray[Any]) -> list[dict[str, Any]]:
    """Return the best tokens: logits [V], highest first, of equals the lower id, without NaN."""
    order = np.argsort(-logits, kind="stable")[:SHOWN]  # NaN sorts to the end
    return [
        {"id": int(token), "logit": float(logits[token]), "piece": visible(model.detokenize([int(token)]))}
        for token in order
        if not np.isnan(logits[token])
    ]


def _print_top(model: Model, values: NDArray[Any]) -> None:
    table = plain_table("id", "logit", "piece", right=("id", "logit"))
    for entry in _top(model, values[-1]):
        add_row(table, entry["id"], np.format_float_positional(values[-1][entry["id"]], trim="-"), entry["piece"])
    console = Console()
    console.print(f"{values.shape[0]} positions, {values.shape[1]} logits each; the best after the last position:")
    console.print(table)


class _LayerCounter:
    """Advance a progress bar with every position that has passed a layer."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent) and event.name.endswith(".residual"):
            self._advance(event.shape[0])
