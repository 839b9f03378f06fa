//! Formulas of GG-11, GG-14 and GG-15 that section 11 does not have: f32, left to right, one rounding an operation.

use crate::elementary::{exp, quotient, reciprocal_root};
use crate::sums;

const ROOT_OF_2: f32 = std::f32::consts::SQRT_2;
/// sqrt(2 / pi)
const GELU_SCALE: f32 = 0.797_884_6;
/// Slope and bounds of the clamped SwiGLU (GG-14).
const CLAMPED_SLOPE: f32 = 1.702;
const CLAMPED_BOUND: f32 = 7.0;

/// `c_i * inv * w_i + b_i` with `c_i = x_i - mean` and `inv = 1 / sqrt(sum(c_i * c_i) / n + epsilon)` (GG-11).
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) -> Vec<f32> {
    let count = x.len() as f32;
    let by_reciprocal = cfg!(reciprocal = "mean");
    let mean = quotient(x.iter().fold(0.0f32, |sum, value| sum + value), count, by_reciprocal);
    let centred: Vec<f32> = x.iter().map(|value| value - mean).collect();
    let inverse = reciprocal_root(quotient(sums::squares(&centred), count, by_reciprocal) + epsilon);
    let scaled = centred.iter().zip(weight).map(|(value, weight)| value * inverse * weight);
    scaled.zip(bias).map(|(value, bias)| value + bias).collect()
}

/// GELU in the form that GG-12 chooses.
pub fn gelu(x: f32) -> f32 {
    let inner = if cfg!(option = "gg12_gelu_erf") {
        error_function((x / ROOT_OF_2) as f64) as f32
    } else {
        (GELU_SCALE * x * (1.0 + 0.044_715 * x * x)).tanh()
    };
    0.5 * x * (1.0 + inner)
}

/// `2 / sqrt(pi) * e^(-x * x) * sum of 2^n x^(2n + 1) / (1 * 3 * ... * (2n + 1))`: no term has another sign than x.
fn error_function(x: f64) -> f64 {
    if !(x.abs() < 6.0) {
        return if x.is_nan() { x } else { 1f64.copysign(x) };
    }
    let mut term = x;
    let mut sum = x;
    let mut odd = 1.0;
    loop {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        if sum + term == sum {
            return std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
        }
        sum += term;
    }
}

/// `1 / (1 + expf(-x))` (GG-14).
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `g / (1 + expf(1.702 * -g)) * (u + 1)` where `g = min(gate, 7)` and `u = min(max(up, -7), 7)` (GG-14).
pub fn clamped_swiglu(gate: f32, up: f32) -> f32 {
    // Comparisons, not min and max: those drop a NaN.
    let gate = if gate > CLAMPED_BOUND { CLAMPED_BOUND } else { gate };
    let up = if up < -CLAMPED_BOUND { -CLAMPED_BOUND } else { up };
    let up = if up > CLAMPED_BOUND { CLAMPED_BOUND } else { up };
    gate / (1.0 + exp(CLAMPED_SLOPE * -gate)) * (up + 1.0)
}

/// Softmax with a sink: it takes part in the maximum, and its weight is added behind the others' (GG-14).
pub fn softmax_with_sink(scores: &mut [f32], sink: f32) {
    let highest = scores.iter().fold(sink, |highest, &score| if score > highest { score } else { highest });
    let mut sum = 0.0f32;
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
        sum += *score;
    }
    sum += exp(sink - highest);
    for score in scores.iter_mut() {
        *score = quotient(*score, sum, cfg!(reciprocal = "softmax"));
    }
}

pub fn added(left: &[f32], right: &[f32]) -> Vec<f32> {
    left.iter().zip(right).map(|(a, b)| a + b).collect()
}
