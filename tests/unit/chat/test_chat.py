"""Chat templates: `refruntime run --chat` and what a template may and may not do."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import pytest

from refruntime.chat.rendering import answer
from refruntime.chat.template import ChatTemplateError, render_chat
from tests.support.chat_models import BOS, CHATML, END, START, model_file
from tests.support.command_line import command
from tests.support.gguf_by_hand import BOOL, STRING, U32, llama_file, scalar
from tests.support.lookup_model import lookup_model, spelling

DAY = datetime(2024, 2, 29)


def render(template: str, *contents: str, **special: str) -> str:
    return render_chat(template, [{"role": "user", "content": each} for each in contents], special, DAY)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a model with the ChatML template."""
    path = tmp_path / "chat.gguf"
    path.write_bytes(model_file(CHATML))
    return path


def test_a_chat_becomes_prompt_ids(model: Path) -> None:
    """GG-5: what the template spells as control tokens are control tokens; the rest is text; the answer follows."""
    document = command("run", model, "--chat", "hi", "--system", "be", "-n", 1, "--json").json
    text = "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert document["chat"] == text
    expected = [START, *b"system\nbe", END, 10, START, *b"user\nhi", END, 10, START, *b"assistant\n"]
    assert document["prompt_ids"] == expected
    assert document["generated_ids"] == [0]
    plain = command("run", model, "<|im_end|>", "-n", 1, "--json").json
    assert (plain["prompt_ids"], "chat" in plain) == (list(b"<|im_end|>"), False)


@pytest.mark.parametrize("template", ["{{ bos_token }}x", "x"])
def test_bos_is_not_doubled(tmp_path: Path, template: str) -> None:
    """GG-5: a model that adds BOS gets one, whether or not its template spells it too."""
    path = tmp_path / "bos.gguf"
    path.write_bytes(model_file(template, add_bos_token=scalar(BOOL, True), add_eos_token=scalar(BOOL, True)))
    document = command("run", path, "--chat", "", "-n", 1, "--json").json
    assert (document["prompt_ids"], document["chat"]) == ([BOS, ord("x")], template.replace("{{ bos_token }}", "<s>"))
    path.write_bytes(model_file(template, add_bos_token=scalar(BOOL, False)))
    spelt = [BOS] if "bos" in template else []
    assert command("run", path, "--chat", "", "-n", 1, "--json").json["prompt_ids"] == [*spelt, ord("x")]


def test_chat_with_a_sentencepiece_vocabulary(tmp_path: Path) -> None:
    """GG-5: the tiny llama adds BOS by default; raw text behind a special token gets its space; EOS is as spelt."""
    path = tmp_path / "spm.gguf"
    template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}hi"
    path.write_bytes(llama_file({"tokenizer.chat_template": scalar(STRING, template)}))
    document = command("run", path, "--chat", "hi", "-n", 1, "--json").json
    assert (document["chat"], document["prompt_ids"]) == ("<s>hi</s>hi", [1, 7, 2, 7])  # 7 is the token `▁hi`


def test_special_tokens_have_their_names(tmp_path: Path) -> None:
    """GG-5: bos_token, eos_token and the others that the file names; a model without BOS has an empty one."""
    path = tmp_path / "names.gguf"
    template = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token is defined }}"
    path.write_bytes(model_file(template, padding_token_id=scalar(U32, START)))
    document = command("run", path, "--chat", "", "-n", 1, "--json").json
    assert document["chat"] == "<s>|<|im_end|>|<|im_start|>|False"


def test_the_date_can_be_fixed(tmp_path: Path) -> None:
    """GG-5: templates that write today's date are reproducible."""
    path = tmp_path / "date.gguf"
    path.write_bytes(model_file("{{ strftime_now('%d %b %Y') }}"))
    assert command("run", path, "--chat", "", "--date", "2024-02-29", "-n", 1, "--json").json["chat"] == "29 Feb 2024"
    assert command("run", path, "--chat", "", "--date", "tomorrow").code == 2


def test_a_model_without_template(tmp_path: Path) -> None:
    """GG-1: an SLM1 file has none, and a GGUF file may have none; that is wrong usage, as are two prompts."""
    for name, data in (("a.slm1", lookup_model(spelling(b"Helo!"))), ("b.gguf", model_file(None))):
        (tmp_path / name).write_bytes(data)
        outcome = command("run", tmp_path / name, "--chat", "hi")
        assert (outcome.code, outcome.stdout) == (2, "")
        assert "the model has no chat template (tokenizer.chat_template)" in outcome.stderr
    for arguments in (["hi", "--chat", "hi"], ["--ids", "1", "--chat", "hi"], ["hi", "--system", "x"]):
        assert command("run", tmp_path / "b.gguf", *arguments).code == 2


def test_without_jinja2_the_command_says_what_to_install(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-5: only chats need the package; exit code 3."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for arguments in (["run", model, "--chat", "hi"], ["chat", model]):
        outcome = command(*arguments)
        assert (outcome.code, outcome.stdout) == (3, "")
        assert "pip install 'refruntime[chat]'" in outcome.stderr
    assert command("run", model, "hi", "-n", 1).code == 0


def test_templates_render_as_in_transformers() -> None:
    """GG-5: blocks trim their line, loops have controls, JSON is neither ASCII nor HTML, generation marks nothing."""
    assert render("a\n  {% if true %}\nb\n  {% endif %}\nc", "x") == "a\nb\nc"
    loop = "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}"
    assert render(loop, "x", "y") == "x"
    assert render("{{ messages | tojson }}", "<é'>") == '[{"role": "user", "content": "<é\'>"}]'
    assert render("{{ {'b': 1, 'a': [2]} | tojson(indent=1) }}") == '{\n "b": 1,\n "a": [\n  2\n ]\n}'
    assert render("{% generation %}x{% set y = 1 %}{% endgeneration %}{{ y is defined }}") == "xFalse"
    assert render("{{ tools is none }}{{ documents is none }}{{ '<b>' }}{{ undefined_name }}") == "TrueTrue<b>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\n{% if %}", "the chat template is broken: line 2: Expected an expression"),
        ("{{ raise_exception('roles must alternate') }}", "the chat template refuses: roles must alternate"),
        (
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
            "the chat template refuses: access to attribute '__class__'",
        ),
        ("{{ strftime_now.__self__.year }}", "the chat template refuses: access to attribute '__self__'"),
        ("{{ raise_exception.__globals__.json }}", "the chat template refuses: access to attribute '__globals__'"),
        ("{{ lipsum.__globals__['os'] }}", "the chat template refuses: access to attribute '__globals__'"),
        ("{{ messages.append(1) }}", "the chat template refuses: access to attribute 'append'"),
        ("{{ messages[0].update({'a': 1}) }}", "the chat template refuses: access to attribute 'update'"),
        ("{{ 1 / 0 }}", "the chat template fails: ZeroDivisionError"),
        ("{{ range(10 ** 9) | list }}", "the chat template fails: OverflowError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "the chat template fails: RecursionError"),
        ("{{ nothing.at.all }}", "the chat template refuses: 'nothing' is undefined"),
    ],
)
def test_what_a_template_must_not_do(template: str, message: str) -> None:
    """GG-5: a template is a program from a file: the sandbox holds it, and its failures are readable."""
    with pytest.raises(ChatTemplateError) as caught:
        render(template, "x")
    assert str(caught.value).startswith(message)


LOOP = "{% for i in range(90000) %}{% for j in range(90000) %}BODY{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("body", "seconds", "message"),
    [("", 1.0, "it takes longer than 1 seconds"), ("x" * 999, 60.0, "its text is longer")],
)
def test_templates_end(monkeypatch: pytest.MonkeyPatch, body: str, seconds: float, message: str) -> None:
    """GG-5: a template that loops in silence is stopped by a timer, one that writes without end by its length."""
    monkeypatch.setattr("refruntime.chat.template.MOST_SECONDS", seconds)
    with pytest.raises(ChatTemplateError, match=message):
        render(LOOP.replace("BODY", body), "x")


SWALLOWED = "{% for i in range(90000) %}{% for j in range(90000) %}{{ messages['x'] }}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% set a = 10 ** (10 ** 9) %}", "the chat template refuses: it asks for an integer of more than 4096 bits"),
        ("{% set a = 2 ** 4095 %}{{ a * a }}", "the chat template refuses: it asks for an integer of more than 4096"),
        ("{{ 'a' * (3 * 10 ** 9) }}", "the chat template refuses: it asks for a value of more than"),
        ("{{ (10 ** 9 * ['a']) | length }}", "the chat template refuses: it asks for a value of more than"),
        ("{{ 'a'.center(3 * 10 ** 9) }}", "the chat template refuses: it needs more memory"),
        ("{{ '{:>3000000000}'.format(1) }}", "the chat template refuses: it needs more memory"),
        ("{{ '%3000000000d' % 1 }}", "the chat template refuses: it needs more memory"),
        (
            "{% set n = namespace(a='a' * 99) %}{% for i in range(40) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
            "the chat template refuses: it needs more memory",
        ),
        (SWALLOWED, "the chat template refuses: it takes longer than 1 seconds"),
    ],
)
def test_a_template_takes_no_more_than_it_may_have(
    monkeypatch: pytest.MonkeyPatch, template: str, message: str
) -> None:
    """GG-5: neither big integers, nor long texts, nor a loop that swallows exceptions gets past the limits."""
    if template == SWALLOWED:  # the others are over long before, but on a busy machine not within one second
        monkeypatch.setattr("refruntime.chat.template.MOST_SECONDS", 1.0)
    with pytest.raises(ChatTemplateError) as caught:
        render(template, "x")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "template", ["{{ 'a'.center(9) }}", "{{ '{:>9}'.format(1) }}", "{{ '%9d' % 1 }}", "{{ 'a' | center(9) }}"]
)
def test_without_limits_of_the_kernel_what_widens_is_refused(template: str) -> None:
    """GG-5: a system that cannot bound memory refuses by name; what cannot grow is rendered as ever."""
    request = {
        "template": template,
        "messages": [],
        "special_tokens": {},
        "today": DAY.isoformat(),
        "most_characters": 99,
    }
    assert set(answer(request, kernel_limits=False)) == {"error"}
    assert set(answer(request, kernel_limits=True)) == {"text"}
    assert answer({**request, "template": "{{ 3 * 4 ** 2 }}"}, kernel_limits=False) == {"text": "48"}


@pytest.mark.parametrize(
    "unsafe", ["''.__class__", "'{0.__class__}'.format(1)", "'' | attr('__class__')", "strftime_now.__self__"]
)
def test_unsafe_attributes_show_nothing(unsafe: str) -> None:
    """GG-5: an attribute that the sandbox withholds is undefined, however it is reached."""
    assert render("{{ " + unsafe + " }}") == ""


def test_what_a_template_says_is_bounded_text() -> None:
    """GG-5: its error holds no half of a character and fills no terminal."""
    with pytest.raises(ChatTemplateError, match=r"refuses: a\?b"):
        render(r"{{ raise_exception('a\ud800b') }}")
    with pytest.raises(ChatTemplateError, match=r"aaa\.\.\. \(5,000,000 characters\)") as caught:
        render("{{ raise_exception('a' * 5000000) }}")
    assert len(str(caught.value)) < 1100


@pytest.mark.parametrize("module", ["jinja2", "json", "refruntime"])
def test_no_module_of_the_folder_is_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-5: who renders a template in a folder that came with a model runs no program of that folder."""
    (tmp_path / f"{module}.py").write_text("open('was-run', 'w').close()")
    monkeypatch.chdir(tmp_path)
    assert render("x") == "x"
    assert not (tmp_path / "was-run").exists()


def test_failures_reach_the_command_line(tmp_path: Path) -> None:
    """GG-5: exit code 1 and one line; text that is not UTF-8 is the contract's failure 3."""
    path = tmp_path / "bad.gguf"
    path.write_bytes(model_file("{{ raise_exception('no') }}"))
    outcome = command("run", path, "--chat", "hi")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "the chat template refuses: no" in outcome.stderr
    path.write_bytes(model_file("{{ messages[0].content }}"))
    assert command("run", path, "--chat", "\udcff", "--json").json["status"]["name"] == "InvalidUtf8"
