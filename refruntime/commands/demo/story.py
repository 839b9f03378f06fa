"""The chapters of the demonstration, in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from rich.text import Text

from refruntime.commands.demo.session import DemoSession
from refruntime.commands.shared import add_row, plain_table
from refruntime.contract.exports import EXPORTS
from refruntime.contract.limits import MAX_TRANSFER_BYTES, PAGE_BYTES
from refruntime.contract.status import Status
from refruntime.exports import ExportedABI
from refruntime.runtime import Machine

PROMPT: Final = b"Once upon a time"
NEW_TOKENS: Final = 48
CONTINUED: Final = 8
SAMPLING: Final = (0.9, 40, 0.95)


def surface(session: DemoSession) -> None:
    """Show the 13 exports."""
    with session.chapter("1. The surface", "A module with 13 functions and one memory, and no imports (ABI-1)."):
        table = plain_table("export", "wasm type", "Rust signature")
        for export in EXPORTS:
            add_row(table, export.name, export.wasm_signature, export.signature)
        session.console.print(table)


def load(session: DemoSession) -> None:
    """Transfer the model and load it."""
    with session.chapter(
        "2. Load a model", "The host asks for memory, copies the file in, and hands over the address."
    ):
        abi = session.abi
        session.call("init_runtime", meaning="optional: every other export would create the runtime too (ST-1)")
        before = abi.linear_memory.size
        pointer = session.put(session.model, "the model")
        after = abi.linear_memory.size
        session.row("memory", f"{before // PAGE_BYTES} -> {after // PAGE_BYTES} pages", "grows by 64 KiB pages (MEM-5)")
        session.call(
            "load_model", pointer, len(session.model), meaning="parse, validate, install: all or nothing (ST-3)"
        )
        session.text("the result text belongs to the runtime; never free it (MEM-7)")
        session.call("dealloc", pointer, len(session.model), meaning="allowed at once: the bytes were copied (MEM-9)")


def generate(session: DemoSession) -> None:
    """Generate greedily."""
    with session.chapter("3. Generate", "The defaults are greedy: temperature 0, top_k 1, top_p 1, seed 1 (SC-1)."):
        _generate(session)
        session.text("only what was generated, no echo of the prompt (GEN-8)")


def diagnostics(session: DemoSession) -> None:
    """Show the diagnostics document."""
    with session.chapter(
        "4. Diagnostics", "A JSON document after every status call (DG-2); f32 values read back exactly."
    ):
        document = json.loads(session.diagnostics())
        table = plain_table("key", "value")
        for key, value in document.items():
            add_row(table, key, json.dumps(value))
        session.console.print(table)


def sample(session: DemoSession) -> None:
    """Sample with seeds."""
    temperature, top_k, top_p = SAMPLING
    with session.chapter(
        "5. Sample", "The generator belongs to the project: one seed, one text, on every machine (GEN-7)."
    ):
        results = {}
        for run, seed in enumerate((7, 7, 8)):
            session.call("set_sampling_config", temperature, top_k, top_p, seed, meaning="keeps the context as it is")
            _generate(session)
            results[run] = session.text(f"seed {seed}")
        if results[0] != results[1]:
            session.surprises.append("two runs with one seed gave two texts (GEN-7)")
        same = "the same" if results[0] == results[1] else "different"
        session.row("", f"seed 7 twice: {same} text", "seed 8 may differ" if results[0] != results[2] else "")


def continue_token_by_token(session: DemoSession) -> None:
    """Continue one token at a time."""
    with session.chapter("6. Continue", "generate_next_token goes on from the stored logits, one token a call (NT-4)."):
        for _ in range(CONTINUED):
            session.call("generate_next_token", expected=_continuation_statuses(session))
            session.text("the text of this one token (NT-6)")


def fail(session: DemoSession) -> None:
    """Cause failures on purpose."""
    text = "A failure is a status, a fixed message as the result, and a state that the contract defines (ERR-3, ERR-4)."
    with session.chapter("7. Fail on purpose", text):
        _fail_before_the_transaction(session)
        _fail_inside(session)
        pointer = session.put(b"NOPE" + bytes(200), "something that is no model")
        session.call("load_model", pointer, 204, expected=Status.InvalidModelMagic)
        session.call("dealloc", pointer, 204)
        _generate(session, Status.ModelNotLoaded, "the failed load has dropped the model, too (ST-4)")
        _load_damaged(session)


def _fail_before_the_transaction(session: DemoSession) -> None:
    session.call("load_model", 0, 10, expected=Status.NullPointer)
    session.call("generate", 0, 10, 5, expected=Status.NullPointer)
    session.text("the fixed message of the status (ERR-3)")
    session.call("alloc", MAX_TRANSFER_BYTES + 1, meaning="0: more than 128 MiB at once is refused (MEM-1)")
    pointer = session.put(b"\xc3\x28", "two bytes that are not UTF-8")
    session.call("generate", pointer, 0, 5, expected=Status.InvalidLength)
    session.call("generate", pointer, 2, 5, expected=Status.InvalidUtf8)
    session.call("dealloc", pointer, 2)
    session.call("set_sampling_config", -1.0, 1, 1.0, 1, expected=Status.InvalidLength)
    session.call("set_sampling_config", float("nan"), 1, 1.0, 1, expected=Status.InvalidLength)
    session.call("set_sampling_config", 1.0, 1025, 1.0, 1, expected=Status.InvalidLength)


def _fail_inside(session: DemoSession) -> None:
    capacity = _machine(session).model.capacity
    prompt = PROMPT * capacity
    pointer = session.put(prompt, f"the prompt {capacity} times, for {capacity} positions")
    session.call("generate", pointer, len(prompt), 1, expected=Status.ContextExceeded)
    session.call("dealloc", pointer, len(prompt))
    session.call(
        "generate_next_token",
        expected=_continuation_statuses(session),
        meaning="the failure has cleared the context (ST-7, NT-2)",
    )


def _load_damaged(session: DemoSession) -> None:
    damaged = bytearray(session.model)
    damaged[4] ^= 0x7F  # the version in both containers
    pointer = session.put(bytes(damaged), "the model with one damaged byte")
    session.call("load_model", pointer, len(damaged), expected=Status.UnsupportedModelVersion)
    damaged[4] ^= 0x7F
    session.abi.write(pointer, damaged)
    session.call("load_model", pointer, len(damaged), meaning="repaired in place, loaded again")
    session.call("dealloc", pointer, len(damaged))


def misuse(session: DemoSession) -> None:
    """Break the rules of memory and be caught."""
    text = "What is undefined behaviour in the original, the strict ledger reports, never as a status (MEM-4)."
    with session.chapter("8. Misuse memory and be caught", text):
        abi = session.abi
        pointer = session.call("alloc", 100)
        session.misuse(
            "dealloc(the pointer, 99)", lambda: abi.dealloc(pointer, 99), "the exact length is needed (MEM-3)"
        )
        session.misuse("write 101 bytes into 100", lambda: abi.write(pointer, bytes(101)), "past the end of the region")
        session.call("dealloc", pointer, 100)
        session.misuse("dealloc(...) once more", lambda: abi.dealloc(pointer, 100), "freed before")
        session.misuse("dealloc(pointer + 16, 4)", lambda: abi.dealloc(pointer + 16, 4), "alloc never returned it")
        _generate(session)
        stale, length = abi.last_result_ptr(), abi.last_result_len()
        session.calls += 2
        _generate(session)
        session.misuse("read the first result now", lambda: abi.read(stale, length), "the next call moved it (MEM-8)")
        _stale_view(session)


def _stale_view(session: DemoSession) -> None:
    view, size = session.abi.memory, session.abi.linear_memory.size
    length = min(size, MAX_TRANSFER_BYTES)
    pointers = []
    while session.abi.linear_memory.size == size:
        pointers.append(session.call("alloc", length, meaning="forces memory to grow"))
    try:
        seen = view[0]
    except ValueError:
        session.row("view[0], view made before", "ValueError: released", "growth detaches old views (MEM-5)")
    else:
        session.surprises.append(f"a view survived the growth of memory and shows {seen:#x}")
    for pointer in pointers:
        session.call("dealloc", pointer, length)


def trap(session: DemoSession) -> None:
    """Trap in a second module."""
    text = "In a second module: a slice past the end of memory traps, and the lock stays taken for ever (MEM-6)."
    with session.chapter("9. Trap", text):
        first, session.abi = session.abi, ExportedABI(session.profile)
        abi = session.abi
        session.call("init_runtime")
        end = abi.linear_memory.size
        session.trap("load_model(end of memory, 1000)", lambda: abi.load_model(end - 8, 1000), "the module traps")
        session.call("reset_context", expected=Status.GenerationFailed, meaning="every status from now on (ERR-2)")
        session.call("last_result_ptr", meaning="every getter from now on")
        session.abi = first


def end(session: DemoSession) -> None:
    """Reset and free."""
    with session.chapter(
        "10. Reset and free", "reset_context keeps the model; free_model keeps the sampling configuration."
    ):
        _generate(session)
        session.row("state", session.abi.state.value, "after a generation (section 4)")
        session.call("reset_context", meaning="clears tokens and KV length (ST-5)")
        session.row("state", session.abi.state.value, "")
        session.call("free_model", meaning="releases weights, KV cache and logits (ST-6)")
        session.row("state", session.abi.state.value, "")
        _generate(session, Status.ModelNotLoaded, "nothing is left to generate with")
    leaked = [region for region in session.abi.linear_memory.live if region.owner == "host"]
    session.console.print(Text(f"{len(leaked)} buffers of the host are still allocated."))
    if leaked:
        session.surprises.append(f"{len(leaked)} buffers were not freed")


def _generate(session: DemoSession, expected: Status | None = None, meaning: str = "") -> None:
    """Transfer the prompt, generate, free the prompt; only the call to generate is shown."""
    pointer = session.abi.alloc(len(PROMPT))
    session.abi.write(pointer, PROMPT)
    allowed = (expected,) if expected is not None else _text_statuses(session)
    shown = f'"{PROMPT.decode()}", {NEW_TOKENS}'
    session.call("generate", pointer, len(PROMPT), NEW_TOKENS, expected=allowed, meaning=meaning, shown=shown)
    session.abi.dealloc(pointer, len(PROMPT))
    session.calls += 2


def _machine(session: DemoSession) -> Machine:
    """Return the machine with a model, whose capacity the story needs."""
    runtime = session.abi.runtime
    if runtime is None:
        raise RuntimeError("the story asks for the model before it has loaded one")
    return runtime.machine


def _text_statuses(session: DemoSession) -> tuple[Status, ...]:
    """Return what may come of generated bytes: a model of bytes need not produce valid UTF-8 (GEN-9)."""
    choice = session.profile.invalid_output_utf8
    return (Status.Ok,) if choice == "lossy" else (Status.Ok, Status(int(choice)))


def _continuation_statuses(session: DemoSession) -> tuple[Status, ...]:
    """Return what may come of the next continuation (NT-2, NT-3, NT-7)."""
    machine = _machine(session)
    if machine.kv_length == 0:
        return (Status(int(session.profile.continuation_without_context)),)
    return (Status.ContextExceeded,) if machine.kv_length == machine.model.capacity else _text_statuses(session)


CHAPTERS: Final[tuple[Callable[[DemoSession], None], ...]] = (
    surface,
    load,
    generate,
    diagnostics,
    sample,
    continue_token_by_token,
    fail,
    misuse,
    trap,
    end,
)
"""The story, told in this order; the chapters share the session."""
