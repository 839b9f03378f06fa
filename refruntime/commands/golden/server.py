"""Serve goldens to browsers of this machine: the files that the index lists, the page, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from socket import SHUT_RDWR, SHUT_WR, socket
from threading import BoundedSemaphore, Timer
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from refruntime.golden.corpus import Corpus
from refruntime.golden.index import INDEX, parse_index
from refruntime.golden.reading import GoldenError

ADDRESS: Final = "127.0.0.1"
PAGE: Final = "consume.html"
MOST_CONNECTIONS: Final = 32
MOST_WAITING: Final = 128
"""Connections that wait to be taken or closed. What comes beyond them is lost, and comes again after whole seconds."""

IDLE_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 30.0
"""Seconds that a connection may take in all: one that drips is never idle."""

UNREAD_SECONDS: Final = 1.0
MOST_UNREAD: Final = 1 << 20
"""How long a refused client may be silent, and how many bytes it may still send, before its connection is closed."""

LOOPBACK_NAMES: Final = {"127.0.0.1", "localhost", "[::1]"}
"""Names that a browser of this machine calls this server by; a page under any other name is somebody else's."""

PAGE_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
}
TYPES: Final = {**PAGE_TYPES, ".json": "application/json"}


def served_paths(corpus: Corpus, index: Mapping[str, Any]) -> dict[str, str]:
    """Return path -> file for all that a page may ask for."""
    names = [INDEX, *index["models"]]
    for identifier, entry in index["cases"].items():
        names += [f"cases/{identifier}/{name}" for name in ("case.json", "expect.json", *entry["arrays"])]
    shown = [name for name in corpus.files() if PurePosixPath(name).suffix in PAGE_TYPES]
    names += [name for name in shown if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
    return {"/": PAGE, **{f"/{name}": name for name in names}}


class GoldenServer(ThreadingHTTPServer):
    """A server of one folder of goldens on the loopback address. OSError when the port is taken."""

    daemon_threads = True
    request_queue_size = MOST_WAITING

    def __init__(self, corpus: Corpus, port: int) -> None:
        """Read the index once: GoldenError or OSError where there are no goldens."""
        self.corpus = corpus
        self.index = parse_index(corpus.read(INDEX), form=False)
        self.served = served_paths(corpus, self.index)
        self._free = BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((ADDRESS, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, or close it at once while too many are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer on a thread of its own, in time."""
        over = Timer(REQUEST_SECONDS, _hang_up, (request,))
        over.daemon = True
        over.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            over.cancel()
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Stay silent about clients that go away."""


def _hang_up(connection: socket) -> None:
    with suppress(OSError):  # it has gone already
        connection.shutdown(SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Answer GET and HEAD for the served paths with their MIME types."""

    server: GoldenServer
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Give a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Give the headers of a file."""
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        if not self._is_from_this_machine():
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers to localhost only")
            return
        name = self.server.served.get(self._asked())
        data = None if name is None else self._read(name)
        if name is None or data is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES.get(PurePosixPath(name).suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse, and read what the client still sends: closed before that, a connection is reset, the answer lost."""
        super().send_error(code, message, explain)
        left = MOST_UNREAD
        with suppress(OSError):  # it has gone, or it is silent
            self.connection.shutdown(SHUT_WR)
            self.connection.settimeout(UNREAD_SECONDS)
            while left > 0 and (part := self.connection.recv(1 << 16)):
                left -= len(part)

    def _asked(self) -> str:
        """Return the path that is asked for, empty for what is no address."""
        try:
            return unquote(urlsplit(self.path).path)
        except ValueError:
            return ""

    def _is_from_this_machine(self) -> bool:
        """Say whether the page calls this server by a name of this machine (against rebinding of names)."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        return name.lower() in LOOPBACK_NAMES

    def _read(self, name: str) -> bytes | None:
        """Return a file of the corpus, None for one that is not there or lies elsewhere."""
        corpus = self.server.corpus
        try:
            inside = corpus.path(name).resolve().is_relative_to(corpus.root.resolve())
            return corpus.read(name) if inside else None
        except (OSError, GoldenError):
            return None

    def end_headers(self) -> None:
        """Add what every answer says."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the page shows what happens."""
