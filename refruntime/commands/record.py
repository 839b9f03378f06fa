"""`refruntime record`: a session that a page wrote down becomes a case with the build's answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from refruntime.cases.steps import Case
from refruntime.commands.files import UnreadableFile, path_option, reachable, write_file
from refruntime.commands.shared import json_option, write_json
from refruntime.golden.case import GoldenCase, parse_case
from refruntime.golden.corpus import MAX_JSON_BYTES, Corpus
from refruntime.golden.reading import GoldenError
from refruntime.golden.values import bytes_hash, disk_json
from refruntime.recordings.convert import MissingModels, RecordedSession, convert
from refruntime.recordings.files import (
    ANSWERS_FILE,
    CASE_FILE,
    Answers,
    answers_document,
    case_document,
    read_answers,
)
from refruntime.recordings.read import MAX_RECORDING_BYTES, Recording, read_recording

FAMILY: Final = "recorded"
SUFFIXES: Final = {b"SLM1": ".slm1", b"GGUF": ".gguf"}


class MalformedRecording(click.ClickException):
    """A recording, or a folder made of one, is not what it should be."""

    exit_code = 1


@click.command(
    "record",
    epilog="""\b
Examples:
  refruntime record recording.json -o chat
  refruntime record recording.json --model stories.gguf -o chat
  refruntime diff --recorded chat
""",
)
@click.argument("recording", type=click.Path(path_type=Path))
@path_option(
    "--model",
    "models",
    multiple=True,
    help="Bytes that the recording holds only by hash, such as a large model. Several are allowed.",
)
@path_option("-o", "--output", "folder", metavar="DIR", required=True)
@json_option
def record_command(recording: Path, models: tuple[Path, ...], folder: Path, as_json: bool) -> None:
    """Turn RECORDING, which golden/record.mjs wrote in a page, into case.json and answers.json in DIR.

    `refruntime diff --recorded DIR` then runs the same steps on the oracle and compares. Exit codes: 0 written, 1 the
    recording is malformed, 2 wrong usage, 3 a file is missing, also a model that is neither in the recording nor given.
    """
    given = {bytes_hash(data): data for data in (_read(path) for path in models)}
    try:
        read = read_recording(_read(recording, MAX_RECORDING_BYTES), str(recording))
        session = convert(read, f"{FAMILY}/{_name_of(folder)}", given)
        files, written = _documents(session, read)
    except GoldenError as error:
        raise MalformedRecording(str(error)) from error
    except MissingModels as error:
        raise UnreadableFile(_missing(error, recording)) from error
    for name, data in written.items():
        _write(folder / name, data)
    if as_json:
        document = {"folder": str(folder), "steps": len(session.case.steps), "calls": len(read.events)}
        write_json({**document, "models": files, "notes": list(session.notes)})
        return
    click.echo(f"{len(read.events)} calls became {len(session.case.steps)} steps in {folder}: {', '.join(written)}")
    for note in session.notes:
        click.echo(f"  note: {note}")
    click.echo(f"compare: refruntime diff --recorded {folder}")


def _documents(session: RecordedSession, recording: Recording) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the path of every model, and the content of every file; the case is read back to be sure of it."""
    files, written = {}, {}
    for name, data in session.case.models.items():
        files[name] = f"models/{bytes_hash(data)[:16]}{SUFFIXES.get(data[:4], '.bin')}"
        written[files[name]] = data
    title = f" {recording.name!r}" if recording.name else ""
    case = case_document(session, f"Session{title} of {len(recording.events)} calls, recorded in a page.", files)
    written[CASE_FILE] = disk_json(case)
    written[ANSWERS_FILE] = disk_json(answers_document(session, case))
    for name in (CASE_FILE, ANSWERS_FILE):
        if len(written[name]) > MAX_JSON_BYTES:
            raise GoldenError(name, "", f"at most {MAX_JSON_BYTES} bytes; record less", str(len(written[name])))
    parse_case(session.case.name, written[CASE_FILE])
    return files, written


def read_recorded(folder: Path) -> tuple[Case, Answers]:
    """Read what `refruntime record` wrote: exit code 3 for a missing file, 1 for one that is not right."""
    corpus = Corpus(folder)
    try:
        golden = _parse(folder, corpus.read(CASE_FILE))
        answers = read_answers(corpus.read(ANSWERS_FILE), str(folder / ANSWERS_FILE), golden.hash, golden.steps)
        for spec in golden.models.values():
            corpus.read(spec.file)
        return golden.case(corpus.artifact), answers
    except OSError as error:
        raise UnreadableFile(f"{error.filename or folder}: {error.strerror or error}") from error
    except GoldenError as error:
        raise MalformedRecording(str(error)) from error


def _parse(folder: Path, data: bytes) -> GoldenCase:
    try:
        return parse_case(f"{FAMILY}/{_name_of(folder)}", data)
    except GoldenError as error:
        raise GoldenError(str(folder / CASE_FILE), error.path, error.expected, error.found) from error


def _name_of(folder: Path) -> str:
    """Return a case name made of the folder's: lower case, what an id cannot hold becomes `-`."""
    name = re.sub(r"[^a-z0-9.-]+", "-", folder.resolve().name.lower()).lstrip(".-")
    return name[:80] or "session"


def _missing(error: MissingModels, recording: Path) -> str:
    lines = [f"{recording}: holds only the hash of {len(error.blobs)} artifacts; give their files with --model:"]
    return "\n".join([*lines, *(f"  {blob.length} bytes, SHA-256 {blob.sha256}" for blob in error.blobs)])


def _read(path: Path, most: int = 2**28) -> bytes:
    with reachable(path), path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise MalformedRecording(f"{path}: longer than {most} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    with reachable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)
