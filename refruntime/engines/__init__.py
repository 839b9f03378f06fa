"""Engines: the reference and, with an extra, WebAssembly builds behind one protocol."""
