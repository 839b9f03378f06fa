"""Exchange JSON documents with a server, which may answer with anything, or without an end."""

from __future__ import annotations

import json
import queue
import threading
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from refruntime.engines.asked import EngineAnswer
from refruntime.engines.base import EngineLimit, EngineMissing
from refruntime.engines.json_answers import document_of

SHOWN: Final = 300
MOST_BYTES: Final = 16 * 2**20
"""Bytes of an answer that does not grow with the vocabulary."""
EVENT: Final = b"data:"
DONE: Final = b"[DONE]"


class JsonServer:
    """A server under an address such as http://127.0.0.1:8080; every question waits at most `timeout` seconds."""

    def __init__(self, address: str, timeout: float = 120.0) -> None:
        parts = urlsplit(address if "//" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{address!r} is no address of a server; expected http://HOST:PORT")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._timeout = timeout
        self._open = build_opener(_NoRedirects).open

    def ask(self, path: str, document: Any = None, most: int = MOST_BYTES) -> Any:
        """GET a path, or POST a document to it; read at most so many bytes.

        EngineAnswer for an error, too many bytes or what is no JSON; EngineMissing where nobody answers; EngineLimit
        where the whole answer is not there in time, however it drips.
        """
        place = self.address + path
        return document_of(self._bytes(place, document, most), place)

    def ask_events(self, path: str, document: Any, most: int = MOST_BYTES) -> list[Any]:
        """POST a document to a path that answers with events, and return their documents; fails as `ask`."""
        place = self.address + path
        lines = self._bytes(place, document, most).splitlines()
        events = [line[len(EVENT) :].strip() for line in lines if line.startswith(EVENT)]
        return [document_of(event, place) for event in events if event != DONE]

    def _bytes(self, place: str, document: Any, most: int) -> bytes:
        data = None if document is None else json.dumps(document).encode()
        request = Request(place, data, {"Content-Type": "application/json"})
        got: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._exchange, args=(request, most, got), daemon=True).start()
        try:
            said = got.get(timeout=self._timeout)
        except queue.Empty:
            raise EngineLimit(f"{place} did not answer within {self._timeout:g} s") from None
        if isinstance(said, HTTPError):
            raise EngineAnswer(f"{place} answered {said.code}: {said.msg or said.reason}") from said
        if isinstance(said, URLError | OSError):
            reason = getattr(said, "reason", said)
            hint = f"no server answers at {self.address} ({reason}); start it, or check the address"
            raise EngineMissing(hint) from said
        if isinstance(said, Exception):
            raise EngineAnswer(f"{place} answered with something that is no HTTP: {said!r}") from said
        if len(said) > most:
            raise EngineAnswer(f"{place} answered with more than {most:,} bytes")
        return said

    def _exchange(self, request: Request, most: int, got: queue.SimpleQueue[bytes | Exception]) -> None:
        """Put the bytes of the answer, one more than `most` of a longer one, or what went wrong."""
        try:
            with self._open(request, timeout=self._timeout) as response:
                got.put(response.read(most + 1))
        except HTTPError as error:
            with suppress(OSError, HTTPException):  # else its code says enough
                error.msg = error.read(SHOWN).decode("utf-8", "replace").strip() or error.msg
            got.put(error)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: the size of a part that is no number
            got.put(error)


class _NoRedirects(HTTPRedirectHandler):
    """Follow nobody elsewhere: the address was chosen by who asked."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """Return None: the redirection is the answer."""
