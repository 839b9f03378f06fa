//! Scalar f32 arithmetic in the contract's order: sums run in index order from 0.0 (section 11).

/// Adds `left * right` over all pairs, each operation rounded to f32.
pub fn sum_of_products(left: &[f32], right: &[f32]) -> f32 {
    if cfg!(bug = "dot_four_partial_sums") {
        let mut partial = [0.0f32; 4];
        for (index, (a, b)) in left.iter().zip(right).enumerate() {
            partial[index % 4] += a * b;
        }
        return (partial[0] + partial[1]) + (partial[2] + partial[3]);
    }
    if cfg!(bug = "dot_f64_accumulator") {
        let mut sum = 0.0f64;
        for (a, b) in left.iter().zip(right) {
            sum += (a * b) as f64;
        }
        return sum as f32;
    }
    if cfg!(bug = "dot_fused") {
        let mut sum = 0.0f32;
        for (&a, &b) in left.iter().zip(right) {
            sum = (a as f64 * b as f64 + sum as f64) as f32;
        }
        return sum;
    }
    let mut sum = 0.0f32;
    if cfg!(bug = "dot_reversed") {
        for (a, b) in left.iter().zip(right).rev() {
            sum += a * b;
        }
        return sum;
    }
    for (a, b) in left.iter().zip(right) {
        sum += a * b;
    }
    sum
}

/// Writes `x * inv * weight` with `inv = 1 / sqrt(mean(x * x) + epsilon)` (FW-3).
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let mut squares = 0.0f32;
    for value in x {
        squares += value * value;
    }
    let mean = squares / x.len() as f32;
    let inverse = if cfg!(bug = "norm_without_epsilon") {
        1.0 / mean.sqrt()
    } else if cfg!(bug = "norm_epsilon_outside_root") {
        1.0 / (mean.sqrt() + epsilon)
    } else {
        1.0 / (mean + epsilon).sqrt()
    };
    for ((result, value), scale) in out.iter_mut().zip(x).zip(weight) {
        *result = if cfg!(bug = "norm_weight_first") { value * (inverse * scale) } else { value * inverse * scale };
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
    let mut sum = 0.0f32;
    for score in scores.iter_mut() {
        *score = (*score - highest).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score = if cfg!(bug = "softmax_reciprocal") { *score * (1.0 / sum) } else { *score / sum };
    }
}

/// The gate activation of FW-7.
pub fn silu(gate: f32) -> f32 {
    if cfg!(bug = "gelu_for_silu") {
        let inner = 0.797_884_6 * (gate + 0.044_715 * gate * gate * gate);
        return 0.5 * gate * (1.0 + inner.tanh());
    }
    gate / (1.0 + (-gate).exp())
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
