"""`judge` and servers or programs that answer with anything: it says what, in time, and no text of theirs acts."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from refruntime.engines.asked import EngineAnswer
from refruntime.engines.base import EngineLimit
from refruntime.engines.http_json import JsonServer
from tests.support.asked_engines import llama_answers, serving
from tests.support.command_line import command
from tests.unit.commands.test_judge_command import FEW, MODEL, listed

ESCAPE = "\x1b]0;title\x07\x1b[31m\u202e"
HUGE = 10**400
DEEP = b"[" * 200_000
ODD: dict[str, Any] = {
    "nothing": None,
    "a number": 7,
    "a text": "text",
    "a list": [1, "a", None],
    "nested": [[[[]]]],
    "an object": {"a": 1},
    "huge": HUGE,
    "no number": float("nan"),
    "infinite": float("inf"),
    "true": True,
    "escape": ESCAPE,
    "huge number in text": "9" * 5000,
    "half a pair": "\ud800",
}
"""What may stand in the place of every part of an answer."""

FAST = ("nothing", "a list", "escape", "huge number in text")
"""Of these, what the fast tests try: no value, another kind, text that acts, text that is hard to read."""
EVERY_ODD = [pytest.param(odd, id=name, marks=[pytest.mark.slow] * (name not in FAST)) for name, odd in ODD.items()]


def odd_answers(good: Any, odd: Any) -> Iterator[Any]:
    """Yield an answer with each of its parts replaced, the whole of it first; of lists the first members."""
    yield odd
    if isinstance(good, dict):
        for key, part in good.items():
            yield {name: each for name, each in good.items() if name != key}
            yield from ({**good, key: other} for other in odd_answers(part, odd))
    elif isinstance(good, list) and good:
        yield []
        yield from ([other, *good[1:]] for other in odd_answers(good[0], odd))


def check(*arguments: Any) -> None:
    """Run the command: it ends as the docstring of this file says."""
    outcome = command("judge", MODEL, *FEW, *arguments)
    assert outcome.code in (0, 1, 2, 3), outcome.stderr
    shown = outcome.stdout + outcome.stderr
    assert not set("\x1b\x07\u202e") & set(shown), shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("odd", EVERY_ODD)
def test_no_part_of_an_answer_is_taken_for_granted(odd: Any) -> None:
    """Of llama.cpp's server: each part of each answer in turn is something else."""
    right = llama_answers(MODEL)
    for place, question in {
        "/tokenize": {"content": "abc", "add_special": True},
        "/completion": {"prompt": [1], "n_predict": 1, "n_probs": 3},
    }.items():
        for changed in odd_answers(right(place, question), odd):
            said = json.dumps(changed).encode()

            def answer(asked: str, sent: Any, said: bytes = said, place: str = place) -> Any:
                return said if asked == place else right(asked, sent)

            with serving(answer) as address:
                check("--server", address, "--text", "abc")


def newer(logprobs: Any) -> dict[str, Any]:
    """Return a completion of OpenAI's form."""
    return {"choices": [{"logprobs": logprobs}]}


@pytest.mark.parametrize("odd", EVERY_ODD)
def test_no_part_of_a_completion_is_taken_for_granted(odd: Any) -> None:
    """Of a server with the completions of OpenAI, in the older and the newer form."""
    token = {"token": "a", "bytes": [97], "logprob": -1.0}
    forms = [
        newer({"content": [{**token, "top_logprobs": [token]}]}),
        newer({"tokens": ["a"], "top_logprobs": [{"a": -1.0}]}),
    ]
    models = {"data": [{"id": "tiny"}]}
    cases = [(models, changed) for form in forms for changed in odd_answers(form, odd)]
    cases += [(changed, forms[0]) for changed in odd_answers(models, odd)]
    for told, completion in cases:
        answers = {"/v1/models": told, "/v1/completions": completion}

        def answer(place: str, _: Any, answers: dict[str, Any] = answers) -> Any:
            return answers.get(place)

        with serving(answer) as address:
            check("--server", address, "--ids", listed())


@pytest.mark.parametrize(
    "said",
    [b"", b"\xff\xfe", DEEP, b"1" * 5000, b'{"a":', b"\0" * 100, b"<html>", b"[" + b"[]," * 100_000 + b"[]]"],
    ids=["empty", "no UTF-8", "deep", "long number", "half", "zeros", "html", "many lists"],
)
def test_what_is_no_document_is_named(said: bytes) -> None:
    """A server, and a program."""
    with serving(lambda place, question: said) as address:
        check("--server", address)


def test_tokens_outside_the_vocabulary_are_a_finding() -> None:
    """The path is followed up to the token that does not exist."""
    right = llama_answers(MODEL)

    def answer(place: str, question: Any) -> Any:
        found = right(place, question)
        if place == "/completion" and question.get("return_tokens"):
            found["tokens"][1:] = [2**31 - 1] * 100_000
        return found

    with serving(answer) as address:
        outcome = command("judge", MODEL, *FEW, "--server", address, "--text", "abc")
    assert outcome.code == 1
    assert "step 1 takes token 2147483647" in outcome.stdout


@contextmanager
def raw_server(*parts: bytes, pause: float = 0.0, forever: bool = False) -> Iterator[str]:
    """Answer every connection with these bytes, however they are asked."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def give(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                while not over.is_set():
                    for part in parts:
                        connection.sendall(part)
                        over.wait(pause)
                    if not forever:
                        return
            except OSError:
                return

    def take() -> None:
        while not over.is_set():
            try:
                connection = listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=give, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def test_a_body_without_an_end_is_left() -> None:
    """With and without a length that is told."""
    for head in (HEAD + b"\r\n", HEAD + b"Content-Length: 99999999999999\r\n\r\n"):
        with (
            raw_server(head, *[b" " * 2**20] * 80) as address,
            pytest.raises(EngineAnswer, match="more than 16,777,216"),
        ):
            JsonServer(address).ask("/props")


@pytest.mark.parametrize("head", [b"", HEAD, HEAD + b"\r\n"], ids=["status line", "headers", "body"])
def test_what_drips_is_left_in_time(head: bytes) -> None:
    """A byte now and then keeps no question open."""
    with raw_server(head, *[b"x"] * 200, pause=0.05) as address:
        began = time.monotonic()
        with pytest.raises(EngineLimit, match=r"did not answer within 0\.5 s"):
            JsonServer(address, timeout=0.5).ask("/props")
        assert time.monotonic() - began < 5


def test_no_server_sends_us_elsewhere() -> None:
    """A redirection is an answer, and not followed."""
    asked = []
    with serving(lambda place, _: asked.append(place) or {}) as elsewhere:  # type: ignore[func-returns-value]
        head = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}/secret\r\nContent-Length: 0\r\n\r\n".encode()
        with raw_server(head) as address, pytest.raises(EngineAnswer, match="302"):
            JsonServer(address).ask("/props")
    assert asked == []


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        HEAD + b"Content-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ],
    ids=["no HTTP", "cut", "too many headers", "part of no size"],
)
def test_what_is_no_http_is_named(said: bytes) -> None:
    """Exit codes as for any other answer."""
    with raw_server(said) as address:
        check("--server", address)


def test_a_server_controls_no_terminal() -> None:
    """Its name is text, and so is the error that it sends."""
    error = f"HTTP/1.1 500 {ESCAPE}\r\nContent-Length: 30\r\n\r\n{ESCAPE}".encode()
    with raw_server(error.ljust(100)) as address:
        check("--server", address)


HOSTILE_PROGRAM = """
import json, sys
for line in sys.stdin:
    call = json.loads(line)["call"]
    good = {"about": {"name": "NAME", "kind": "logits"}, "tokenize": {"tokens": [1]}, "rows": {"rows": [[0.5]]}}
    if call == sys.argv[1]:
        print(sys.argv[2], flush=True)
    else:
        print(json.dumps(good.get(call, {"error": "no"})), flush=True)
"""


@pytest.mark.parametrize("call", ["about", "tokenize", "rows", "greedy"])
def test_no_line_of_a_program_is_taken_for_granted(call: str, tmp_path: Path) -> None:
    """Lines that are no objects, or hold other things than they should."""
    script = tmp_path / "engine.py"
    script.write_text(HOSTILE_PROGRAM.replace("NAME", "\\x1b[31m"))
    for said in ("[1]", "[" * 5000, '{"tokens": ["a"]}', '{"tokens": 7}', '{"rows": [[1e999], [1]]}', '{"rows": "a"}'):
        check("--node", f"{sys.executable} {script} {call} '{said}'", "--text", "abc")
