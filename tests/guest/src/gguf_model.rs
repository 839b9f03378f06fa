//! A `llama` model from a GGUF file (GG-4, GG-7 to GG-10).
//!
//! This guest reads F32, F16 and Q8_0 tensors. Hyper-parameters that would change the arithmetic in a way
//! that it does not have (experts, YaRN, per-layer arrays) are refused with 6 and never ignored.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::gguf_reader::{GgufFile, Metadata, TensorEntry, TensorType};
use crate::gguf_tokenizer;
use crate::matrix::{Encoding, Matrix};
use crate::model::{Dimensions, Layer, Linear, Model, Rope};
use crate::status::Status;
use crate::tokenizer::Tokenizer;

/// The default limit of the capacity (GG-7).
pub const CAPACITY_LIMIT: u32 = 2048;
pub const DEFAULT_THETA: f32 = 10_000.0;

/// Validates a file that begins with the GGUF magic.
pub fn load(file: Arc<[u8]>) -> Result<Model, Status> {
    let parsed = GgufFile::parse(&file)?;
    let metadata = &parsed.metadata;
    if metadata.text("general.architecture")? != Some(b"llama") {
        return Err(Status::InvalidHeader);
    }
    // A part of a model is no model.
    if metadata.u16("split.count")?.unwrap_or(1) > 1 {
        return Err(Status::InvalidHeader);
    }
    let mut dimensions = read_dimensions(metadata)?;
    let mut rope = read_rope(metadata, dimensions.head_dim)?;
    let tokenizer = gguf_tokenizer::load(metadata)?;
    dimensions.vocab_size = tokenizer.vocab_size();
    match metadata.u32("llama.vocab_size")? {
        Some(stated) if stated as usize != dimensions.vocab_size => return Err(Status::InvalidHeader),
        _ => {}
    }
    let tensors = Tensors { file: &file, parsed: &parsed, used: RefCell::new(BTreeSet::new()) };
    tensors.check_presence(dimensions.layer_count)?;
    let sizes = Sizes::new(&dimensions);
    let embeddings = tensors.matrix("token_embd.weight", &[sizes.hidden, sizes.vocabulary])?;
    let output_norm = tensors.matrix("output_norm.weight", &[sizes.hidden])?;
    let output = tensors.optional("output.weight", &[sizes.hidden, sizes.vocabulary])?;
    let factors = tensors.optional("rope_freqs.weight", &[dimensions.head_dim as u64 / 2])?;
    if cfg!(without = "rope_factors") && factors.is_some() {
        return Err(Status::InvalidHeader);
    }
    if !cfg!(bug = "rope_factors_ignored") {
        rope.factors = factors.map(|matrix| {
            let mut values = vec![0.0; matrix.columns];
            matrix.row_into(0, &mut values);
            values
        });
    }
    let mut layers = Vec::new();
    for index in 0..dimensions.layer_count {
        layers.push(tensors.layer(index, &sizes)?);
    }
    tensors.check_that_all_are_used()?;
    let weight = output.unwrap_or_else(|| embeddings.clone());
    let output = Linear { weight, bias: None };
    let (tokenizer, label) = (Tokenizer::Spm(tokenizer), label(&parsed));
    Ok(Model { dimensions, rope, embeddings, layers, output_norm, output, tokenizer, label })
}

/// Reads and cross-checks the hyper-parameters; the vocabulary size is still unknown.
fn read_dimensions(metadata: &Metadata) -> Result<Dimensions, Status> {
    let optional = |key: &str| metadata.u32(&format!("llama.{key}"));
    let required = |key: &str| match optional(key)? {
        Some(size) if size > 0 => Ok(size),
        _ => Err(Status::InvalidHeader),
    };
    let context_length = required("context_length")?;
    let hidden_size = required("embedding_length")?;
    let layer_count = required("block_count")?;
    let ffn_size = required("feed_forward_length")?;
    let head_count = required("attention.head_count")?;
    let kv_head_count = optional("attention.head_count_kv")?.unwrap_or(head_count);
    let epsilon = metadata.f32("llama.attention.layer_norm_rms_epsilon")?.ok_or(Status::InvalidHeader)?;
    let head_dim = match optional("attention.key_length")? {
        Some(size) => size,
        None if hidden_size % head_count == 0 => hidden_size / head_count,
        None => return Err(Status::InvalidHeader),
    };
    let same_as_head = |key: &str| Ok(optional(key)?.map_or(true, |size| size == head_dim));
    let heads_fit = kv_head_count > 0 && head_count % kv_head_count == 0 && head_dim > 0 && head_dim % 2 == 0;
    let attention_fits = (head_count as u64) * (head_dim as u64) <= u32::MAX as u64;
    let consistent = same_as_head("attention.value_length")? && same_as_head("rope.dimension_count")?;
    let experts = optional("expert_count")?.unwrap_or(0);
    let causal = metadata.bool("llama.attention.causal")?.unwrap_or(true);
    let epsilon_fits = epsilon.is_finite() && epsilon >= 0.0;
    if !(heads_fit && attention_fits && consistent && experts == 0 && causal && epsilon_fits) {
        return Err(Status::InvalidHeader);
    }
    let limit = if cfg!(bug = "capacity_limit_ignored") { context_length } else { CAPACITY_LIMIT };
    Ok(Dimensions {
        vocab_size: 0,
        hidden_size: hidden_size as usize,
        layer_count: layer_count as usize,
        head_count: head_count as usize,
        kv_head_count: kv_head_count as usize,
        head_dim: head_dim as usize,
        ffn_size: ffn_size as usize,
        capacity: context_length.min(limit) as usize,
        epsilon,
    })
}

/// Frequencies and linear scaling; other kinds of scaling are refused.
fn read_rope(metadata: &Metadata, head_dim: usize) -> Result<Rope, Status> {
    let number = |key: &str| metadata.f32(&format!("llama.rope.{key}"));
    let theta = number("freq_base")?.unwrap_or(DEFAULT_THETA);
    let factor = match number("scaling.factor")? {
        Some(factor) => factor,
        None => number("scale_linear")?.unwrap_or(0.0),
    };
    let attention_factor = number("scaling.attn_factor")?.unwrap_or(1.0);
    let theta_fits = theta.is_finite() && theta > 0.0;
    let factor_fits = factor.is_finite() && factor >= 0.0;
    if !theta_fits || !factor_fits || attention_factor != 1.0 {
        return Err(Status::InvalidHeader);
    }
    let mut rope = Rope::new(theta, head_dim);
    // As in llama.cpp an absent type means linear, and a factor of 0 means no scaling.
    match metadata.text("llama.rope.scaling.type")? {
        Some(b"none") => {}
        None | Some(b"linear") if factor == 0.0 || factor == 1.0 => {}
        None | Some(b"linear") if !cfg!(without = "rope_scaling") => rope.scale = Some(1.0 / factor),
        _ => return Err(Status::InvalidHeader),
    }
    Ok(rope)
}

/// Sizes of tensor dimensions, as GGUF writes them.
struct Sizes {
    vocabulary: u64,
    hidden: u64,
    ffn: u64,
    queries: u64,
    keys: u64,
}

impl Sizes {
    fn new(dimensions: &Dimensions) -> Sizes {
        Sizes {
            vocabulary: dimensions.vocab_size as u64,
            hidden: dimensions.hidden_size as u64,
            ffn: dimensions.ffn_size as u64,
            queries: (dimensions.head_count * dimensions.head_dim) as u64,
            keys: (dimensions.kv_head_count * dimensions.head_dim) as u64,
        }
    }
}

const LAYER_PARTS: [&str; 9] =
    ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"];

pub struct Tensors<'a> {
    pub file: &'a Arc<[u8]>,
    pub parsed: &'a GgufFile<'a>,
    /// Names of the tensors that became part of the model.
    pub used: RefCell<BTreeSet<String>>,
}

impl Tensors<'_> {
    pub fn find(&self, name: &str) -> Option<&TensorEntry> {
        self.parsed.tensors.get(name.as_bytes())
    }

    /// A required tensor that is absent gives 8, before any shape is looked at.
    fn check_presence(&self, layer_count: usize) -> Result<(), Status> {
        let whole = ["token_embd.weight", "output_norm.weight"].iter().map(|name| name.to_string());
        let of_layers =
            (0..layer_count).flat_map(|layer| LAYER_PARTS.iter().map(move |part| format!("blk.{layer}.{part}.weight")));
        for name in whole.chain(of_layers) {
            self.find(&name).ok_or(Status::MissingTensor)?;
        }
        Ok(())
    }

    /// A tensor that the architecture does not use gives 9 (GG-13).
    pub fn check_that_all_are_used(&self) -> Result<(), Status> {
        if self.used.borrow().len() == self.parsed.tensors.len() {
            Ok(())
        } else {
            Err(Status::ShapeMismatch)
        }
    }

    /// A matrix of exactly these dimensions, columns first; else 9.
    fn matrix(&self, name: &str, expected: &[u64]) -> Result<Matrix, Status> {
        self.optional(name, expected)?.ok_or(Status::MissingTensor)
    }

    pub fn optional(&self, name: &str, expected: &[u64]) -> Result<Option<Matrix>, Status> {
        let entry = match self.find(name) {
            None => return Ok(None),
            Some(entry) => entry,
        };
        let significant = expected.iter().rposition(|&size| size != 1).map_or(1, |last| last + 1);
        if entry.dimensions != expected[..significant] {
            return Err(Status::ShapeMismatch);
        }
        self.used.borrow_mut().insert(name.to_string());
        let encoding = match entry.kind {
            TensorType::F32 => Encoding::F32,
            TensorType::F16 => Encoding::GgufHalf,
            TensorType::Q8 => Encoding::GgufQ8,
        };
        Ok(Some(Matrix {
            file: self.file.clone(),
            payload: entry.payload.clone(),
            encoding,
            rows: expected[1..].iter().product::<u64>() as usize,
            columns: expected[0] as usize,
        }))
    }

    fn layer(&self, index: usize, sizes: &Sizes) -> Result<Layer, Status> {
        let norm = |part: &str| self.matrix(&format!("blk.{index}.{part}.weight"), &[sizes.hidden]);
        let linear = |part: &str, inputs: u64, outputs: u64| -> Result<Linear, Status> {
            Ok(Linear {
                weight: self.matrix(&format!("blk.{index}.{part}.weight"), &[inputs, outputs])?,
                bias: self.optional(&format!("blk.{index}.{part}.bias"), &[outputs])?,
            })
        };
        Ok(Layer {
            attention_norm: norm("attn_norm")?,
            query: linear("attn_q", sizes.hidden, sizes.queries)?,
            key: linear("attn_k", sizes.hidden, sizes.keys)?,
            value: linear("attn_v", sizes.hidden, sizes.keys)?,
            attention_output: linear("attn_output", sizes.queries, sizes.hidden)?,
            ffn_norm: norm("ffn_norm")?,
            gate: linear("ffn_gate", sizes.hidden, sizes.ffn)?,
            up: linear("ffn_up", sizes.hidden, sizes.ffn)?,
            down: linear("ffn_down", sizes.ffn, sizes.hidden)?,
        })
    }
}

/// The type that holds most elements; the lower type id wins a tie (GG-9).
pub fn label(parsed: &GgufFile) -> &'static str {
    let elements = |kind: TensorType| -> u64 {
        let of_kind = parsed.tensors.values().filter(|entry| entry.kind == kind);
        of_kind.map(|entry| entry.dimensions.iter().product::<u64>()).sum()
    };
    let (f32s, f16s, q8s) = (elements(TensorType::F32), elements(TensorType::F16), elements(TensorType::Q8));
    if f32s >= f16s && f32s >= q8s {
        "f32"
    } else if f16s >= q8s {
        "f16"
    } else {
        "q8_0"
    }
}
