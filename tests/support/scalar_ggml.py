"""Call a scalar build of ggml through ctypes (`tools/scalar_ggml/build.sh`), where the machine has one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

VARIABLE = "REFRUNTIME_SCALAR_GGML"
Q8_BYTES = {"q8_0": (32, 34), "q8_1": (32, 36), "q8_k": (256, 292)}
Q8_NUMBERS = {8: "q8_0", 9: "q8_1", 15: "q8_k"}

_FROM_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
_VEC_DOT = ctypes.CFUNCTYPE(
    None, ctypes.c_int, *[ctypes.c_void_p, ctypes.c_size_t] * 3, ctypes.c_int
)  # n, result, and the two rows, with strides that single rows do not use


class _Traits(ctypes.Structure):
    _fields_ = [
        ("from_float", ctypes.c_void_p),
        ("vec_dot", ctypes.c_void_p),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    ]


def folder() -> Path | None:
    """Return the folder of the libraries, None where the variable names none."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else None


class ScalarGgml:
    """The kernels of libggml-cpu."""

    def __init__(self, libraries: Path) -> None:
        ctypes.CDLL(str(libraries / "libggml-base.so"), ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(libraries / "libggml-cpu.so"), ctypes.RTLD_GLOBAL)
        self._library.ggml_cpu_init()
        self._library.ggml_get_type_traits_cpu.restype = ctypes.POINTER(_Traits)

    def quantize(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """Quantise float32 rows [n, columns] to Q8 blocks: uint8 [n, bytes]."""
        number = next(number for number, name in Q8_NUMBERS.items() if name == kind)
        function = _FROM_FLOAT(self._traits(number).from_float)
        block, size = Q8_BYTES[kind]
        raw = np.zeros((len(rows), rows.shape[1] // block * size), np.uint8)
        for row, stored in zip(rows, raw, strict=True):
            function(row.ctypes.data, stored.ctypes.data, rows.shape[1])
        return raw

    def dot_type(self, number: int) -> str:
        """Return the type that the input of a product with this type has."""
        return Q8_NUMBERS[self._traits(number).vec_dot_type]

    def dots(self, number: int, weights: np.ndarray, inputs: np.ndarray, columns: int) -> np.ndarray:
        """Multiply stored rows one by one: uint8 [n, bytes] each -> float32 [n]."""
        function = _VEC_DOT(self._traits(number).vec_dot)
        result = np.zeros(len(weights), np.float32)
        for index in range(len(weights)):
            place = result[index:].ctypes.data
            function(columns, place, 0, weights[index].ctypes.data, 0, inputs[index].ctypes.data, 0, 1)
        return result

    def _traits(self, number: int) -> _Traits:
        traits: _Traits = self._library.ggml_get_type_traits_cpu(number).contents
        return traits


def read_q8(kind: str, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Take Q8 blocks apart: quants int8 [n, blocks, size], scales, and for q8_1 sums, float32 [n, blocks]."""
    block, size = Q8_BYTES[kind]
    blocks = raw.reshape(len(raw), -1, size)
    if kind == "q8_k":
        return blocks[..., 4 : 4 + block].view(np.int8), blocks[..., :4].copy().view("<f4")[..., 0], None
    halves = blocks[..., : size - block].copy().view("<f2").astype(np.float32)
    return blocks[..., size - block :].view(np.int8), halves[..., 0], halves[..., 1] if kind == "q8_1" else None


def random_weights(name: str, rows: int, columns: int, block: int, size: int, seed: int) -> np.ndarray:
    """Return random bytes as stored rows [rows, bytes], with scales that keep sums finite."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)

    def halves() -> np.ndarray:
        return (rng.standard_normal(len(blocks)) * 0.01).astype(np.float16)

    if name == "mxfp4":
        blocks[:, 0] = rng.integers(100, 140, len(blocks))
    elif name == "iq1_m":
        words = blocks[:, 48:].copy().view("<u2") & np.uint16(0x0FFF)
        words |= (halves().view(np.uint16)[:, None] >> np.array([0, 4, 8, 12], np.uint16) & np.uint16(15)) << 12
        blocks[:, 48:] = words.view(np.uint8)
    elif name != "nvfp4":
        for at in SCALES_AT.get(name, (0,)):
            blocks[:, at : at + 2] = halves().view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


SCALES_AT = {
    "q4_1": (0, 2),
    "q5_1": (0, 2),
    "q2_k": (80, 82),
    "q3_k": (108,),
    "q4_k": (0, 2),
    "q5_k": (0, 2),
    "q6_k": (208,),
    "tq1_0": (52,),
    "tq2_0": (64,),
}


def random_rows(count: int, columns: int, seed: int) -> np.ndarray:
    """Return float32 rows of many magnitudes; the first are zeros, halves, tiny numbers, a block of zeros."""
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((count, columns)) * np.exp(rng.uniform(-12, 6, (count, 1)))).astype(np.float32)
    rows[0] = 0
    rows[1] = np.rint(rng.standard_normal(columns) * 20) / 2
    rows[1, 0] = 127
    rows[2] *= np.float32(1e-30)
    rows[3, :256] = 0
    return rows


def logits(
    llama: Any,
    path: Path,
    ids: list[int],
    kv: int,
    flash: int,
    together: int,
    alone: int = 0,
    threads: int = 1,
    last: int = 0,
) -> np.ndarray:
    """Return logits of every position, or of the `last` ones, by llama.cpp on one thread.

    `together` tokens go in at once, the last `alone` one by one on several threads.
    """
    model = llama.llama_model_load_from_file(os.fsencode(path), llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    settings.n_ctx, settings.n_threads, settings.n_threads_batch = len(ids) + 8, threads, 1
    settings.type_k = settings.type_v = kv
    settings.flash_attn_type = flash
    context = llama.llama_init_from_model(model, settings)
    size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    asked = range(len(ids) - last if last else 0, len(ids))
    rows = np.empty((len(asked), size), np.float32)
    batch = llama.llama_batch_init(together, 0, 1)
    before = len(ids) - alone
    borders = [*range(0, before, together), *range(before, len(ids) + 1)]
    for start, stop in pairwise(borders):
        part = ids[start:stop]
        batch.n_tokens = len(part)
        for place, token in enumerate(part):
            batch.token[place], batch.pos[place], batch.logits[place] = token, start + place, start + place in asked
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
        assert llama.llama_decode(context, batch) == 0
        for place in range(max(0, asked.start - start), len(part)):
            rows[start + place - asked.start] = np.ctypeslib.as_array(
                llama.llama_get_logits_ith(context, place), (size,)
            )
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return rows


def differing(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Count numbers whose bits differ."""
    return int(np.count_nonzero(ours.view(np.uint32) != theirs.view(np.uint32)))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what a library writes to the standard error stream away."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
