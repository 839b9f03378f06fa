//! Mistakes of products, norms and stored weights that nothing was told of: `cfg(unknown = "...")`, in the tables
//! `unknown_bugs_*.json`.
//!
//! Written as `unknown.rs` was: without a switch each function answers what the contract says.

use crate::matrix::Matrix;
use crate::model::Layer;
use crate::rounding::half;
use crate::sums;
use crate::unknown::{Part, Site};

/// Which norm is computed.
#[derive(Clone, Copy, PartialEq)]
pub enum Norm {
    Attention(usize),
    FeedForward(usize),
    Output,
}

impl Norm {
    /// Whether a norm belongs to this layer or comes after it.
    fn is_from(self, first: usize) -> bool {
        match self {
            Norm::Attention(layer) | Norm::FeedForward(layer) => layer >= first,
            Norm::Output => true,
        }
    }
}

/// Decodes the embedding of a token; `buffer` holds a row.
pub fn embed(embeddings: &Matrix, row: usize, residual: &mut [f32], buffer: &mut [f32]) {
    if cfg!(unknown = "embedding_copied_one_short") {
        let copied = embeddings.columns - 1;
        embeddings.row_into(row, buffer);
        residual[..copied].copy_from_slice(&buffer[..copied]);
    } else {
        embeddings.row_into(row, residual);
    }
}

/// The sum of squares that is divided, and the epsilon that is added to the mean.
pub fn squares(sum: f32, epsilon: f32) -> (f32, f32) {
    if cfg!(unknown = "epsilon_inside_the_mean") {
        (sum + epsilon, 0.0)
    } else {
        (sum, epsilon)
    }
}

/// The inverse root that a vector is multiplied by.
pub fn norm_inverse(inverse: f32, norm: Norm) -> f32 {
    if cfg!(unknown = "norm_inverse_in_f16_from_layer_1") && norm.is_from(1) {
        half(inverse)
    } else {
        inverse
    }
}

/// The layer whose weights of the attention norm are read.
pub fn gain_layer(layer: usize) -> usize {
    layer - (cfg!(unknown = "attention_norm_of_layer_2_has_the_gain_of_layer_1") && layer == 2) as usize
}

/// The row of the weights that is read for a row of the result.
pub fn weight_row(site: Site, row: usize) -> usize {
    if cfg!(unknown = "query_rows_in_halves_in_layer_2") && site.part == Part::Query && site.layer == 2 {
        let within = row % site.head_dim;
        row - within + within / 2 + within % 2 * (site.head_dim / 2)
    } else {
        row
    }
}

/// One row of a matrix times its input.
pub fn row_sum(site: Site, row: &[f32], x: &[f32]) -> f32 {
    let is_at = |part: Part, layer: usize| site.part == part && site.layer == layer;
    if cfg!(unknown = "up_accumulated_in_f16_in_layer_1") && is_at(Part::Up, 1) {
        row.iter().zip(x).fold(0.0, |sum, (weight, input)| half(sum + weight * input))
    } else if cfg!(unknown = "value_products_in_two_lanes_in_layer_1") && is_at(Part::Value, 1) {
        let mut lanes = [0.0f32; 2];
        for (index, (weight, input)) in row.iter().zip(x).enumerate() {
            lanes[index % 2] += weight * input;
        }
        lanes[0] + lanes[1]
    } else {
        sums::row(row, x)
    }
}

/// What is stored for the sum of a row, where `held` was before.
pub fn stored(site: Site, sum: f32, held: f32) -> f32 {
    if cfg!(unknown = "down_added_to_what_was_there") && site.part == Part::Down {
        held + sum
    } else {
        sum
    }
}

/// The scale of a row of signed bytes.
pub fn row_scale(scale: f32) -> f32 {
    if cfg!(unknown = "row_scales_in_f16") {
        half(scale)
    } else {
        scale
    }
}

/// Changes what a loaded model refers to.
pub fn rewire(layers: &mut [Layer]) {
    if cfg!(unknown = "down_scales_of_layer_0_in_layer_1") {
        if let [first, second, ..] = layers {
            second.down.weight.encoding = first.down.weight.encoding.clone();
        }
    }
}
