//! Scalar f32 arithmetic in the contract's order: sums run in index order from 0.0 (section 11).

use crate::elementary::{exp, quotient, reciprocal_root};
use crate::slips::{self, Norm};
use crate::{slips_attention, sums, unknown};

/// Writes `x * inv * weight` with `inv = 1 / sqrt(mean(x * x) + epsilon)` (FW-3).
///
/// Without `weight` only the inverse is applied; which norm it is, is of interest to unknown bugs only.
pub fn rms_norm(x: &[f32], weight: Option<&[f32]>, epsilon: f32, norm: Norm, out: &mut [f32]) {
    let centred = slips::centred(x, norm);
    let x = centred.as_deref().unwrap_or(x);
    let (divisor, summed) = unknown::norm_counts(x.len());
    let epsilon = unknown::epsilon(epsilon);
    let added = slips::added_after(norm, epsilon);
    let (sum, epsilon) = slips::squares(sums::squares(&x[..summed]), epsilon);
    let mean = quotient(sum, divisor as f32, cfg!(reciprocal = "mean"));
    let inverse = if cfg!(bug = "norm_without_epsilon") {
        1.0 / mean.sqrt()
    } else if cfg!(bug = "norm_epsilon_outside_root") {
        1.0 / (mean.sqrt() + epsilon)
    } else {
        reciprocal_root(mean + epsilon)
    };
    let inverse = slips::norm_inverse(unknown::norm_inverse(inverse, norm), norm);
    for (index, (result, value)) in out.iter_mut().zip(x).enumerate() {
        let scale = weight.map_or(1.0, |weight| weight[index]);
        *result = if cfg!(bug = "norm_weight_first") { value * (inverse * scale) } else { value * inverse * scale };
        if let Some(epsilon) = added {
            *result += epsilon;
        }
    }
}

/// Turns scores into probabilities: maximum, expf, ordered sum, division (FW-6).
pub fn softmax(scores: &mut [f32]) {
    let mut highest = f32::NEG_INFINITY;
    for &score in scores.iter() {
        if score > highest {
            highest = score;
        }
    }
    if cfg!(bug = "softmax_without_maximum") {
        highest = 0.0;
    }
    let highest = unknown::highest_score(highest);
    let summed = unknown::weights_summed(scores.len());
    let mut sum = 0.0f32;
    for (index, score) in scores.iter_mut().enumerate() {
        *score = slips_attention::exponential(*score - highest);
        if index < summed {
            sum += *score;
        }
    }
    let by_reciprocal = cfg!(any(bug = "softmax_reciprocal", reciprocal = "softmax"));
    for score in scores.iter_mut() {
        *score = unknown::weight(quotient(*score, slips_attention::sum(sum), by_reciprocal));
    }
}

/// The gate activation of FW-7.
pub fn silu(gate: f32) -> f32 {
    if cfg!(bug = "gelu_for_silu") {
        let inner = 0.797_884_6 * (gate + 0.044_715 * gate * gate * gate);
        return 0.5 * gate * (1.0 + inner.tanh());
    }
    quotient(gate, 1.0 + exp(-gate), cfg!(reciprocal = "silu"))
}

/// Converts an IEEE half to f32, exactly.
pub fn half_to_f32(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let exponent = (bits as u32 >> 10) & 0x1F;
    let fraction = bits as u32 & 0x3FF;
    match exponent {
        0 => {
            // Subnormal halves are fraction * 2^-24, which f32 holds exactly.
            let magnitude = fraction as f32 / 16_777_216.0;
            f32::from_bits(magnitude.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0x7F80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Drops an f32 to ten fraction bits; only the seeded bug `kv_in_half_precision` needs it.
pub fn round_to_half_precision(value: f32) -> f32 {
    let bits = value.to_bits();
    let half_unit = 0x0FFF + (bits >> 13 & 1);
    f32::from_bits((bits + half_unit) & !0x1FFF)
}
