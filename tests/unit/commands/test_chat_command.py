"""`refruntime chat`: turns that go on where the cache ends, the commands of a chat, and what it refuses."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from refruntime.api import open_model, open_tokenizer
from refruntime.chat.prompt import ChatTemplate, NoTemplate
from refruntime.sampling import SamplingConfig
from refruntime.session.conversation import Conversation
from tests.support.chat_models import CHATML, END, START, model_file
from tests.support.command_line import command
from tests.support.gguf_by_hand import STRING, llama_file, scalar
from tests.support.lookup_model import lookup_model

DAY = datetime(2024, 2, 29)
LAST_ONLY = "{{ messages[-1].content }}<|im_start|>"
"""A template that forgets earlier turns."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a model with the ChatML template and random weights."""
    path = tmp_path / "chat.gguf"
    path.write_bytes(model_file(CHATML, seed=5, context=256))
    return path


def talk(model: Path, *messages: str, **options: object) -> list[dict[str, Any]]:
    """Return what `chat --json` answers to messages."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    outcome = command("chat", model, "--json", *words, stdin="".join(f"{each}\n" for each in messages).encode())
    assert outcome.code == 0, outcome.stderr
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def conversation(model: Path, template: str | None = None) -> Conversation:
    """Return a conversation that samples warmly."""
    if template is not None:
        model.write_bytes(model_file(template, seed=5, context=256))
    opened = open_model(model)
    chat = ChatTemplate(model.read_bytes(), opened.tokenizer, DAY)
    return Conversation(opened, chat, SamplingConfig.validated(1.0, 40, 1.0, 7), "be")


def test_a_second_turn_goes_on_behind_the_first(model: Path) -> None:
    """GEN-4: sampled ids stay as they are, the template's text follows, and only that is new."""
    first, second = talk(model, "hi", "and?", max_new_tokens=9, temperature=1, top_k=40, seed=3)
    text = [START, *b"user\nhi", END, 10, START, *b"assistant\n"]
    assert (first["prompt_ids"], first["reused"], first["stopped"]) == (text, 0, "limit")
    new = [END, 10, START, *b"user\nand?", END, 10, START, *b"assistant\n"]
    assert second["prompt_ids"] == [*first["prompt_ids"], *first["generated_ids"], *new]
    assert second["reused"] == len(text) + 8  # the ninth token was sampled last and never computed
    assert len(first["generated_ids"]) == 9


def test_only_new_positions_are_computed(model: Path) -> None:
    """GEN-4: over three turns every position is forwarded once, and the answers are those of a fresh model."""
    chat = conversation(model)
    turns = [chat.say(each, 12) for each in ("one", "two", "three")]
    assert chat.prefix_cache.forwarded == len(turns[-1].prompt.ids) + len(turns[-1].ids) - 1
    for turn in turns:
        fresh = open_model(model).generate(turn.prompt.ids, 12, temperature=1.0, top_k=40, seed=7)
        assert fresh.generated_ids == turn.ids
    assert [each["role"] for each in chat.messages] == ["system", *("user", "assistant") * 3]


def test_a_template_that_rewrites_what_was_said_gets_what_it_asks_for(model: Path) -> None:
    """GEN-4: nothing is taken from the cache that the new prompt does not begin with."""
    chat = conversation(model, LAST_ONLY)
    first, second, third = (chat.say(each, 5) for each in ("one", "two", "twelve"))
    assert (second.prompt.ids, second.reused) == ((*b"two", START), 0)
    assert third.reused == 2  # "tw"
    fresh = open_model(model).generate(third.prompt.ids, 5, temperature=1.0, top_k=40, seed=7)
    assert fresh.generated_ids == third.ids
    assert first.text


def test_the_first_answer_is_that_of_run(model: Path) -> None:
    """GEN-7: an answer is drawn as `generate` draws."""
    options = ["--temperature", 1, "--top-k", 40, "--seed", 9, "-n", 20, "--json"]
    run = command("run", model, "--chat", "hi", "--system", "be", *options).json
    (chat,) = talk(model, "hi", max_new_tokens=20, temperature=1, top_k=40, seed=9, system="be")
    assert (chat["prompt_ids"], chat["generated_ids"]) == (run["prompt_ids"], run["generated_ids"])


def test_an_interrupted_answer_stays(model: Path) -> None:
    """GEN-4: what was generated before Ctrl-C is what the next turn goes on behind; before a first token nothing is."""
    chat = conversation(model)
    seen: list[int] = []

    def take(token: int) -> None:
        seen.append(token)
        if len(seen) == 3:
            raise KeyboardInterrupt

    turn = chat.say("hi", 50, take)
    assert (turn.ids, turn.stopped) == (tuple(seen), "interrupted")
    following = chat.say("go on", 4)
    assert following.prompt.ids[: len(turn.prompt.ids) + 3] == (*turn.prompt.ids, *seen)
    fresh = open_model(model).generate(following.prompt.ids, 4, temperature=1.0, top_k=40, seed=7)
    assert fresh.generated_ids == following.ids


def test_the_context_ends_an_answer_and_then_a_chat(tmp_path: Path) -> None:
    """GEN-3, GEN-6: a full context stops an answer; a message that no longer fits is not said, exit code 1."""
    path = tmp_path / "short.gguf"
    path.write_bytes(model_file(CHATML, context=48))
    (first,) = talk(path, "hi")
    assert first["stopped"] == "context full"
    assert len(first["prompt_ids"]) + len(first["generated_ids"]) == 48
    outcome = command("chat", path, stdin=b"hi\nmore\nnever\n")
    assert outcome.code == 1
    assert outcome.stderr.count("generated") == 1
    for part in ("ContextExceeded (11)", "/reset begins anew", "48 of 48 positions"):
        assert part in outcome.stderr
    after = command("chat", path, stdin=b"hi\n/reset\nhi\n")
    assert (after.code, after.stderr.count("stopped: context full")) == (0, 2)


def test_commands_of_a_chat(model: Path, tmp_path: Path) -> None:
    """GEN-4: /save holds messages and ids, /reset keeps the system message, // says a slash, /quit leaves."""
    saved = tmp_path / "talk.json"
    lines = f"hi\n/save {saved}\n\n//x\n/save {saved}\n/reset\nhi\n/help\n/quit\nnever\n"
    outcome = command("chat", model, "--system", "be", "-n", 4, stdin=lines.encode())
    assert outcome.code == 0, outcome.stderr
    document = json.loads(saved.read_text())
    said = [each["content"] for each in document["messages"]]
    assert (said[0], said[1], said[3]) == ("be", "hi", "/x")
    assert [each["role"] for each in document["messages"]] == ["system", *("user", "assistant") * 2]
    assert [len(each["generated_ids"]) for each in document["turns"]] == [4, 4]
    assert document["settings"]["max_new_tokens"] == 4
    assert "wrote 1 turn to" in outcome.stderr
    assert "wrote 2 turns to" in outcome.stderr
    assert outcome.stderr.count("stopped: limit") == 3
    assert "/save FILE" in outcome.stderr
    saved.write_text("mine")
    refused = command("chat", model, stdin=f"/save {saved}\n".encode())
    assert (refused.code, saved.read_text()) == (1, "mine")
    assert "exists" in refused.stderr
    wrong = command("chat", model, stdin=b"/sav x\n")
    assert wrong.code == 1
    assert "unknown command /sav; perhaps /save?" in wrong.stderr


def test_text_alone_on_standard_output(tmp_path: Path) -> None:
    """GEN-8: answers and line feeds go to standard output, bytes as they are, all else elsewhere."""
    path = tmp_path / "zeros.gguf"
    path.write_bytes(model_file(CHATML))
    outcome = command("chat", path, "-n", 2, stdin="\ufeffhi\nho\n".encode())
    assert (outcome.code, outcome.stdout) == (0, "\0\0\n\0\0\n")
    assert "[21 prompt tokens, 0 of them cached; 2 generated" in outcome.stderr


@pytest.mark.parametrize(
    ("template", "code", "message"),
    [
        ("{{ raise_exception('no system here') }}", 1, "the chat template refuses: no system here"),
        (None, 2, "the model has no chat template (tokenizer.chat_template); `run` takes a plain prompt"),
    ],
)
def test_templates_are_checked_before_the_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str | None, code: int, message: str
) -> None:
    """GG-5: whoever has to wait for a large model hears of a bad template first."""
    path = tmp_path / "bad.gguf"
    path.write_bytes(model_file(template))
    monkeypatch.setattr("refruntime.commands.chat.command.open_model", lambda *_: pytest.fail("weights were read"))
    outcome = command("chat", path, stdin=b"hi\n")
    assert (outcome.code, outcome.stdout) == (code, "")
    assert message in outcome.stderr


def test_failures_in_the_middle(model: Path) -> None:
    """GEN-1: a message that is no UTF-8 is the contract's failure 3, as one line of JSON if that was asked for."""
    outcome = command("chat", model, "--json", "-n", 2, stdin=b"hi\n\xff\nnever\n")
    assert outcome.code == 1
    first, second = map(json.loads, outcome.stdout.splitlines())
    assert first["status"] == {"code": 0, "name": "Ok"}
    assert second["status"] == {"code": 3, "name": "InvalidUtf8"}
    assert command("chat", model, "--top-k", 0, stdin=b"").code == 1
    assert command("chat", model, "-n", 0, stdin=b"").code == 2


def test_a_sentencepiece_chat_goes_on(tmp_path: Path) -> None:
    """GG-5: BOS once, only what is new is encoded; a template that trims the answer gets all encoded anew."""
    whole = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    for template, ids in (
        (whole, (1, 7, 2, 7, 2, 7, 2)),  # 7 is the token `▁hi`; the answer is the sampled 7, and `</s>hi</s>` is new
        (whole.replace("m.content", "m.content | trim"), (1, 7, 2, 7, 2, 7, 2)),
    ):
        path = tmp_path / "spm.gguf"
        path.write_bytes(llama_file({"tokenizer.chat_template": scalar(STRING, template)}))
        chat = ChatTemplate(path.read_bytes(), open_tokenizer(path), DAY)
        first = chat.prompt(({"role": "user", "content": "hi"},))
        assert first.ids == (1, 7, 2)
        said = [
            {"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", " hi"), ("user", "hi"))
        ]
        assert chat.following(first, (7,), " hi", said).ids == ids
    with pytest.raises(NoTemplate, match="only GGUF files"):
        ChatTemplate(b"", open_tokenizer(lookup_model({})), DAY)
