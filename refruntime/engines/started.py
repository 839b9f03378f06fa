"""Start a server for as long as it is asked: a command with a free port of the loopback interface."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from refruntime.engines.asked import EngineAnswer
from refruntime.engines.base import EngineError, EngineLimit, EngineMissing
from refruntime.engines.http_json import JsonServer

PORT: Final = "{port}"
PATIENCE: Final = 120.0
PAUSE: Final = 0.2


@contextmanager
def started_server(command: str, patience: float = PATIENCE) -> Iterator[JsonServer]:
    """Start `command`, in which `{port}` is a free port, and give the server once it answers; stop it behind.

    What it writes is thrown away. EngineMissing where it cannot be started, EngineError where it ends by itself,
    EngineLimit where it does not answer within `patience` seconds.
    """
    port = _free_port()
    words = [word.replace(PORT, str(port)) for word in shlex.split(command)]
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise EngineMissing(f"{words[0]} cannot be started: {error.strerror or error}") from error
    try:
        server = JsonServer(f"http://127.0.0.1:{port}")
        _wait(server, process, patience)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: JsonServer, process: subprocess.Popen[bytes], patience: float) -> None:
    """Wait until a model is listed: a server may answer before it has loaded one."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            raise EngineError(f"the server ended with exit code {process.returncode} before it answered")
        try:
            server.ask("/v1/models")
        except (EngineMissing, EngineAnswer):
            time.sleep(PAUSE)
        else:
            return
    raise EngineLimit(f"the server did not answer within {patience:g} s")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
