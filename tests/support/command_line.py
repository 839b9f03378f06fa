"""Run the command line inside the test process and catch what it writes."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from refruntime.cli import main


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of one command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as one strict JSON document."""
        return json.loads(self.stdout, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def command(*arguments: object, stdin: bytes = b"", columns: int = 200) -> Outcome:
    """Run `refruntime ARGUMENTS` in a terminal of so many columns."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdout", "stderr")}
    source = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    wide = mock.patch.dict(os.environ, {**plain, "COLUMNS": str(columns)}, clear=True)
    with wide, mock.patch.multiple(sys, stdin=source, **streams):
        code = main([str(argument) for argument in arguments])
    texts = {}
    for name, stream in streams.items():
        stream.flush()
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        texts[name] = buffer.getvalue().decode("utf-8", "surrogateescape")
    return Outcome(code, texts["stdout"], texts["stderr"])
