"""`refruntime trace`: the values of any intermediate of a pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from refruntime.commands.computing import computing_options, opened_with_ids, prompt_arguments
from refruntime.commands.files import save as write_file
from refruntime.commands.shared import (
    NumericsChoice,
    contract_failures,
    map_file,
    one_prompt,
    progress,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.session.prefix_cache import PrefixCache
from refruntime.session.questions import pattern
from refruntime.show.tensors import describe, tensors_table
from refruntime.show.text import count


@click.command(
    "trace",
    epilog="""\b
Examples:
  refruntime trace model.gguf "Once upon a time"
  refruntime trace model.gguf "Once upon a time" --at blk.0/attn_q.rope
  refruntime trace model.gguf --ids 1,403,407 --at 'blk.*.residual' --save stream.npz --numerics f64
""",
)
@prompt_arguments
@click.option(
    "--at",
    "wanted",
    default="*",
    metavar="LAYER/TENSOR",
    help="Names to show, a shell pattern such as 0/attn_q, blk.0.attn_q or *.residual; all without it.",
)
@click.option("--save", type=click.Path(path_type=Path), help="Write the tensors into this .npz file.")
@computing_options
def trace_command(
    model: Path,
    prompt: str | None,
    ids: list[int] | None,
    wanted: str,
    save: Path | None,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Show what MODEL computes on the way from PROMPT to the logits: shape, range and first values of each tensor.

    Names are those of the GGUF tensors that a value comes from; the first axis is the position.
    """
    source = one_prompt(prompt, ids)
    about: dict[str, Any] = {"model": str(model), "profile": profile.fingerprint, "numerics": numerics.name}
    data = map_file(model)
    with contract_failures(as_json, **about):
        opened, tokens = opened_with_ids(data, source, profile, numerics)
        if not 0 < len(tokens) <= opened.hyperparameters.max_context:
            raise click.BadParameter(
                f"{len(tokens)} ids; expected 1 .. {opened.hyperparameters.max_context}", param_hint="--ids"
            )
        prefix_cache = PrefixCache(opened.transformer)
        with progress("computing"):
            tensors = prefix_cache.tensors(tokens, pattern(wanted))
    if not tensors:
        names = [
            name
            for name in prefix_cache.tensors(tokens[:1])
            if not name.startswith("blk.") or name.startswith("blk.0.")
        ]
        raise click.BadParameter(f"no tensor fits {wanted!r}; names of layer 0: {', '.join(names)}", param_hint="--at")
    if save is not None:
        write_file(
            save, lambda file: np.savez(file, **cast(Any, tensors)), model
        )  # its type hint takes names for flags
    if as_json:
        saved = None if save is None else str(save)
        write_json({**about, "ids": tokens, "saved": saved, "tensors": [describe(*item) for item in tensors.items()]})
        return
    _print(tensors, len(tokens))
    if save is not None:
        click.echo(f"wrote {count(len(tensors), 'tensor')} to {save}")


def _print(tensors: dict[str, NDArray[Any]], positions: int) -> None:
    console = Console()
    console.print(f"{count(positions, 'position')}, {count(len(tensors), 'tensor')}")
    console.print(tensors_table([describe(name, values) for name, values in tensors.items()], console.width))
