"""Read and rewrite WebAssembly modules: append at the end of the index spaces, replace chosen instructions.

`reader` reads numbers and sections, `opcodes` knows every instruction and finds the chosen ones, `module` holds a
module and what is appended to it, `encoding` writes the pieces, `watch` notes comparisons that meet a planted value.
"""
