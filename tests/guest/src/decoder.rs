//! Buffers of a resident model: KV cache, scratch and logits (FW-9, DG-5).

use crate::model::{Dimensions, Loaded, Model};
use crate::status::Status;
use crate::unknown;

/// Larger buffers cannot exist on wasm32.
const MAX_BUFFER_BYTES: u128 = 2_147_483_647;

/// A model together with everything that a forward pass writes.
pub struct Decoder {
    pub model: Model,
    /// Layer, position, head, component.
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
    /// The number of visible positions.
    pub kv_length: usize,
    pub logits: Vec<f32>,
    pub scratch: Scratch,
    /// What replaces the layers of the model where its architecture is not `llama`.
    #[cfg(architectures)]
    pub network: Option<crate::network::Network>,
}

/// Working memory of one position.
#[derive(Default)]
pub struct Scratch {
    pub residual: Vec<f32>,
    pub normed: Vec<f32>,
    pub projected: Vec<f32>,
    pub query: Vec<f32>,
    pub attended: Vec<f32>,
    pub scores: Vec<f32>,
    pub gate: Vec<f32>,
    pub up: Vec<f32>,
    /// One decoded weight row.
    pub row: Vec<f32>,
    /// Cosine and sine of every rotated pair at the current position.
    pub rotation: Vec<(f32, f32)>,
}

impl Decoder {
    /// Allocates the buffers of `model`; a buffer that wasm32 cannot hold is refused.
    pub fn new(model: Loaded) -> Result<Decoder, Status> {
        #[cfg(architectures)]
        let (model, network) = model;
        let sizes = &model.dimensions;
        let attention_size = sizes.head_count * sizes.head_dim;
        let cache = product(&[sizes.layer_count, sizes.capacity, sizes.kv_head_count, sizes.head_dim]);
        if 4 * cache > MAX_BUFFER_BYTES
            || scratch_bytes(sizes) as u128 > MAX_BUFFER_BYTES
            || 4 * sizes.vocab_size as u128 > MAX_BUFFER_BYTES
        {
            return Err(oversized());
        }
        let scratch = Scratch {
            residual: zeros(sizes.hidden_size)?,
            normed: zeros(sizes.hidden_size)?,
            projected: zeros(sizes.hidden_size)?,
            query: zeros(attention_size)?,
            attended: zeros(attention_size)?,
            scores: zeros(sizes.capacity)?,
            gate: zeros(sizes.ffn_size)?,
            up: zeros(sizes.ffn_size)?,
            row: zeros(sizes.hidden_size.max(sizes.ffn_size).max(attention_size))?,
            rotation: Vec::with_capacity(sizes.head_dim / 2),
        };
        let keys = zeros(cache as usize)?;
        let values = zeros(cache as usize)?;
        let logits = zeros(sizes.vocab_size)?;
        Ok(Decoder {
            model,
            keys,
            values,
            kv_length: 0,
            logits,
            scratch,
            #[cfg(architectures)]
            network,
        })
    }

    /// The offset of one cached position of one layer.
    pub fn cache_offset(&self, layer: usize, position: usize, is_value: bool) -> usize {
        let sizes = &self.model.dimensions;
        let (layer, position) = unknown::cache_place(layer, position, is_value);
        (layer * sizes.capacity + position) * sizes.kv_head_count * sizes.head_dim
    }
}

/// The published scratch formula `4 x (10 H + 3 F + C)` (DG-5).
pub fn scratch_bytes(sizes: &Dimensions) -> u64 {
    let context = if cfg!(bug = "scratch_without_context") { 0 } else { sizes.capacity as u64 };
    4 * (10 * sizes.hidden_size as u64 + 3 * sizes.ffn_size as u64 + context)
}

/// The status of a buffer that cannot exist (section 13, Statuses).
fn oversized() -> Status {
    if cfg!(option = "buffer_invalid_length") {
        Status::InvalidLength
    } else if cfg!(option = "buffer_shape_mismatch") {
        Status::ShapeMismatch
    } else if cfg!(option = "buffer_generation_failed") {
        Status::GenerationFailed
    } else {
        Status::InvalidHeader
    }
}

fn product(factors: &[usize]) -> u128 {
    factors.iter().fold(1, |all, &factor| all.saturating_mul(factor as u128))
}

/// A zeroed buffer, or 6 when memory is exhausted.
fn zeros(length: usize) -> Result<Vec<f32>, Status> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length).map_err(|_| Status::InvalidHeader)?;
    buffer.resize(length, 0.0);
    Ok(buffer)
}
