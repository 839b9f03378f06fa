"""A reference runtime for TinyRustLM: the 13 WebAssembly exports answered exactly."""
