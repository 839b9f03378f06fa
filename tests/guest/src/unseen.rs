//! Further mistakes that no catalogue of hypotheses knows: `cfg(unknown = "...")`, `unknown_bugs.json`.
//!
//! Written as `unknown.rs` was: without a switch each function answers what the contract says.

use crate::matrix::Matrix;
use crate::slips;
use crate::sums;
use crate::unknown::{Part, Site};

/// Rows that a kernel computes at once, elements of a vector, and the columns of one unrolled step.
const ROWS_AT_ONCE: usize = 16;
const VECTOR: usize = 4;
const UNROLLED: usize = 56;

/// The row of the output projection that is read for a row of the logits.
pub fn logit_row(row: usize, rows: usize) -> usize {
    let whole = rows / ROWS_AT_ONCE * ROWS_AT_ONCE;
    if cfg!(unknown = "last_logits_of_a_block_that_begins_too_early") && row >= whole && rows > ROWS_AT_ONCE {
        row - whole + rows - ROWS_AT_ONCE
    } else {
        row
    }
}

/// Whether a row belongs to the half that `part` computes.
pub fn is_in_its_half(site: Site, row: usize, rows: usize) -> bool {
    match site.part {
        Part::Gate if cfg!(unknown = "second_half_of_gate_from_up_in_layer_2") && site.layer == 2 => row < rows / 2,
        Part::UpAsGate => row >= rows / 2,
        _ => true,
    }
}

/// One row of a matrix times its input.
pub fn row_sum(site: Site, index: usize, rows: usize, row: &[f32], x: &[f32]) -> f32 {
    if cfg!(unknown = "down_without_its_last_columns") && site.part == Part::Down {
        let whole = row.len() / UNROLLED * UNROLLED;
        return sums::row(&row[..whole], &x[..whole]);
    }
    slips::row_sum(site, (index, rows), row, x)
}

/// The product with the transposed square matrix, which only one unknown bug computes.
pub fn multiply_transposed(weight: &Matrix, x: &[f32], out: &mut [f32], row: &mut [f32]) {
    out.fill(0.0);
    for (index, factor) in x.iter().enumerate().take(weight.rows) {
        weight.row_into(index, row);
        for (sum, value) in out.iter_mut().zip(row.iter()) {
            *sum += value * factor;
        }
    }
}

/// How many elements of the residual the feed-forward output is added to.
pub fn residuals_added(layer: usize, count: usize) -> usize {
    let left = if cfg!(unknown = "last_vector_of_the_residual_left_from_layer_1") && layer >= 1 { VECTOR } else { 0 };
    slips::residuals_added(layer, count - left)
}

/// Whether the operands of the gate activation change places.
pub fn is_swapped(element: usize, count: usize) -> bool {
    cfg!(unknown = "gate_and_up_swapped_in_the_last_vector") && element + VECTOR >= count
}

/// Where the values of a head begin in those of a position.
pub fn value_head_start(layer: usize, head: usize, dim: usize) -> usize {
    let short = cfg!(unknown = "value_heads_one_element_short_from_layer_1") && layer >= 1;
    head * (dim - short as usize)
}

/// Whether the values of a position reach the cache.
pub fn is_stored(position: usize) -> bool {
    !(cfg!(unknown = "value_not_stored_at_every_eighth_position") && position % 8 == 7)
}

/// What the cache holds of the keys of a position.
pub fn store_keys(keys: &mut [f32], dim: usize) {
    if !cfg!(unknown = "keys_stored_in_8_bits") {
        return;
    }
    for head in keys.chunks_exact_mut(dim) {
        let largest = head.iter().fold(0.0f32, |largest, key| largest.max(key.abs()));
        let step = largest / 127.0;
        for key in head.iter_mut() {
            *key = if step > 0.0 { (*key / step).round() * step } else { 0.0 };
        }
    }
}

pub fn score(score: f32) -> f32 {
    if cfg!(unknown = "scores_under_a_soft_cap_of_30") {
        30.0 * (score / 30.0).tanh()
    } else {
        score
    }
}

/// The angle whose sine and cosine are taken.
pub fn angle(angle: f32) -> f32 {
    if cfg!(unknown = "angle_from_a_table_of_4096") {
        let steps_per_radian = 4096.0 / std::f32::consts::TAU;
        (angle * steps_per_radian).round() / steps_per_radian
    } else {
        angle
    }
}

/// `1 / sqrt(x)` by the well-known shift and one step of Newton's method; `None` computes it rightly.
pub fn quick_inverse_root(x: f32) -> Option<f32> {
    if !cfg!(unknown = "inverse_root_after_one_newton_step") {
        return None;
    }
    let guess = f32::from_bits(0x5F37_59DF - (x.to_bits() >> 1));
    Some(guess * (1.5 - 0.5 * x * guess * guess))
}
