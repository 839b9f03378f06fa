"""Dump what llama.cpp computes on the way, for `refruntime judge MODEL --layers FILE`.

    pip install llama-cpp-python numpy
    python docs/dump-llama-layers.py model.gguf 1,403,407 layers.npz
    refruntime judge model.gguf --layers layers.npz --ids 1,403,407

llama.cpp calls back for each tensor of its graph (cb_eval); no C++ is needed. A name that comes twice, such as that of
queries before and behind their rotation, is kept both times: `Qcur-0` and `Qcur_rope-0`.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

TWICE = {"Qcur": "Qcur_rope", "Kcur": "Kcur_rope"}


class Tensor(ctypes.Structure):
    """The beginning of ggml's `struct ggml_tensor`."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    ]


def main() -> None:
    """Run the model over the tokens once and write every float32 tensor that its graph names."""
    path, ids, target = sys.argv[1], [int(token) for token in sys.argv[2].split(",")], sys.argv[3]
    dump: dict[str, np.ndarray] = {}

    @llama.ggml_backend_sched_eval_callback
    def seen(pointer: int, ask: bool, _: Any) -> bool:
        tensor = Tensor.from_address(pointer)
        name = tensor.name.decode()
        wanted = tensor.type == 0 and "(" not in name and tensor.nb[0] == 4  # float32, no view, numbers side by side
        if ask or not wanted:
            return wanted or not ask
        sizes, strides = list(tensor.ne)[::-1], list(tensor.nb)[::-1]
        length = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 4
        raw = (ctypes.c_char * length).from_address(tensor.data)
        values = np.ndarray(sizes, np.float32, raw, strides=strides).copy()
        stem, _, layer = name.partition("-")
        if name in dump and stem in TWICE:
            name = f"{TWICE[stem]}-{layer}"
        dump[name] = values.reshape(len(ids), -1) if values.size % len(ids) == 0 else values
        return True

    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    settings.n_ctx = len(ids) + 8
    settings.flash_attn_type = 0
    settings.cb_eval = seen
    context = llama.llama_init_from_model(model, settings)
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place], batch.logits[place] = token, place, 1
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
    if llama.llama_decode(context, batch) != 0:
        sys.exit("llama.cpp could not decode the tokens")
    np.savez(target, **dump)
    print(f"{target}: {len(dump)} tensors of {len(ids)} positions")


if __name__ == "__main__":
    main()
