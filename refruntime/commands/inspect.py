"""`refruntime inspect`: what is in a model file, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from refruntime.commands.files import profile_option
from refruntime.commands.shared import (
    MODEL,
    add_row,
    json_option,
    map_file,
    print_failure,
    printable,
    status_document,
    visible,
    write_json,
)
from refruntime.contract.profile import Profile
from refruntime.inspection import Inspection, MetadataLine, inspect_artifact
from refruntime.inspection.summary import summary
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.show.text import plain_table

SHOWN_TEXT = 100
SHOWN_TENSORS = 400


@click.command(
    "inspect",
    epilog="""\b
Examples:
  refruntime inspect model.slm1
  refruntime inspect model.gguf --tensors
  refruntime inspect broken.gguf --json | jq .error
""",
)
@MODEL
@click.option("--tensors", is_flag=True, help="Show every tensor: type, shape, offset, length.")
@click.option("--metadata", is_flag=True, help="Show the header and every key.")
@click.option("--tokenizer", is_flag=True, help="Show all that is known of the tokenizer.")
@profile_option
@json_option
def inspect_command(
    model: Path, tensors: bool, metadata: bool, tokenizer: bool, profile: Profile, as_json: bool
) -> None:
    """Say what MODEL is, in a few lines, and check everything that loading checks.

    Of a broken file it shows what can be read, then the first rule that fails with offset, expected and found value;
    exit code 1. The JSON document always holds everything.
    """
    report = inspect_artifact(map_file(model), profile)
    if as_json:
        write_json({"model": str(model), "summary": summary(report, profile), **inspection_document(report)})
    else:
        parts = Parts(tensors, metadata, tokenizer)
        print_inspection(report, str(model), summary(report, profile), parts, Console())
    if report.error is not None:
        raise click.exceptions.Exit(1)


WIDE: Final = 76
"""Columns of a terminal from which offsets have room."""


class Parts(NamedTuple):
    """What is shown behind the summary."""

    tensors: bool
    metadata: bool
    tokenizer: bool


def inspection_document(report: Inspection) -> dict[str, Any]:
    """Return an inspection as JSON-ready values; of an array only the first elements."""
    return {
        "container": report.container,
        "bytes": report.byte_length,
        **status_document(report.error),
        "header": report.header,
        "metadata": [asdict(line) for line in report.metadata],
        "tensors": [asdict(line) for line in report.tensors],
        "types": [asdict(count) for count in report.types],
        "tokenizer": None if report.tokenizer is None else asdict(report.tokenizer),
        "hyperparameters": None if report.hyperparameters is None else asdict(report.hyperparameters),
        "quantization": report.quantization,
        "notes": report.notes,
    }


def print_inspection(report: Inspection, name: str, answers: Mapping[str, str], parts: Parts, console: Console) -> None:
    """Print an inspection for people."""
    title = f"{printable(name)}: {report.container}, {report.byte_length:,} bytes"
    console.print(Text(title, style="bold"), soft_wrap=True)
    _print_summary(answers, console)
    if parts.metadata:
        _print_pairs("header", report.header, console)
        _print_metadata(report, console)
    if parts.tensors:
        _print_tensors(report, console)
    if parts.tokenizer and report.tokenizer is not None:
        _print_pairs("tokenizer", asdict(report.tokenizer), console)
    if parts.metadata and report.hyperparameters is not None:
        _print_pairs("model", {**_told(report.hyperparameters), "quantization": report.quantization}, console)
    for note in report.notes:
        console.print(Text(printable(f"note: {note}"), style="yellow"), soft_wrap=True)
    if report.error is None:
        console.print(Text(f"valid: {len(report.tensors)} tensors, every check of loading passed", style="green"))
        if not any(parts):
            console.print(Text("--tensors, --metadata and --tokenizer show the rest", style="dim"))
    else:
        print_failure(report.error, console)


def _print_summary(answers: Mapping[str, str], console: Console) -> None:
    """Print one answer a line, folded behind its question in a narrow terminal."""
    indent = max(map(len, answers), default=0) + 2
    for question, answer in answers.items():
        lines = wrap(printable(answer), max(20, console.width - indent))
        console.print(
            Text(("\n" + " " * indent).join([f"{question:<{indent}}" + lines[0], *lines[1:]])), soft_wrap=True
        )


def _print_metadata(report: Inspection, console: Console) -> None:
    if not report.metadata:
        return
    wide = console.width >= WIDE
    table = plain_table(("key", False), *([("type", False), ("offset", True)] if wide else []), ("value", False))
    for line in report.metadata:
        between = [line.type, line.offset] if wide else []
        add_row(table, visible(_raw(line.key)), *between, _shortened(line))
    table.columns[0].no_wrap = True
    console.print(table)


def _told(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return the hyper-parameters but for those that have their neutral value."""
    return {name: value for name, (value, neutral) in hyperparameters.named().items() if value != neutral}


def _print_tensors(report: Inspection, console: Console) -> None:
    if not report.tensors:
        return
    shown = report.tensors[:SHOWN_TENSORS]
    columns = ["tensor", "type", "shape"]
    columns += ["offset"] if console.width >= WIDE else []
    columns += ["bytes", *(["note"] if any(line.note for line in shown) else [])]
    table = plain_table(*((name, name in ("offset", "bytes")) for name in columns))
    for line in shown:
        cells = {
            "tensor": visible(_raw(line.name)),
            "type": line.type,
            "shape": " x ".join(map(str, line.shape)),
            "offset": line.offset,
            "bytes": line.byte_length,
            "note": line.note,
        }
        add_row(table, *(cells[name] for name in columns))
    table.columns[0].no_wrap = True
    console.print(table)
    if len(report.tensors) > SHOWN_TENSORS:
        console.print(f"... and {len(report.tensors) - SHOWN_TENSORS} more tensors; --json shows all")
    table = plain_table(("type", False), ("tensors", True), ("elements", True), ("bytes", True))
    for count in report.types:
        add_row(table, count.type, count.tensors, f"{count.elements:,}", f"{count.byte_length:,}")
    table.columns[0].no_wrap = True
    console.print(table)


def _print_pairs(title: str, values: dict[str, Any], console: Console) -> None:
    if not values:
        return
    table = plain_table((title, False), ("value", False))
    for key, value in values.items():
        add_row(table, key, ", ".join(map(str, value)) if isinstance(value, tuple) else value)
    table.columns[0].no_wrap = True
    console.print(table)


def _shortened(line: MetadataLine) -> str:
    if not isinstance(line.value, list):
        return _text(line.value)
    more = f", ... ({line.count} elements)" if line.count > len(line.value) else ""
    return "[" + ", ".join(map(_text, line.value)) + more + "]"


def _text(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    shown = value if len(value) <= SHOWN_TEXT else value[:SHOWN_TEXT]
    more = "" if shown == value else f"... ({len(value)} characters)"
    return visible(_raw(shown)).replace("␣", " ") + more


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
