"""Measure a quantised GGUF file as it is used: ours with weights stored and as float32, and llama.cpp, in one run.

    python benchmarks/bench_stored.py FILE.gguf [--threads 1] [--tokens 24] [--prompt 128] [--json]
    python benchmarks/bench_stored.py --made [--threads 2] [--engines "fast stored,llama.cpp"]

Each engine has a process of its own, the same ids and the same number of threads. Told are processor time and wall
time: on a busy machine only the first compares. "imports" is what loading the libraries takes; "first" is opening the
file until the logits behind a prompt of 8, with what machine code that loads; "imports and first" is both; "peak" is
the memory of the process beyond what it had behind its imports, pages of the file included. Loops that were never used
on the machine are compiled in "first", once: run it twice.
llama.cpp is the optional group `peers` (pip install 'refruntime[peers]'); it decides itself which instructions it uses,
so build it with -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON for the ratios of the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ENGINES = ("fast stored", "fast float32", "seq32 stored", "seq32 float32", "llama.cpp")
SHORT = 8
CLOCKS = ("wall", "processor")
Forward = Callable[[list[int]], Any]
HIDDEN, LAYERS, HEADS, FFN, VOCABULARY = 2048, 18, 32, 8192, 260  # the made model: 1.2 billion weights in Q4_K


def make_model(path: Path) -> None:
    """Write a random llama of 1.2 billion weights in Q4_K with an SPM vocabulary of byte tokens: 0.7 GB."""
    import gguf
    import numpy as np

    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama", use_temp_file=True)
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", b"\xe2\x96\x81", *(b"<0x%02X>" % byte for byte in range(256))])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([2, 3, 3, 1, *[6] * 256])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {"token_embd": (VOCABULARY, HIDDEN), "output_norm": (HIDDEN,), "output": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}": (HIDDEN, HIDDEN) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{layer}.{name}": (FFN, HIDDEN) for name in ("ffn_gate", "ffn_up")}
        shapes |= {f"blk.{layer}.{name}": (HIDDEN,) for name in ("attn_norm", "ffn_norm")}
        shapes[f"blk.{layer}.ffn_down"] = (HIDDEN, FFN)
    for name, shape in shapes.items():
        if len(shape) == 1:
            writer.add_tensor(name + ".weight", np.ones(shape, np.float32))
            continue
        blocks = rng.integers(0, 256, (shape[0] * shape[1] // 256, 144), np.uint8)
        blocks[:, :4] = np.array([2**-13, 2**-10], np.float16).view(np.uint8)  # values around 0, about 1/64 wide
        rows = blocks.reshape(shape[0], -1)
        writer.add_tensor(name + ".weight", rows, raw_dtype=gguf.GGMLQuantizationType.Q4_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def peak() -> float:
    """Return the largest size that this process had in MB, where the system tells it."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


def best(action: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the shortest wall time and the shortest processor time of several runs."""
    walls, processor = [], []
    for _ in range(rounds):
        wall, used = time.perf_counter(), time.process_time()
        action()
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - used)
    return min(walls), min(processor)


def open_ours(path: Path, engine: str, threads: int) -> Callable[[], Callable[[], Forward]]:
    """Return what opens the file, and then makes an empty context to forward ids in."""
    from refruntime import open_model
    from refruntime.numerics import numerics_named

    name, resident = engine.split()
    numerics_named(name, threads).prepare()
    numerics = numerics_named(name, threads, resident=resident)

    def opened() -> Callable[[], Forward]:
        transformer = open_model(path, numerics=numerics).transformer

        def fresh() -> Forward:
            cache = transformer.new_cache()
            return lambda ids: transformer.forward(ids, cache)

        return fresh

    return opened


def open_llama(path: Path, threads: int) -> Callable[[], Callable[[], Forward]]:
    """Return the same for llama.cpp."""
    import ctypes

    import llama_cpp as library

    @library.llama_log_callback
    def quiet(_level: int, _text: bytes, _data: Any) -> None:
        pass

    library.llama_log_set(quiet, ctypes.c_void_p(0))
    library.llama_backend_init()
    kept: list[Any] = [quiet]

    def opened() -> Callable[[], Forward]:
        model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
        parameters = library.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = 512, 512, 512
        parameters.n_threads = parameters.n_threads_batch = threads
        context = library.llama_init_from_model(model, parameters)
        kept.append((model, context))

        def forward(ids: list[int]) -> None:
            tokens = (library.llama_token * len(ids))(*ids)
            if library.llama_decode(context, library.llama_batch_get_one(tokens, len(ids))) != 0:
                raise RuntimeError("llama.cpp failed")
            library.llama_get_logits(context)

        def fresh() -> Forward:
            library.llama_memory_clear(library.llama_get_memory(context), True)
            return forward

        return fresh

    return opened


def measure(engine: str, path: Path, threads: int, tokens: int, prompt: int, rounds: int) -> dict[str, float]:
    """Return the figures of one engine, in this process."""
    wall, used = time.perf_counter(), time.process_time()
    opened = open_llama(path, threads) if engine == "llama.cpp" else open_ours(path, engine, threads)
    figures = {"imports wall, s": time.perf_counter() - wall, "imports processor, s": time.process_time() - used}
    before = peak()
    ids = [3 + 17 * at % 250 for at in range(prompt)]
    made: list[Callable[[], Forward]] = []

    def first() -> None:
        made.append(opened())
        made[0]()(ids[:SHORT])

    wall, used = best(first, 1)
    figures |= {"first wall, s": wall, "first processor, s": used}
    both = {f"imports and first {how}, s": figures[f"imports {how}, s"] + figures[f"first {how}, s"] for how in CLOCKS}
    figures |= both

    def decode() -> None:
        forward = made[0]()
        for token in ids[:tokens]:
            forward([token])

    decode()
    made[0]()(ids)
    wall, used = best(decode, rounds)
    figures |= {"decode wall, 1/s": tokens / wall, "decode processor, 1/s": tokens / used}
    wall, used = best(lambda: made[0]()(ids), rounds)
    figures |= {"prefill wall, 1/s": prompt / wall, "prefill processor, 1/s": prompt / used}
    return figures | {"peak, MB": peak() - before}


def in_a_process(engine: str, arguments: argparse.Namespace) -> dict[str, float] | str:
    """Measure one engine in a process of its own; return what is missing where it cannot run."""
    options = {key: str(getattr(arguments, key)) for key in ("threads", "tokens", "prompt", "rounds")}
    command = [sys.executable, __file__, str(arguments.model), "--engine", engine]
    command += [part for key, value in options.items() for part in (f"--{key}", value)]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), options["threads"])
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # with it every process compiles the package's sources
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode == 0:
        figures: dict[str, float] = json.loads(done.stdout)
        return figures
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    if "llama_cpp" in reason:
        return f"not measured: {reason}; pip install 'refruntime[peers]'"
    return f"not measured: {reason}"


def ratios(figures: dict[str, dict[str, float] | str]) -> dict[str, float]:
    """Return what the weights in place are to the others: speeds as ours / theirs, times and memory alike."""
    found: dict[str, float] = {}
    pairs = (("fast stored", "llama.cpp"), ("fast stored", "fast float32"), ("seq32 stored", "fast float32"))
    for ours, theirs in pairs:
        first, second = figures.get(ours), figures.get(theirs)
        if isinstance(first, dict) and isinstance(second, dict):
            found |= {f"{ours} / {theirs}, {key.split(', ')[0]}": first[key] / second[key] for key in first}
    return found


def main() -> None:
    """Print the figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--made", action="store_true", help="measure a random llama of 1.2 billion weights in Q4_K")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default=",".join(ENGINES), help="which of them, with commas")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.engine:
        sizes = arguments.threads, arguments.tokens, arguments.prompt, arguments.rounds
        print(json.dumps(measure(arguments.engine, arguments.model, *sizes)))
        return
    if arguments.made == (arguments.model is not None):
        parser.error("give either FILE.gguf or --made")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.made:
            arguments.model = Path(folder) / "made.gguf"
            make_model(arguments.model)
        figures = {engine: in_a_process(engine, arguments) for engine in arguments.engines.split(",")}
    found = ratios(figures)
    if arguments.json:
        print(json.dumps({"figures": figures, "ratios": found}))
        return
    for engine, row in figures.items():
        print(engine if isinstance(row, dict) else f"{engine}: {row}")
        for key, value in row.items() if isinstance(row, dict) else ():
            print(f"    {key:26}{value:10,.2f}")
    for name, value in found.items():
        print(f"{name:52}{value:8.2f}")


if __name__ == "__main__":
    main()
