//! Mistakes of the arithmetic that no catalogue of hypotheses knows: `cfg(unknown = "...")`, `unknown_bugs.json`.
//!
//! The forward pass asks these functions at the places where the mistakes would be made; without a switch each of them
//! answers what the contract says. Wrong numbers are computed wrongly, never computed rightly and spoiled afterwards.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::rounding::{cut, half, rounded};
use crate::slips::{self, Norm};
use crate::slips_attention;
use crate::unseen;

/// Which product of a layer, or the logits.
#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    Query,
    Key,
    Value,
    AttentionOutput,
    Gate,
    Up,
    /// Rows of the up projection where those of the gate belong; only one bug computes them.
    UpAsGate,
    Down,
    Logits,
}

/// Where the forward pass is.
#[derive(Clone, Copy)]
pub struct Site {
    pub part: Part,
    pub layer: usize,
    pub position: usize,
    pub head_dim: usize,
}

/// The row of the embeddings that is read.
pub fn embedding_row(token: usize) -> usize {
    let neighbour = cfg!(unknown = "embedding_of_the_row_before") && token % 8 == 5;
    slips::token(token - neighbour as usize)
}

/// The row of the weights that is read for a row of the result.
pub fn weight_row(site: Site, row: usize, rows: usize) -> usize {
    if cfg!(unknown = "query_rows_shifted_from_layer_1") && site.part == Part::Query && site.layer >= 1 {
        (row + 1) % rows
    } else if cfg!(unknown = "last_logit_repeats_its_neighbour") && site.part == Part::Logits {
        row.min(rows - 2)
    } else if site.part == Part::Logits {
        unseen::logit_row(row, rows)
    } else {
        slips::weight_row(site, row)
    }
}

/// False for a row of the result that keeps what it held.
pub fn is_computed(site: Site, row: usize, rows: usize) -> bool {
    let last_row = cfg!(unknown = "last_row_of_up_left_out") && site.part == Part::Up && row + 1 == rows;
    let stale_query = cfg!(unknown = "query_stale_from_position_12")
        && site.part == Part::Query
        && site.layer >= 1
        && site.position >= 12;
    !last_row && !stale_query && unseen::is_in_its_half(site, row, rows) && slips::is_computed(site)
}

/// What is stored for the sum of a row, where `held` was before.
pub fn stored(site: Site, row: usize, rows: usize, sum: f32, held: f32) -> f32 {
    match site.part {
        Part::Query if cfg!(unknown = "query_in_bf16") => rounded(sum, 16),
        Part::Value if cfg!(unknown = "value_cut_to_10_bits") => cut(sum, 13),
        Part::Value if cfg!(unknown = "last_value_negated") && row + 1 == rows => -sum,
        Part::Up if cfg!(unknown = "up_in_f16") => half(sum),
        Part::Down if cfg!(unknown = "down_plus_a_thousandth") => sum + 0.001,
        Part::Key if cfg!(unknown = "every_third_key_row_2_percent") && row % 3 == 2 => sum * 1.02,
        Part::Logits if cfg!(unknown = "logits_one_ulp_larger") => sum * (1.0 + f32::EPSILON),
        Part::AttentionOutput if cfg!(unknown = "attention_output_in_12_bits") => rounded(sum, 12),
        _ => slips::stored(site, sum, held),
    }
}

/// The scale that a block is decoded with: row and block that are read.
pub fn scale_place(rows: usize, columns: usize, row: usize, block: usize) -> (usize, usize) {
    let square = rows == columns;
    if cfg!(unknown = "every_16th_row_has_the_scale_before") && square && row % 16 == 15 {
        (row - 1, block)
    } else if cfg!(unknown = "odd_block_has_the_scale_before") {
        (row, block & !1)
    } else {
        (row, block)
    }
}

/// Divisor of the mean of squares, and how many elements are summed.
pub fn norm_counts(count: usize) -> (usize, usize) {
    if cfg!(unknown = "norm_mean_by_n_minus_1") {
        (count - 1, count)
    } else if cfg!(unknown = "norm_leaves_last_out") {
        (count, count - 1)
    } else {
        (count, count)
    }
}

pub fn epsilon(epsilon: f32) -> f32 {
    if cfg!(unknown = "epsilon_ten_times") {
        epsilon * 10.0
    } else {
        epsilon
    }
}

/// The inverse of a norm; the stale one belongs to the norm before.
pub fn norm_inverse(inverse: f32, norm: Norm) -> f32 {
    static BEFORE: AtomicU32 = AtomicU32::new(0x3F80_0000);
    if !cfg!(unknown = "norm_inverse_stale_in_layer_1") {
        return inverse;
    }
    let before = f32::from_bits(BEFORE.swap(inverse.to_bits(), Relaxed));
    if norm == Norm::Attention(1) {
        before
    } else {
        inverse
    }
}

/// The factor on the score of a query head.
pub fn score_scale(scale: f32, head: usize, heads: usize, is_current: bool) -> f32 {
    if cfg!(unknown = "scale_one_percent") {
        scale * 1.01
    } else if cfg!(unknown = "last_head_scaled_twice") && head + 1 == heads {
        scale * scale
    } else if cfg!(unknown = "current_score_not_scaled") && is_current {
        1.0
    } else {
        scale
    }
}

/// What is stored for a score.
pub fn score(score: f32, layer: usize, position: usize) -> f32 {
    if cfg!(unknown = "scores_in_bf16") {
        rounded(score, 16)
    } else if cfg!(unknown = "nan_from_position_20_in_layer_1") && layer == 1 && position >= 20 {
        f32::NAN
    } else {
        slips_attention::score(unseen::score(score), layer)
    }
}

/// The first position that is visible.
pub fn first_visible(position: usize) -> usize {
    if cfg!(unknown = "window_of_16") {
        (position + 1).saturating_sub(16)
    } else {
        0
    }
}

/// The position whose key is read for a visible position.
pub fn key_time(layer: usize, time: usize) -> usize {
    time - (cfg!(unknown = "key_of_the_position_before_in_layer_1") && layer == 1 && time > 0) as usize
}

/// The position whose value is read for a visible position.
pub fn value_time(head: usize, time: usize) -> usize {
    time - (cfg!(unknown = "value_of_the_position_before_in_head_0") && head == 0 && time > 0) as usize
}

/// The head of the values that is read.
pub fn value_head(kv_head: usize, head: usize, heads: usize) -> usize {
    if cfg!(unknown = "last_head_reads_first_values") && head + 1 == heads {
        0
    } else {
        kv_head
    }
}

/// The largest score that is subtracted; the stale one belongs to the head before.
pub fn highest_score(highest: f32) -> f32 {
    static BEFORE: AtomicU32 = AtomicU32::new(0);
    if !cfg!(unknown = "maximum_of_the_head_before") {
        return highest;
    }
    f32::from_bits(BEFORE.swap(highest.to_bits(), Relaxed))
}

/// What is stored for an attention weight.
pub fn weight(weight: f32) -> f32 {
    if cfg!(unknown = "weights_in_f16") {
        half(weight)
    } else {
        weight
    }
}

/// How many weights the sum of softmax covers.
pub fn weights_summed(count: usize) -> usize {
    count - (cfg!(unknown = "softmax_sum_without_last") && count > 1) as usize
}

/// The layer and position whose place in the cache is taken.
pub fn cache_place(layer: usize, position: usize, is_value: bool) -> (usize, usize) {
    if cfg!(unknown = "cache_wraps_at_24") {
        (layer, position % 24)
    } else if cfg!(unknown = "values_of_layers_0_and_1_share_a_place") && is_value && layer == 1 {
        (0, position)
    } else {
        (layer, position)
    }
}

/// Theta of the rotary frequencies.
pub fn theta(theta: f32) -> f32 {
    if cfg!(unknown = "theta_2_percent") {
        theta * 1.02
    } else {
        theta
    }
}

/// The frequency of a pair.
pub fn frequency(frequency: f32, pair: usize, pairs: usize) -> f32 {
    if cfg!(unknown = "last_pair_turns_3_percent_faster") && pair + 1 == pairs {
        frequency * 1.03
    } else {
        frequency
    }
}

/// The position whose angles are used.
pub fn rotary_position(position: usize) -> usize {
    if cfg!(unknown = "rotary_position_wraps_at_16") {
        position % 16
    } else {
        position
    }
}

pub fn angle(angle: f32) -> f32 {
    if cfg!(unknown = "angle_in_f16") {
        half(angle)
    } else {
        unseen::angle(angle)
    }
}

/// The components that a rotated pair is written to; `None` leaves a head as it is.
pub fn rotated_places(
    is_key: bool,
    head: usize,
    heads: usize,
    dim: usize,
    places: (usize, usize),
) -> Option<(usize, usize)> {
    if cfg!(unknown = "last_query_head_not_rotated") && !is_key && head + 1 == heads {
        return None;
    }
    if cfg!(unknown = "halves_of_query_head_0_swapped") && !is_key && head == 0 {
        return Some(((places.0 + dim / 2) % dim, (places.1 + dim / 2) % dim));
    }
    Some(places)
}

/// The second component of a rotated pair.
pub fn rotated_second(x0: f32, x1: f32, cos: f32, sin: f32, is_key: bool) -> f32 {
    if cfg!(unknown = "sign_of_odd_key_components") && is_key {
        return x0 * sin - x1 * cos;
    }
    x0 * sin + x1 * cos
}

/// `silu(gate) * up`.
pub fn hidden(silu: f32, gate: f32, up: f32) -> f32 {
    if cfg!(unknown = "silu_through_tanh") {
        0.5 * gate * (1.0 + (0.5 * gate).tanh()) * up
    } else if cfg!(unknown = "silu_with_1_702") {
        gate / (1.0 + (-1.702 * gate).exp()) * up
    } else if cfg!(unknown = "hidden_clamped_to_a_half") {
        (silu * up).clamp(-0.5, 0.5)
    } else if cfg!(unknown = "hidden_in_f16") {
        half(silu * up)
    } else {
        slips::silu(silu, gate) * up
    }
}

/// What an element of the residual is before the attention output is added.
pub fn before_attention(residual: f32, layer: usize) -> f32 {
    if cfg!(unknown = "attention_residual_dropped_in_layer_1") && layer == 1 {
        0.0
    } else if cfg!(unknown = "residual_shrinks_in_layer_1") && layer == 1 {
        residual * 0.999
    } else {
        residual
    }
}
