"""Start the server of llama.cpp that the package xllamacpp holds, for `refruntime judge --server`.

    pip install xllamacpp
    python docs/serve-xllamacpp.py model.gguf 8080 kv=f32 flash=disabled

`kv` is the type of keys and values, `flash` one of auto, enabled, disabled; without them llama.cpp's defaults. One
thread computes unless `threads` says more: small models gain nothing from others.
"""

import sys
import threading

import xllamacpp

path, port, *settings = sys.argv[1:]
chosen = dict(setting.split("=") for setting in settings)
parameters = xllamacpp.CommonParams()
parameters.model.path = path
parameters.port = int(port)
parameters.n_ctx = 512
parameters.cpuparams.n_threads = int(chosen.get("threads", 1))
if "kv" in chosen:
    kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{chosen['kv'].upper()}")
    parameters.cache_type_k = parameters.cache_type_v = kind
if "flash" in chosen:
    kind = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{chosen['flash'].upper()}")
    parameters.flash_attn_type = kind
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
threading.Event().wait()
