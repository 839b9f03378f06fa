"""The recorder in a page, `refruntime record`, and `refruntime diff --recorded`."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from refruntime import Profile
from refruntime.battery.catalogue import default_battery
from refruntime.battery.models.slm1 import random_model
from refruntime.cases.observation import (
    Observation,
    OutsideMemory,
    StatusAnswer,
    Trapped,
    ValueAnswer,
    code_of,
    kind_of,
)
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Case, Configure, Generate, Load, Write
from refruntime.differential.run import observe
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.recordings.convert import convert
from refruntime.recordings.read import read_recording
from refruntime.recordings.suite import observations
from tests.support.builds import GUEST, MUTANTS
from tests.support.command_line import command
from tests.support.recorded_sessions import RECORDER, Visit, node_program, visit
from tests.support.wat_modules import build as build_module
from tests.support.wat_modules import to_wasm

PROFILE = Profile()
MODEL = random_model(5, profile=PROFILE)
CHAT = Case(
    "recorded/chat",
    (
        INIT,
        Configure(0.9, 40, 0.95, 2**64 - 1),
        Generate(b"too early", 3),
        Load("model"),
        Generate("Gr\u00fc\u00df dich".encode(), 12),
        NEXT_TOKEN,
        NEXT_TOKEN,
        Configure(float("nan"), 40, 0.95, 7),
        Generate(b"", 3),
        Generate(b"\xff", 3),
        RESET,
        NEXT_TOKEN,
        Generate(b"again", 5),
        FREE,
    ),
    {"model": MODEL},
)
LOUD = (StatusAnswer, Trapped, OutsideMemory)
"""What a status call shows; getters, alloc and dealloc of a page show nothing of it."""


def answers_of(observed: Sequence[Observation]) -> list[tuple[object, ...]]:
    """Return what a runtime answered to its status calls; the words of a trap are the engine's."""
    return [
        (kind_of(item), *((item.code, item.result, item.diagnostics) if isinstance(item, StatusAnswer) else ()))
        for item in observed
        if isinstance(item, LOUD)
    ]


def recorded(made: Visit, models: dict[str, bytes] | None = None) -> tuple[Case, list[Observation]]:
    """Return the case and the answers that a recording gives."""
    session = convert(read_recording(made.file, "recording"), "recorded/test", models or {})
    return session.case, observations(session.answers, PROFILE)


def save(made: Visit, path: Path) -> Path:
    path.write_bytes(made.file)
    return path


@pytest.fixture(scope="module")
def battery() -> list[Case]:
    families = ("state", "status", "sampler", "output", "generator", "tokenizer")
    return [case for case in default_battery(PROFILE, {}, families) if sum(map(len, case.models.values())) < 2**18]


@pytest.mark.parametrize("reads", [True, False])
def test_recorded_answers_are_those_of_another_engine(battery: list[Case], reads: bool) -> None:
    """ABI-1, MEM-6, DG-2: what the recorder writes down in Node is what wasmtime shows of the same sessions."""
    module = WasmModule(GUEST.read_bytes())
    cases = [CHAT, *battery[int(reads) :: 16]]
    for case, made in zip(cases, visit(GUEST, cases, reads=reads), strict=True):
        _, answers = recorded(made)
        assert answers_of(answers) == answers_of(observe(case, WasmEngine(module), PROFILE)), case.name
    assert len(cases) > 50


def test_the_page_sees_the_same() -> None:
    """ABI-3, MEM-5, MEM-6: with the recorder a page sees the same numbers, texts and exceptions as without."""
    misuse = Case(
        "misuse",
        (
            Call("alloc", (64,), "buffer"),
            Write("buffer", b"hello"),
            Call("set_sampling_config", (0.5, -1, 1e300, 2**64 + 5)),
            Call("generate", ("buffer+1", 3, 2**32 + 2)),
            Call("load_model", (0, 5)),
            Call("load_model", (4294967295, 5)),
            Call("generate", ("buffer", 5, 1)),
            Call("last_result_ptr"),
            Call("dealloc", ("buffer", 64)),
        ),
    )
    cases = [CHAT, misuse]
    with_recorder, without = visit(GUEST, cases), visit(GUEST, cases, record=False)
    assert [made.seen for made in with_recorder] == [made.seen for made in without]
    assert any("RuntimeError" in str(step[0]) for step in without[1].seen)
    assert all(made.recording is None for made in without)


def test_steps_say_what_the_page_did() -> None:
    """MEM-2, MEM-3, MEM-6: transfers become load and generate steps, other buffers keep their calls, with a name."""
    case = Case(
        "raw",
        (
            Call("alloc", (0,)),
            Call("alloc", (64,), "buffer"),
            Write("buffer", b"hello"),
            Call("generate", ("buffer+1", 3, 2)),
            Call("generate", ("buffer", 134217729, 2)),
            Generate(b"usual", 2),
            Call("dealloc", ("buffer", 64)),
            Call("generate", (4294967280, 100, 2)),
            NEXT_TOKEN,
        ),
    )
    (made,) = visit(GUEST, [case], reads=False)
    steps, answers = recorded(made)
    assert steps.steps == (
        Call("alloc", (0,)),
        Call("alloc", (64,), "buffer_a"),
        Generate(b"ell", 2),
        Call("generate", (1, 134217729, 2)),
        Generate(b"usual", 2),
        Call("dealloc", ("buffer_a", 64)),
        Call("generate", (2**32 - 1, 100, 2)),
        NEXT_TOKEN,
    )
    assert [(kind_of(item), item.value if isinstance(item, ValueAnswer) else code_of(item)) for item in answers] == [
        ("value", 0),
        ("value", 1),
        ("status", 12),
        ("status", 2),
        ("status", 12),
        ("none", None),
        ("trap", None),
        ("status", 13),
    ]


def test_record_and_diff(tmp_path: Path) -> None:
    """The way from a page to a verdict: the clean build matches, in every step and many fields."""
    (made,) = visit(GUEST, [CHAT])
    shown = command("record", save(made, tmp_path / "recording.json"), "-o", tmp_path / "chat")
    assert shown.code == 0, shown.stderr
    assert json.loads((tmp_path / "chat" / "answers.json").read_text())["build"]["sha256"] == sha256(GUEST)
    shown = command("diff", "--recorded", tmp_path / "chat", "--json")
    assert shown.code == 0, shown.stdout
    assert shown.json["summary"]["verdicts"] in ({"MATCH": 1}, {"BOTH_FAILED": 1})
    assert shown.json["summary"]["steps"] >= len(CHAT.steps)
    assert shown.json["summary"]["fields"] > 150
    assert shown.json["build"]["sha256"] == sha256(GUEST)


@pytest.mark.parametrize(
    ("bug", "field", "rule"),
    [
        ("reset_keeps_kv", "kv_length", "ST-5"),
        pytest.param("rope_split_halves", "logits_summary", "FW-5", marks=pytest.mark.slow),
    ],
)
def test_a_bug_in_a_page_is_named(tmp_path: Path, bug: str, field: str, rule: str) -> None:
    """ST-5, FW-5: a page that ran a build with a bug gives exit code 1, the differing field and the cause."""
    steps = (Load("model"), Generate(b"abc", 3), RESET)
    (made,) = visit(MUTANTS[bug], [Case("recorded/chat", steps, {"model": MODEL})])
    assert command("record", save(made, tmp_path / "recording.json"), "-o", tmp_path / "chat").code == 0
    shown = command("diff", "--recorded", tmp_path / "chat")
    assert shown.code == 1
    assert "recorded/chat" in shown.stdout
    assert field in shown.stdout
    assert rule in shown.stdout
    (repro,) = [line for line in shown.stdout.splitlines() if "repro" in line]
    words = repro.partition("refruntime ")[2].partition("   (")[0].split()
    assert command(*words, "--no-explain").code == 1


def test_large_models_are_given_by_hand(tmp_path: Path) -> None:
    """A model above the limit leaves hash and size alone; `record` says which it needs and takes it with --model."""
    (made,) = visit(GUEST, [CHAT], maxModelBytes=1000)
    assert made.recording is not None
    assert made.recording["blobs"] == {hashlib.sha256(MODEL).hexdigest(): {"length": len(MODEL)}}
    path = save(made, tmp_path / "recording.json")
    shown = command("record", path, "-o", tmp_path / "chat")
    assert shown.code == 3
    assert hashlib.sha256(MODEL).hexdigest() in shown.stderr
    assert str(len(MODEL)) in shown.stderr
    assert not (tmp_path / "chat").exists()
    (tmp_path / "model.slm1").write_bytes(MODEL)
    assert command("record", path, "-o", tmp_path / "chat", "--model", tmp_path / "model.slm1").code == 0
    assert command("diff", "--recorded", tmp_path / "chat").code == 0


@pytest.mark.parametrize("limits", [{"maxEvents": 9}, {"maxBytes": 6000}])
def test_a_recording_is_bounded(tmp_path: Path, limits: dict[str, int]) -> None:
    """At a limit the recording stops and says so, the page goes on, and the part that is there can be judged."""
    (made,), (free,) = visit(GUEST, [CHAT], **limits), visit(GUEST, [CHAT], record=False)
    assert made.seen == free.seen
    assert made.recording is not None
    assert len(made.file) < 200_000
    assert "limit" in made.recording["truncated"]
    (tmp_path / "model.slm1").write_bytes(MODEL)
    path = save(made, tmp_path / "recording.json")
    shown = command("record", path, "-o", tmp_path / "chat", "--model", tmp_path / "model.slm1")
    assert "ends early" in shown.stdout
    assert command("diff", "--recorded", tmp_path / "chat").code == 0


def test_a_module_without_getters(tmp_path: Path) -> None:
    """ABI-1: only getters that a module has are called; what it lacks is a difference that `diff` lists."""
    module = tmp_path / "build.wasm"
    module.write_bytes(build_module(without="get_diagnostics_ptr"))
    (made,) = visit(module, [Case("init", (INIT,))], reads=False)
    assert made.recording is not None
    (event,) = made.recording["events"]
    assert "result" in event
    assert "diagnostics" not in event
    assert command("record", save(made, tmp_path / "recording.json"), "-o", tmp_path / "chat").code == 0
    shown = command("diff", "--recorded", tmp_path / "chat")
    assert shown.code == 1
    assert "missing get_diagnostics_ptr" in shown.stderr


def test_the_wrapper_passes_as_an_instance(tmp_path: Path) -> None:
    """ABI-1, ABI-3: names, lengths, memory and exceptions are the module's own; foreign exports are passed on."""
    module = tmp_path / "build.wasm"
    foreign = '(func (export "__wbindgen_malloc") (param i32 i32) (result i32) (i32.const 77))'
    more = f'{foreign} (global (export "g") i32 (i32.const 5))'
    module.write_bytes(build_module(more=more, generate="(unreachable)"))
    script = f"""
import {{ record, sha256 }} from {json.dumps(RECORDER.as_uri())};
import {{ readFileSync }} from "node:fs";
import {{ createHash }} from "node:crypto";
import assert from "node:assert/strict";
const {{ instance }} = await WebAssembly.instantiate(readFileSync({json.dumps(str(module))}), {{}});
const wrapped = record(instance);
const bare = instance.exports;
const own = wrapped.exports;
assert(wrapped instanceof WebAssembly.Instance);
assert.deepEqual(Object.keys(own), Object.keys(bare));
assert(Object.isFrozen(own) && Object.getPrototypeOf(own) === null);
assert.equal(own.memory, bare.memory);
assert.equal(own.g, bare.g);
for (const key of Object.keys(bare)) {{
  if (typeof bare[key] !== "function") continue;
  assert.equal(own[key].name, bare[key].name);
  assert.equal(own[key].length, bare[key].length);
}}
const failure = (action) => {{ try {{ action(); }} catch (error) {{ return [error.constructor, error.message]; }} }};
for (const given of [[1, 1, 1, 1], [1, 1, 1], [1n, 1, 1, 1n], [Symbol(), 1, 1, 1n]]) {{
  assert(failure(() => own.set_sampling_config(...given)));
  assert.deepEqual(failure(() => own.set_sampling_config(...given)), failure(() => bare.set_sampling_config(...given)));
}}
assert.equal(failure(() => own.generate(8, 1, 1))[0], WebAssembly.RuntimeError);
assert.equal(own.__wbindgen_malloc(1, 2), 77);
assert.equal(own.set_sampling_config("0.5", null, true, "12"), 0);
assert.equal(own.init_runtime("more", "arguments"), 0);
const {{ events, unrecorded }} = wrapped.recording();
assert.deepEqual(unrecorded, {{ __wbindgen_malloc: 1 }});
assert.equal(events.filter((event) => event.refused).length, 8);
assert.deepEqual(events.find((event) => event.returned === 0).arguments, ["0.5", 0, "1", "12"]);
assert.throws(() => wrapped.download(), /page/);
for (let length = 0; length < 200; length += 1) {{
  const bytes = Uint8Array.from({{ length }}, (_, index) => (index * 167 + length) & 255);
  assert.equal(sha256(bytes), createHash("sha256").update(bytes).digest("hex"));
}}
console.log("done");
"""
    path = tmp_path / "script.mjs"
    path.write_text(script)
    shown = subprocess.run([node_program(), str(path)], capture_output=True, text=True, timeout=60)
    assert shown.stdout == "done\n", shown.stderr


def test_a_failing_recorder_is_no_failure_of_the_page(tmp_path: Path) -> None:
    """A module without the memory that the recorder expects works on, and the recording says why it ends."""
    module = tmp_path / "build.wasm"
    module.write_bytes(build_module(memory='(memory (export "ram") 2)', generate="(i32.const 9)"))
    script = f"""
import {{ record }} from {json.dumps(RECORDER.as_uri())};
import {{ readFileSync }} from "node:fs";
import assert from "node:assert/strict";
const {{ instance }} = await WebAssembly.instantiate(readFileSync({json.dumps(str(module))}));
const wrapped = record(instance);
assert.equal(wrapped.exports.alloc(5), 1024);
assert.equal(wrapped.exports.generate(1024, 5, 1), 9);
assert.equal(wrapped.exports.alloc(5), 1024);
const {{ events, truncated }} = wrapped.recording();
assert.equal(events.length, 1);
assert.match(truncated, /recorder failed/);
console.log("done");
"""
    path = tmp_path / "script.mjs"
    path.write_text(script)
    shown = subprocess.run([node_program(), str(path)], capture_output=True, text=True, timeout=60)
    assert shown.stdout == "done\n", shown.stderr


def test_the_page_s_objects_are_asked_once(tmp_path: Path) -> None:
    """ABI-3: an argument with code of the page, which may call the build again, runs once and in the engine's order."""
    script = f"""
import {{ record }} from {json.dumps(RECORDER.as_uri())};
import {{ readFileSync }} from "node:fs";
import assert from "node:assert/strict";
const module = await WebAssembly.compile(readFileSync({json.dumps(str(GUEST))}));
const play = (exports) => {{
  const asked = [];
  const object = (name, value) => ({{
    [Symbol.toPrimitive]: () => {{ asked.push(name, exports.init_runtime()); return value; }},
    toString: () => {{ asked.push("text"); return ""; }},
  }});
  const attempt = (...values) => {{
    try {{
      asked.push(exports.set_sampling_config(...values));
    }} catch (error) {{
      asked.push(error.name, error.message);
    }}
  }};
  attempt(object("t", 0.5), object("k", 7.9), object("p", "0.5"), object("s", -1n), object("more", 1));
  attempt(object("t", 1), object("k", 2n), object("p", 1), object("s", 1n));
  attempt(object("t", 1), object("k", 2), object("p", 1), object("s", 5));
  attempt(Symbol("warm"), 1, 1, 1n);
  attempt();
  return asked;
}};
const plain = play((await WebAssembly.instantiate(module)).exports);
const recorded = record(await WebAssembly.instantiate(module));
assert.deepEqual(play(recorded.exports), plain);
const {{ events, truncated }} = recorded.recording();
assert.equal(truncated, null);
const outer = events.filter((event) => event.call === "set_sampling_config");
assert.deepEqual(outer[0].arguments, ["0.5", 7, "0.5", "18446744073709551615"]);
assert.deepEqual(outer.map((event) => "refused" in event), [false, true, true, true, true]);
console.log("done");
"""
    path = tmp_path / "script.mjs"
    path.write_text(script)
    shown = subprocess.run([node_program(), str(path)], capture_output=True, text=True, timeout=60)
    assert shown.stdout == "done\n", shown.stderr


def test_every_build_of_a_page(tmp_path: Path) -> None:
    """ABI-1: each of the four ways to instantiate gives a recorded build, other modules and a stopped page do not."""
    other = tmp_path / "other.wasm"
    other.write_bytes(to_wasm('(module (func (export "other") (result i32) (i32.const 3)))'))
    script = f"""
import {{ recordEvery }} from {json.dumps(RECORDER.as_uri())};
import {{ readFileSync }} from "node:fs";
import assert from "node:assert/strict";
const bytes = readFileSync({json.dumps(str(GUEST))});
const own = {{ ...Object.getOwnPropertyDescriptors(WebAssembly) }};
const recorder = recordEvery({{ name: "every" }});
const response = () => new Response(bytes, {{ headers: {{ "Content-Type": "application/wasm" }} }});
const module = new WebAssembly.Module(bytes);
const made = [
  (await WebAssembly.instantiate(bytes, {{}})).instance,
  await WebAssembly.instantiate(module, {{}}),
  new WebAssembly.Instance(module, {{}}),
  (await WebAssembly.instantiateStreaming(response(), {{}})).instance,
];
assert.deepEqual(recorder.instances, made);
for (const instance of made) {{
  assert(instance instanceof WebAssembly.Instance);
  assert.equal(instance.exports.init_runtime(), 0);
  assert.equal(instance.recording().events.length, 1);
  assert.equal(instance.recording().name, "every");
}}
const {{ instance }} = await WebAssembly.instantiate(readFileSync({json.dumps(str(other))}));
assert.equal(instance.exports.other(), 3);
assert.equal(instance.recording, undefined);
await assert.rejects(WebAssembly.instantiate(new Uint8Array(3)), WebAssembly.CompileError);
recorder.stop();
for (const [key, value] of Object.entries(own)) assert.equal(WebAssembly[key], value.value);
assert.equal(recorder.instances.length, 4);
console.log("done");
"""
    path = tmp_path / "script.mjs"
    path.write_text(script)
    shown = subprocess.run([node_program(), str(path)], capture_output=True, text=True, timeout=60)
    assert shown.stdout == "done\n", shown.stderr


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
