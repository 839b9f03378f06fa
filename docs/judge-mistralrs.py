"""Let `refruntime judge` ask mistral.rs, which takes texts alone.

    pip install mistralrs
    refruntime judge model.gguf --node 'python docs/judge-mistralrs.py model.gguf'

Behind the model may stand kv=f32, for keys and values in float32. One JSON document a line comes in, one goes out. Rows
of ids that no text gives are null: they were not told.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

if "kv=f32" in sys.argv:
    os.environ["MISTRALRS_CPU_KV_F32"] = "1"
answers_to = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the package writes to its standard output is no answer
from mistralrs import ChatCompletionRequest, Runner, Which  # noqa: E402

path = Path(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    template = Path(folder, "plain.json")
    template.write_text(json.dumps({"chat_template": "{{ messages[0].content }}"}))
    which = Which.GGUF(quantized_model_id=str(path.parent), quantized_filename=path.name)
    runner = Runner(which=which, chat_template=str(template))


def tokenize(text):
    """Return ids with what the engine adds."""
    return runner.tokenize_text(text, add_special_tokens=True, enable_thinking=False)


def said(ids):
    """Return a text that has these ids, None where there is none."""
    text = runner.detokenize_text(ids, skip_special_tokens=False)
    return next((each for each in (text, text.removeprefix(" "), " " + text) if tokenize(each) == ids), None)


def row(ids, size):
    """Return log probabilities behind ids, null where they are not told."""
    text = said(ids)
    values = [None] * size
    if text is None:
        return values
    messages = [{"role": "user", "content": text}]
    settings = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": size}
    answer = runner.send_chat_completion_request(ChatCompletionRequest(messages=messages, model="default", **settings))
    for one in answer.choices[0].logprobs.content[0].top_logprobs:
        values[one.token] = one.logprob
    return values


def greedy(ids, count, size):
    """Return the best token again and again."""
    tokens = []
    while len(tokens) < count:
        values = row(ids + tokens, size)
        if values[0] is None:
            raise ValueError("no text has these ids")
        tokens.append(max(range(size), key=values.__getitem__))
    return tokens


answers = {
    "about": lambda: {"name": f"mistral.rs {version('mistralrs')}", "kind": "log probabilities"},
    "tokenize": lambda text: {"tokens": tokenize(text)},
    "rows": lambda ids, positions, vocabulary: {"rows": [row(ids[: at + 1], vocabulary) for at in positions]},
    "greedy": lambda ids, count, vocabulary: {"tokens": greedy(ids, count, vocabulary)},
}
for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = answers[question.pop("call")](**question)
    except Exception as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), file=answers_to, flush=True)
