//! An independent implementation of the TinyRustLM 0.1.0 WebAssembly contract.
//!
//! The crate is written from the contract text alone. It has no dependency and imports nothing.
//! Rule ids in comments (`SA-5`, `SL-1`, ...) are those of the contract.
//!
//! Families of compile-time switches exist, all listed in tables beside the sources:
//! `cfg(option = "...")` selects another option of a declared rule (`options.json`),
//! `cfg(bug = "...")` seeds one deliberate mistake (`bugs.json`), and the groups of `dialects.json` choose what no
//! rule fixes: checksum formula, names, places and forms of diagnostics, texts, missing features, further
//! architectures (`cfg(architecture = "...")`, and `cfg(architectures)` if there is any).
//! Names, texts and constants are handed over as environment variables `GUEST_...` at compile time.
//! Without switches the contract holds.

mod abi;
#[cfg(architectures)]
mod architectures;
#[cfg(architectures)]
mod architectures_sizes;
#[cfg(architectures)]
mod architectures_tensors;
mod arithmetic;
mod bytes;
mod decoder;
mod diagnostics;
mod diagnostics_forms;
mod diagnostics_layout;
mod elementary;
mod forward;
mod generation;
mod generator;
mod gguf_known_texts;
mod gguf_model;
mod gguf_reader;
mod gguf_tokenizer;
mod matrix;
mod model;
#[cfg(architectures)]
mod network;
#[cfg(architectures)]
mod network_experts;
#[cfg(architectures)]
mod network_formulas;
#[cfg(architectures)]
mod network_rotation;
mod probe;
mod rounding;
mod sampler;
mod slips;
mod slips_attention;
mod slm1;
mod slm1_checksum;
mod slm1_directory;
mod state;
mod status;
mod sums;
mod tokenizer;
mod tokenizer_bpe1;
mod tokenizer_bytes;
mod tokenizer_fragments;
mod tokenizer_spm;
mod unknown;
mod unseen;
