"""WebAssembly builds run by wasmtime; only `binding` imports it.

`module` compiles a build, `engine` answers its 13 exports, by `calls`; `pauses`
runs any module and stops one of its calls at many points.
"""

from refruntime.engines.wasm.engine import WasmEngine as WasmEngine
from refruntime.engines.wasm.module import MAX_MODULE_BYTES as MAX_MODULE_BYTES
from refruntime.engines.wasm.module import WasmModule as WasmModule
