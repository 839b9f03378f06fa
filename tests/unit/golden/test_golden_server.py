"""`refruntime golden serve`: to this machine, what the index lists, and nothing else."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from refruntime.commands.golden import server as server_module
from refruntime.commands.golden.server import GoldenServer
from refruntime.golden.corpus import Corpus
from refruntime.golden.reading import GoldenError

GOLDEN = Path(__file__).resolve().parents[3] / "golden"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the goldens, beside which other files lie."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(GOLDEN, folder, dirs_exist_ok=True, ignore=lambda _, names: set(names) & {"quants", "generate"})
    (folder / ".secret.md").write_text("secret")
    (folder / "link.html").symlink_to(Path(__file__))
    (folder / "notes.txt").write_text("notes")
    os.mkfifo(folder / "pipe.html")
    return folder


@pytest.fixture
def server(served: Path) -> Iterator[GoldenServer]:
    """Serve the folder, for one test."""
    with GoldenServer(Corpus(served), 0) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()  # so long an end may take
        yield running
        running.shutdown()


def get(server: GoldenServer, path: str, host: str | None = None) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    headers = {} if host is None else {"Host": host}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read(), response.headers["Content-Type"]


def test_what_is_listed_is_served(server: GoldenServer) -> None:
    """GEN-8: the page at its root, the index, cases and models, with the types that browsers ask for."""
    page = (200, (GOLDEN / "consume.html").read_bytes(), "text/html; charset=utf-8")
    assert get(server, "/") == get(server, "/consume.html?case=1") == page
    for name, kind in (
        ("INDEX.json", "application/json"),
        ("consume.mjs", "text/javascript; charset=utf-8"),
        ("consumer/worker.mjs", "text/javascript; charset=utf-8"),
        ("cases/sampling/ties-in-order/case.json", "application/json"),
        ("models/tiny.q8_0.slm1", "application/octet-stream"),
    ):
        assert get(server, f"/{name}") == (200, (GOLDEN / name).read_bytes(), kind)


@pytest.mark.parametrize(
    "path",
    [
        "/.secret.md", "/notes.txt", "/pipe.html", "/%00", "/INDEX.json%00", "/../golden/INDEX.json", "/link.html",
        "/%2e%2e/INDEX.json", "/models", "/models/", "/cases/sampling", "/models/INDEX.md", "/" + "a" * 20_000,
    ],
)  # fmt: skip
def test_nothing_else_is_served(server: GoldenServer, path: str) -> None:
    """GEN-8: other files, pipes, folders and strange paths are not there, and no thread waits for them."""
    assert get(server, path)[0] in {404, 414}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:8377", 200), ("127.0.0.1:1", 200), ("[::1]:8377", 200),
        ("evil.example", 403), ("evil.example:8377", 403), ("localhost.evil.example", 403), ("", 403), ("::1", 403),
    ],
)  # fmt: skip
def test_other_names_of_the_host_are_refused(server: GoldenServer, host: str, status: int) -> None:
    """GEN-8: a page of another site that points its name here reads nothing."""
    assert get(server, "/INDEX.json", host)[0] == status


def test_idle_connections_are_bounded(server: GoldenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """GEN-8: connections that say nothing hold a bounded number of threads; the rest is closed at once."""
    idle = [socket.create_connection(("127.0.0.1", server.server_address[1])) for _ in range(100)]
    try:
        closed = 0
        for each in idle[server_module.MOST_CONNECTIONS :]:
            each.settimeout(10)
            closed += each.recv(1) == b""
        assert closed == len(idle) - server_module.MOST_CONNECTIONS
        handlers = [t for t in threading.enumerate() if "process_request_thread" in t.name]
        assert len(handlers) <= server_module.MOST_CONNECTIONS
    finally:
        for each in idle:
            each.close()
    assert get(server, "/INDEX.json")[0] == 200


def test_a_burst_of_connections_is_kept(served: Path) -> None:
    """GEN-8: what a browser opens while the server is busy waits for it, and is not tried again after a second."""
    with GoldenServer(Corpus(served), 0) as busy, ExitStack() as opened:
        for _ in range(2 * server_module.MOST_CONNECTIONS):
            opened.enter_context(socket.create_connection(("127.0.0.1", busy.server_address[1]), timeout=0.5))


def test_connections_that_drip_end(server: GoldenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """GEN-8: a byte now and then is no request; as many of them as there may be give their places back in time."""
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.5)
    dripping = [
        socket.create_connection(("127.0.0.1", server.server_address[1])) for _ in range(server_module.MOST_CONNECTIONS)
    ]
    try:
        began = time.monotonic()
        for each in dripping:
            each.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        for each in dripping:
            each.settimeout(0.05)
            while time.monotonic() - began < 8:
                try:
                    each.sendall(b"x")
                    if each.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        assert time.monotonic() - began < 8
        assert get(server, "/INDEX.json")[0] == 200
    finally:
        for each in dripping:
            each.close()


RAW = {
    "an address that is none": b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "half an address": b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /INDEX.json HTTP/1.0\r\n\r\n",
    "no version": b"GET /INDEX.json\r\n\r\n",
    "another method": b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method with markup": b"<script> / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes": bytes(range(256)) + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: " + b"a" * 70_000 + b"\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n",
}


@pytest.mark.parametrize("asked", RAW.values(), ids=RAW)
def test_every_request_is_answered(server: GoldenServer, asked: bytes) -> None:
    """GEN-8: what is no request for a file of the goldens gets an error that quotes no markup, at once."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as connection:
        connection.sendall(asked)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer
    assert b"HTTP/1.0 200" not in answer
    assert b"<script>" not in answer.partition(b"\r\n\r\n")[2]
    assert get(server, "/INDEX.json")[0] == 200


def test_the_answer_reaches_a_client_that_still_sends(server: GoldenServer) -> None:
    """GEN-8: what is refused in the middle is read to its end; a connection that is reset would lose the answer."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200)
        time.sleep(0.1)  # refused by now: 100 headers are allowed
        connection.sendall(b"a: b\r\n" * 5000)
        time.sleep(0.1)
        connection.sendall(b"\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.0 431 ")


def test_a_client_that_never_ends_is_left(server: GoldenServer) -> None:
    """GEN-8: what is read of a refused client has a bound, which 48 MiB are far beyond."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200)
        more = b"a: b\r\n" * (1 << 23)
        with pytest.raises(ConnectionError):
            connection.sendall(more)


def test_a_folder_without_goldens_is_refused(tmp_path: Path) -> None:
    """GEN-8: no index, or one that is not an index."""
    with pytest.raises(FileNotFoundError):
        GoldenServer(Corpus(tmp_path), 0)
    (tmp_path / "INDEX.json").write_text("{}")
    with pytest.raises(GoldenError):
        GoldenServer(Corpus(tmp_path), 0)
