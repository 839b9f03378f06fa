"""What the commands share: parameters, files, failures, JSON, progress."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from refruntime.commands.files import Command, ModelPath, path_option, reachable
from refruntime.contract.status import Status
from refruntime.errors import ContractError
from refruntime.model.load import Buffer
from refruntime.numerics import NUMERICS_NAMES, RESIDENT, Numerics, canonical_name, numerics_named
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.unknown_bytes import UNKNOWN_BYTES
from refruntime.visible import printable as printable
from refruntime.visible import visible as visible


def _ids(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of ids; expected numbers such as 1,306,29") from None


RESIDENT_CHOSEN = ("seq32", "fast")
"""The numeric profiles that can leave weights as they are stored."""


@dataclass(frozen=True)
class NumericsChoice:
    """The numeric profile that `--numerics` names, and how it holds weights (`--resident`)."""

    name: str
    resident: str

    def make(self) -> Numerics:
        """Return the profile; with `auto`, how weights are held is decided for each model that is bound."""
        return numerics_named(self.name, resident=self.resident)

    def held(self, numerics: Numerics) -> dict[str, str]:
        """Return `resident` of a document, where there is a choice: how a model holds weights, and who decided."""
        if self.name not in RESIDENT_CHOSEN:
            return {}
        return {"resident": numerics.resident + (" (auto)" if self.resident == "auto" else "")}


class NumericsName(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """The name of a numeric profile; `ggml32` may have switches behind it."""

    name = "profile"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Show what there is."""
        return f"[{'|'.join(NUMERICS_NAMES)}[,SWITCH=VALUE...]]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as `numerics_named` takes it; exit 2 for what it refuses."""
        try:
            return canonical_name(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _remember_resident(context: click.Context, _parameter: click.Parameter, value: str) -> None:
    context.meta["resident"] = value


def _numerics(context: click.Context, _parameter: click.Parameter, value: str) -> NumericsChoice:
    resident = context.meta.get("resident", "auto")
    if resident == "stored" and value not in RESIDENT_CHOSEN:
        message = f"only --numerics seq32 and fast leave weights as they are stored, not {value}"
        raise click.BadParameter(message, param_hint="--resident")
    return NumericsChoice(value, resident)


def numerics_option(command: Command) -> Command:
    """Add `--numerics` and `--resident`; the command gets a NumericsChoice."""
    command = click.option(
        "--numerics",
        type=NumericsName(),
        default="seq32",
        show_default=True,
        callback=_numerics,
        help="seq32: the contract's float32, bit for bit; f64: the truth that says how wrong float32 is; fast: float32 "
        "through BLAS, for large models, never for goldens; ggml32: the scalar kernels of llama.cpp, bit for bit, with "
        "switches such as ggml32,kv=f16.",
    )(command)
    return click.option(
        "--resident",
        type=click.Choice(RESIDENT),
        default="auto",
        show_default=True,
        is_eager=True,
        expose_value=False,
        callback=_remember_resident,
        help="How seq32 and fast hold quantised weights: decoded to float32, or stored as in the file and multiplied "
        "from there, which changes no bit of seq32.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")(command)


def unknown_bytes_option(command: Command) -> Command:
    """Add `--unknown-bytes refuse|drop`."""
    return click.option(
        "--unknown-bytes",
        type=click.Choice(UNKNOWN_BYTES),
        default=UNKNOWN_BYTES[0],
        show_default=True,
        help="A byte that the vocabulary lacks: refuse it, as the contract does, or drop it, as llama.cpp does.",
    )(command)


def html_option(command: Command) -> Command:
    """Add `--html FILE`."""
    return path_option("--html", "html_path", help="Write the report as one HTML page too, without external parts.")(
        command
    )


def ids_option(command: Command) -> Command:
    """Add `--ids`."""
    return click.option(
        "--ids", metavar="1,2,3", callback=_ids, help="Token ids instead of a prompt, taken as they are."
    )(command)


def checked_tokens(ids: list[int], tokenizer: Tokenizer, what_for: str) -> list[int]:
    """Return ids that a tokenizer has; a usage error for others, and for none."""
    bad = next((token for token in ids if not 0 <= token < tokenizer.vocab_size), None)
    if bad is not None:
        raise click.BadParameter(f"token id {bad}; expected 0 .. {tokenizer.vocab_size - 1}", param_hint="--ids")
    if not ids:
        raise click.UsageError(f"There are no tokens to {what_for} on.")
    return ids


MODEL = click.argument("model", type=ModelPath())


def one_prompt(prompt: str | None, ids: list[int] | None) -> str | list[int]:
    """Return the prompt or the ids; a usage error unless exactly one is there."""
    if (prompt is None) == (ids is None):
        raise click.UsageError("Give either PROMPT or --ids.")
    return prompt if prompt is not None else ids or []


def map_file(path: Path) -> Buffer:
    """Return the bytes of a file, mapped into memory; exit code 3 if it cannot be read."""
    from refruntime.artifact import artifact_bytes

    with reachable(path):
        return artifact_bytes(path)


# Output --------------------------------------------------------------------------------------------------------------


def write_json(document: Mapping[str, Any]) -> None:
    """Write a document for machines: ASCII, two spaces, non-finite numbers as text."""
    click.echo(json.dumps(finite(document), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """Return a JSON value in which numbers that JSON does not have are text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def status_document(error: ContractError | None) -> dict[str, Any]:
    """Return `status` and `error` for a JSON document."""
    status = Status.Ok if error is None else error.status
    details = None
    if error is not None:
        details = {
            "detail": error.detail,
            "rule": error.rule,
            "offset": error.offset,
            "field": error.field,
            "tensor": error.tensor,
            "expected": None if error.expected is None else str(error.expected),
            "found": None if error.found is None else str(error.found),
        }
    return {"status": {"code": int(status), "name": status.name}, "error": details}


def print_failure(error: ContractError, console: Console) -> None:
    """Print what was wrong, where, what was expected and found."""
    title = f"{error.status.name} ({int(error.status)})"
    console.print(Text.assemble((title, "bold red"), f": {printable(error.detail)}"), soft_wrap=True)
    for label, value in error.location():
        console.print(Text(printable(f"  {label:<9}{value}")), soft_wrap=True)


@contextmanager
def contract_failures(as_json: bool, **document: Any) -> Iterator[None]:
    """Turn a failure of the contract into its report and exit code 1; `document` goes into the JSON."""
    try:
        yield
    except ContractError as error:
        if as_json:
            write_json({**document, **status_document(error)})
        else:
            print_failure(error, Console(stderr=True))
        raise click.exceptions.Exit(1) from error


def plain_table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """Return a table whose cells are taken literally; all but the first column fold in a narrow terminal."""
    table = Table(highlight=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=index == 0, justify="right" if heading in right else "left")
    return table


def add_row(table: Table, *cells: object) -> None:
    """Add a row of literal cells."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))


# Progress ------------------------------------------------------------------------------------------------------------


class Bar:
    """A progress bar; calling it with a number says that so many steps were done since."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def __call__(self, steps: int) -> None:
        """Count steps that were done."""
        self._progress.advance(self._task, steps)

    def describe(self, text: str) -> None:
        """Say what is being done."""
        self._progress.update(self._task, description=printable(text))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar off the terminal while something else is written."""
        if self._progress.disable or not self._progress.live.is_started:
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Bar]:
    """Show progress on a terminal's stderr, else nothing; gives a function that takes the steps done since."""
    console = Console(stderr=True)
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    if total is not None:
        columns.insert(3, MofNCompleteColumn())
    quiet = not console.is_terminal
    options: dict[str, Any] = {"console": console, "transient": True, "disable": quiet}
    with Progress(*columns, redirect_stdout=False, redirect_stderr=False, **options) as shown:
        bar = Bar(shown, total)
        bar.describe(description)
        yield bar
