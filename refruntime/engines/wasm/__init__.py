"""WebAssembly builds run by wasmtime; only the modules of this room import it.

`engine` answers the 13 exports of a build; `pauses` runs any module and stops one of its calls at many points.
"""

from refruntime.engines.wasm.engine import MAX_MODULE_BYTES as MAX_MODULE_BYTES
from refruntime.engines.wasm.engine import WasmEngine as WasmEngine
from refruntime.engines.wasm.engine import WasmModule as WasmModule
