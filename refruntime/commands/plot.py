"""`refruntime plot`: a generation as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from refruntime.commands.computing import computing_options, prompt_arguments
from refruntime.commands.files import reachable
from refruntime.commands.generating import sampling_options
from refruntime.commands.shared import (
    NumericsChoice,
    contract_failures,
    map_file,
    one_prompt,
    progress,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.session.series import candidates_of, error_by_layer, steps_of
from refruntime.session.session import Session
from refruntime.session.state import SessionError

SUFFIXES: Final = (".png", ".svg")
KINDS: Final = ("probabilities", "entropy", "attention", "error")
NEEDS_STEPS: Final = ("probabilities", "entropy")
STEPS: Final = 32
MOST_POSITIONS: Final = 512
"""Positions of an attention map or an error at most; both keep every intermediate of a pass."""


class MissingMatplotlib(click.ClickException):
    """The extra `plot` is not installed: exit code 3."""

    exit_code = 3

    def __init__(self) -> None:
        super().__init__("plots need matplotlib; install it with `pip install 'refruntime[plot]'`, or ask for --json")


@click.command(
    "plot",
    epilog="""\b
Examples:
  refruntime plot stories.slm1 "Once upon a time" --temperature 1 --top-k 40 --top-p 0.9 -o steps.svg
  refruntime plot stories.slm1 "Once upon a time" --kind entropy -n 64 -o entropy.png
  refruntime plot stories.slm1 "Once upon a time" --kind attention --layer 2 --head 1 -o head.svg
  refruntime plot stories.slm1 "Once upon a time" --kind error -o error.svg
""",
)
@prompt_arguments
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="probabilities",
    show_default=True,
    help="probabilities: candidates of each step, chosen and cut; entropy: with the margin, along the generation; "
    "attention: one head; error: distance from float64 layer by layer.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The picture, .png or .svg.")
@click.option(
    "-n",
    "--max-new-tokens",
    "steps",
    type=click.IntRange(min=0),
    help=f"Tokens to generate.  [default: {STEPS}; 0 for attention and error]",
)
@sampling_options
@click.option("--count", type=click.IntRange(1, 64), default=8, show_default=True, help="Candidates of a step.")
@click.option("--layer", type=click.IntRange(min=0), default=0, show_default=True, help="Layer of an attention map.")
@click.option("--head", type=click.IntRange(min=0), default=0, show_default=True, help="Head of an attention map.")
@click.option(
    "--width",
    type=click.IntRange(800, 10_000),
    default=1600,
    show_default=True,
    help="Pixels across at most; what does not fit goes on below.",
)
@computing_options
def plot_command(
    model: Path,
    prompt: str | None,
    ids: list[int] | None,
    kind: str,
    output: Path | None,
    steps: int | None,
    sampling: dict[str, Any],
    count: int,
    layer: int,
    head: int,
    width: int,
    profile: Profile,
    numerics: NumericsChoice,
    as_json: bool,
) -> None:
    """Draw what MODEL does behind PROMPT: its candidates, its entropy, where a head looks, how exact its numbers are.

    Needs the extra `plot`; --json without -o writes the numbers alone and needs nothing. The same numbers give the same
    file under one version of matplotlib.
    """
    source = one_prompt(prompt, ids)
    if output is None and not as_json:
        raise click.UsageError("Say where the picture goes: -o FILE.png or -o FILE.svg; or ask for --json.")
    if output is not None:
        check_picture(output, "-o")
    wanted = steps if steps is not None else STEPS if kind in NEEDS_STEPS else 0
    if wanted == 0 and kind in NEEDS_STEPS:
        raise click.BadParameter(f"expected at least 1 for --kind {kind}", param_hint="-n")
    data = map_file(model)
    about = {"model": str(model), "kind": kind, "profile": profile.fingerprint, "numerics": numerics.name}
    try:
        with contract_failures(as_json, **about):
            with progress("loading"):
                session = Session(data, profile, numerics.make(), model.name)
            session = session.set(**sampling).prompt(source)
            session = _stepped(session, wanted)
            with progress("computing"):
                series, draw = _series(session, kind, count, layer, head, width)
    except SessionError as error:
        raise click.UsageError(str(error)) from error
    except ValueError as error:  # an id that the vocabulary does not have
        raise click.BadParameter(str(error), param_hint="--ids") from error
    if output is not None:
        write_picture(draw(), output)
    if as_json:
        write_json({**about, "ids": list(session.ids), "saved": None if output is None else str(output), **series})
    else:
        click.echo(f"wrote {output}: {_said(session, kind, layer, head)}")


def _stepped(session: Session, steps: int) -> Session:
    with progress("generating", steps) as advance:
        for _ in range(steps):
            if session.finished:
                break
            session = session.step()
            advance(1)
    return session


def _series(
    session: Session, kind: str, count: int, layer: int, head: int, width: int
) -> tuple[Mapping[str, Any], Callable[[], Any]]:
    """Return the numbers as plain values, and a function that draws them."""
    if kind not in NEEDS_STEPS and len(session.ids) > MOST_POSITIONS:
        raise SessionError(f"{len(session.ids)} positions; --kind {kind} takes at most {MOST_POSITIONS}")
    if kind == "probabilities":
        steps: Sequence[Any] = candidates_of(session, count)
        return {"steps": [step.to_dict() for step in steps]}, _drawing(kind, steps, session, width)
    numbers: Any
    if kind == "entropy":
        numbers = steps_of(session)
    elif kind == "attention":
        numbers = session.attention(layer, head)
    else:
        numbers = error_by_layer(session)
    return numbers.to_dict(), _drawing(kind, numbers, session, width)


def _drawing(kind: str, numbers: Any, session: Session, width: int) -> Callable[[], Any]:
    def draw() -> Any:
        plots = _plots()
        return getattr(plots, f"{kind}_plot")(numbers, plots.about_session(session), width)

    return draw


def _plots() -> Any:
    from refruntime.show import plots

    return plots


def check_picture(path: Path, option: str) -> None:
    """Refuse a name that is no picture, and any without matplotlib."""
    if path.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{path}: expected a name that ends in .png or .svg", param_hint=option)
    if find_spec("matplotlib") is None:
        raise MissingMatplotlib


def write_picture(figure: Any, path: Path) -> None:
    """Write a figure: exit code 3 where that is impossible."""
    with reachable(path):
        _plots().write_plot(figure, path)


def _said(session: Session, kind: str, layer: int, head: int) -> str:
    positions, taken = len(session.ids), len(session.state.taken)
    what = {"attention": f"attention of layer {layer}, head {head}", "error": "distance from float64"}.get(kind, kind)
    return f"{what}, {positions} positions, {taken} of them sampled"
