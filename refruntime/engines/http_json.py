"""Exchange JSON documents with a server."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from refruntime.engines.asked import EngineAnswer
from refruntime.engines.base import EngineMissing

SHOWN = 300


class JsonServer:
    """A server under an address such as http://127.0.0.1:8080; every question waits at most `timeout` seconds."""

    def __init__(self, address: str, timeout: float = 120.0) -> None:
        parts = urlsplit(address if "//" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{address!r} is no address of a server; expected http://HOST:PORT")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._timeout = timeout

    def ask(self, path: str, document: Any = None) -> Any:
        """GET a path, or POST a document to it.

        EngineAnswer for an error or what is no JSON; EngineMissing where nobody answers.
        """
        data = None if document is None else json.dumps(document).encode()
        request = Request(self.address + path, data, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=self._timeout) as response:
                return json.loads(response.read())
        except HTTPError as error:
            said = error.read(SHOWN).decode("utf-8", "replace").strip()
            raise EngineAnswer(f"{self.address}{path} answered {error.code}: {said or error.reason}") from error
        except json.JSONDecodeError as error:
            raise EngineAnswer(f"{self.address}{path} answered with something that is no JSON: {error}") from error
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            said = f"no server answers at {self.address} ({reason}); start it, or check the address"
            raise EngineMissing(said) from error
