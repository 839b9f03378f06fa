//! The validated model that both containers produce.

use std::sync::Arc;

use crate::elementary::power;
use crate::matrix::Matrix;
use crate::slm1;
use crate::status::Status;
use crate::tokenizer::Tokenizer;
use crate::unknown;

/// Hyper-parameters of the forward pass and of the diagnostics.
pub struct Dimensions {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub layer_count: usize,
    pub head_count: usize,
    pub kv_head_count: usize,
    pub head_dim: usize,
    pub ffn_size: usize,
    /// `max_context`, for GGUF already limited by GG-7.
    pub capacity: usize,
    pub epsilon: f32,
}

/// A weight matrix with its optional bias (only GGUF files have biases).
pub struct Linear {
    pub weight: Matrix,
    pub bias: Option<Matrix>,
}

pub struct Layer {
    pub attention_norm: Matrix,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    pub attention_output: Linear,
    pub ffn_norm: Matrix,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// The angle of pair i at a position is `position * frequency[i] / factor[i] * scale` (FW-5, GG-8).
pub struct Rope {
    pub frequencies: Vec<f32>,
    pub factors: Option<Vec<f32>>,
    pub scale: Option<f32>,
}

impl Rope {
    /// The published frequencies `1 / powf(theta, 2i / D)` (FW-5).
    pub fn new(theta: f32, head_dim: usize) -> Self {
        let theta = unknown::theta(if cfg!(bug = "rope_theta_always_10000") { 10_000.0 } else { theta });
        let numerator = |pair: usize| if cfg!(bug = "rope_exponent_halved") { pair as f32 } else { (2 * pair) as f32 };
        let frequency = |pair: usize| {
            let frequency = 1.0 / power(theta, numerator(pair) / head_dim as f32);
            unknown::frequency(frequency, pair, head_dim / 2)
        };
        Rope { frequencies: (0..head_dim / 2).map(frequency).collect(), factors: None, scale: None }
    }
}

pub struct Model {
    pub dimensions: Dimensions,
    pub rope: Rope,
    pub embeddings: Matrix,
    pub layers: Vec<Layer>,
    pub output_norm: Matrix,
    pub output: Linear,
    pub tokenizer: Tokenizer,
    /// The quantization label of the diagnostics (DG-6, GG-9).
    pub label: &'static str,
}

/// What a file holds: beside the model the network of another architecture, where this build has some.
#[cfg(architectures)]
pub type Loaded = (Model, Option<crate::network::Network>);
#[cfg(not(architectures))]
pub type Loaded = Model;

impl Model {
    /// Picks the loader by magic (GG-1) and validates the whole artifact.
    pub fn load(bytes: &[u8]) -> Result<Model, Status> {
        if cfg!(behaviour = "traps_on_first_file") {
            core::arch::wasm32::unreachable();
        }
        match bytes.get(..4) {
            Some(b"SLM1") => slm1::load(Arc::from(bytes)),
            Some(b"GGUF") if !cfg!(without = "gguf") => crate::gguf_model::load(Arc::from(bytes)),
            _ => Err(Status::InvalidModelMagic),
        }
    }
}
