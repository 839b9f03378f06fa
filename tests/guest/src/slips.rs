//! Mistakes of products, norms and stored weights that nothing was told of: `cfg(unknown = "...")`, in the tables
//! `unknown_bugs_*.json`.
//!
//! Written as `unknown.rs` was: without a switch each function answers what the contract says.

use std::borrow::Cow;

use crate::arithmetic;
use crate::matrix::Matrix;
use crate::model::Layer;
use crate::rounding::half;
use crate::slips_attention;
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

/// The row of the embeddings of a token.
pub fn token(token: usize) -> usize {
    if cfg!(unknown = "token_id_in_one_byte") {
        token as u8 as usize
    } else {
        token
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

/// A vector without its mean; none if it stays as it is.
pub fn centred(x: &[f32], norm: Norm) -> Option<Vec<f32>> {
    if !(cfg!(unknown = "output_norm_subtracts_the_mean") && norm == Norm::Output) {
        return None;
    }
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    Some(x.iter().map(|value| value - mean).collect())
}

/// What is added to a vector after its norm.
pub fn added_after(norm: Norm, epsilon: f32) -> Option<f32> {
    (cfg!(unknown = "ffn_norm_plus_epsilon") && matches!(norm, Norm::FeedForward(_))).then(|| epsilon)
}

/// Decodes the weights of a norm into `row`, which holds a row that was decoded before.
pub fn gains_into(weight: &Matrix, norm: Norm, row: &mut [f32]) {
    let before = row.last().copied();
    weight.row_into(0, row);
    if cfg!(unknown = "last_ffn_gain_is_what_was_there") && matches!(norm, Norm::FeedForward(_)) {
        if let (Some(last), Some(before)) = (row.last_mut(), before) {
            *last = before;
        }
    }
}

/// Whether the norm before the feed-forward block is computed.
pub fn is_normalised(position: usize) -> bool {
    !(cfg!(unknown = "ffn_norm_skipped_at_every_tenth_position") && position % 10 == 9)
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

/// False for a product that keeps what its result held.
pub fn is_computed(site: Site) -> bool {
    !(site.part == Part::Value && slips_attention::repeats_value(site.layer, site.position))
}

/// What a matrix is multiplied by.
pub fn input(site: Site, x: &[f32]) -> Cow<'_, [f32]> {
    if !(cfg!(unknown = "down_of_inputs_in_8_bits") && site.part == Part::Down) {
        return Cow::Borrowed(x);
    }
    let blocks = x.chunks(32).flat_map(|block| {
        let step = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / 127.0;
        block.iter().map(move |value| if step > 0.0 { (value / step).round() * step } else { 0.0 })
    });
    Cow::Owned(blocks.collect())
}

/// Whether rows are read as if each were one element shorter.
pub fn has_short_rows(site: Site) -> bool {
    cfg!(unknown = "gate_rows_one_short_from_layer_2") && site.part == Part::Gate && site.layer >= 2
}

/// One row of a matrix times its input; `place` is the row and how many there are.
pub fn row_sum(site: Site, place: (usize, usize), row: &[f32], x: &[f32]) -> f32 {
    let is_at = |part: Part, layer: usize| site.part == part && site.layer == layer;
    if cfg!(unknown = "up_accumulated_in_f16_in_layer_1") && is_at(Part::Up, 1) {
        row.iter().zip(x).fold(0.0, |sum, (weight, input)| half(sum + weight * input))
    } else if cfg!(unknown = "value_products_in_two_lanes_in_layer_1") && is_at(Part::Value, 1) {
        let mut lanes = [0.0f32; 2];
        for (index, (weight, input)) in row.iter().zip(x).enumerate() {
            lanes[index % 2] += weight * input;
        }
        lanes[0] + lanes[1]
    } else if cfg!(unknown = "last_column_left_out_of_attention_output_3") && is_at(Part::AttentionOutput, 3) {
        let used = row.len() - 1;
        sums::row(&row[..used], &x[..used])
    } else if cfg!(unknown = "last_logit_one_column_late") && site.part == Part::Logits && place.0 + 1 == place.1 {
        sums::row(&row[1..], &x[..row.len() - 1])
    } else if cfg!(unknown = "query_head_3_subtracts_in_layer_1")
        && is_at(Part::Query, 1)
        && place.0 / site.head_dim == 3
    {
        row.iter().zip(x).fold(0.0, |sum, (weight, input)| sum - weight * input)
    } else if cfg!(unknown = "logits_summed_in_f64_and_cut") && site.part == Part::Logits {
        towards_zero(row.iter().zip(x).fold(0.0, |sum, (&weight, &input)| sum + weight as f64 * input as f64))
    } else {
        sums::row(row, x)
    }
}

/// The float of the same sign that is next to a number or between it and zero.
fn towards_zero(number: f64) -> f32 {
    let nearest = number as f32;
    if (nearest as f64).abs() > number.abs() {
        f32::from_bits(nearest.to_bits() - 1)
    } else {
        nearest
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

/// Whether a row of nibbles begins with the high one of its first byte.
pub fn has_high_nibble_first(row: usize, rows: usize) -> bool {
    cfg!(unknown = "nibbles_of_the_last_row_swapped") && rows > 1 && row + 1 == rows
}

/// The scale that is read for the scale `index` of a matrix, with `blocks` of them in each row.
pub fn scale_index(index: usize, blocks: usize, rows: usize) -> usize {
    let is_last = || index % blocks + 1 == blocks && index + 1 < blocks * rows;
    index + (cfg!(unknown = "last_block_has_the_scale_of_the_next_row") && is_last()) as usize
}

/// The vectors of gate and up lie in one buffer and share four elements; up was written last.
pub fn overlap(gate: &mut [f32], up: &[f32]) {
    if cfg!(unknown = "up_overlaps_the_end_of_gate") {
        let start = gate.len() - 4;
        gate[start..].copy_from_slice(&up[..4]);
    }
}

/// The gate activation of an element.
pub fn silu(silu: f32, gate: f32) -> f32 {
    if cfg!(unknown = "silu_from_a_table_of_halves") {
        half(arithmetic::silu(half(gate)))
    } else {
        silu
    }
}

/// Changes what the attention output is added to.
pub fn replace_residual(residual: &mut [f32], normed: &[f32], layer: usize) {
    if cfg!(unknown = "attention_added_to_the_normed_input_in_layer_2") && layer == 2 {
        residual.copy_from_slice(normed);
    }
}

/// What is stored for an element of the residual behind a layer.
pub fn residual(sum: f32, layer: usize) -> f32 {
    if cfg!(unknown = "residual_in_f16_from_layer_2") && layer >= 2 {
        half(sum)
    } else {
        sum
    }
}

/// How many elements of the residual the feed-forward output is added to.
pub fn residuals_added(layer: usize, count: usize) -> usize {
    if cfg!(unknown = "output_norm_before_the_residual_of_layer_3") && layer == 3 {
        0
    } else {
        count
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
