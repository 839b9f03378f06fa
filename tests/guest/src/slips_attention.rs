//! Mistakes of rotation, cache and attention that nothing was told of: `cfg(unknown = "...")`, in the tables
//! `unknown_bugs_*.json`.
//!
//! Written as `unknown.rs` was: without a switch each function answers what the contract says.

use crate::elementary::exp;

/// Whether the angles of the position before are used again.
pub fn keeps_rotation(position: usize) -> bool {
    cfg!(unknown = "rotation_stale_at_every_eighth_position") && position > 0 && position % 8 == 0
}

/// The position in whose place of the cache a key is stored.
pub fn key_place(position: usize, capacity: usize) -> usize {
    let late = cfg!(unknown = "key_of_position_10_stored_one_place_late") && position == 10;
    position + (late && position + 1 < capacity) as usize
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
