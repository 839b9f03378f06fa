//! Mistakes of rotation, cache and attention that nothing was told of: `cfg(unknown = "...")`, in the tables
//! `unknown_bugs_*.json`.
//!
//! Written as `unknown.rs` was: without a switch each function answers what the contract says.

use std::ops::Range;

use crate::elementary::exp;
use crate::rounding::rounded;

/// Whether the angles of the position before are used again.
pub fn keeps_rotation(position: usize) -> bool {
    cfg!(unknown = "rotation_stale_at_every_eighth_position") && position > 0 && position % 8 == 0
}

/// The position in whose place of the cache a key is stored.
pub fn key_place(position: usize, capacity: usize) -> usize {
    let late = cfg!(unknown = "key_of_position_10_stored_one_place_late") && position == 10;
    position + (late && position + 1 < capacity) as usize
}

/// The position in whose place of the cache a value is stored.
pub fn value_place(layer: usize, position: usize, capacity: usize) -> usize {
    let late = cfg!(unknown = "values_of_layer_2_stored_one_place_late") && layer == 2;
    position + (late && position + 1 < capacity) as usize
}

/// Whether the value of the position before is copied instead of a new one.
pub fn repeats_value(layer: usize, position: usize) -> bool {
    cfg!(unknown = "value_of_every_tenth_position_repeats_in_layer_1") && layer == 1 && position % 10 == 9
}

/// What the cache holds of the keys of a position.
pub fn store_keys(keys: &mut [f32], layer: usize) {
    if cfg!(unknown = "keys_of_layer_3_stored_in_bf16") && layer == 3 {
        for key in keys {
            *key = rounded(*key, 16);
        }
    }
}

pub fn rotates_values(layer: usize) -> bool {
    cfg!(unknown = "values_rotated_in_layer_1") && layer == 1
}

/// The query head whose keys and values a query head reads.
pub fn grouped_as(head: usize, heads: usize) -> usize {
    if cfg!(unknown = "kv_head_of_the_query_head_after") {
        (head + 1).min(heads - 1)
    } else {
        head
    }
}

/// Where the visible positions end.
pub fn end(end: usize, capacity: usize) -> usize {
    end + (cfg!(unknown = "causal_window_one_too_long") && end < capacity) as usize
}

/// The scores that there should be.
pub fn visible(scores: &[f32], position: usize) -> &[f32] {
    if cfg!(unknown = "causal_window_one_too_long") {
        &scores[..position + 1]
    } else {
        scores
    }
}

/// Hides scores before softmax.
pub fn mask(scores: &mut [f32], layer: usize, position: usize) {
    if cfg!(unknown = "all_masked_at_position_12_in_layer_2") && layer == 2 && position == 12 {
        scores[..=position].fill(f32::NEG_INFINITY);
    }
}

/// What exponentials are divided by.
pub fn sum(sum: f32) -> f32 {
    if cfg!(unknown = "softmax_sum_plus_a_millionth") {
        sum + 1e-6
    } else {
        sum
    }
}

/// Where the output of a head lies.
pub fn attended_place(layer: usize, head: usize, dim: usize) -> Range<usize> {
    let early = (cfg!(unknown = "heads_overlap_by_one_from_layer_2") && layer >= 2 && head > 0) as usize;
    head * dim - early..(head + 1) * dim - early
}

/// What is stored for a sum of weighted values.
pub fn mixed(sum: f32, layer: usize) -> f32 {
    if cfg!(unknown = "mixed_accumulated_in_bf16_in_layer_3") && layer == 3 {
        rounded(sum, 16)
    } else {
        sum
    }
}

/// What is stored for a score.
pub fn score(score: f32, layer: usize) -> f32 {
    if cfg!(unknown = "scores_plus_a_quarter_in_layer_2") && layer == 2 {
        score + 0.25
    } else {
        score
    }
}

/// `e^x` of a score from which the largest was subtracted.
pub fn exponential(x: f32) -> f32 {
    if cfg!(unknown = "softmax_with_log2_e_in_five_digits") {
        (x * 1.4427).exp2()
    } else if cfg!(unknown = "scores_at_most_5_below_the_largest") {
        exp(x.max(-5.0))
    } else {
        exp(x)
    }
}
