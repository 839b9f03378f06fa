//! exp, sine, cosine, power and reciprocal root, and the forms that other builds may have.
//!
//! `cfg(exp = "...")`, `cfg(sine = "...")`, `cfg(power = "...")` and `cfg(root = "...")`. Sampling keeps the standard exp.

use crate::unseen;

/// `e^x` of softmax and silu (FW-8).
pub fn exp(x: f32) -> f32 {
    if cfg!(exp = "through_f64") {
        (x as f64).exp() as f32
    } else if cfg!(exp = "base_2") {
        (x * std::f32::consts::LOG2_E).exp2()
    } else if cfg!(exp = "polynomial") {
        polynomial_exp(x)
    } else if cfg!(exp = "limit") {
        // (1 + x / 1024)^1024 by ten squarings
        (0..10).fold((1.0 + x / 1024.0).max(0.0), |power, _| power * power)
    } else {
        x.exp()
    }
}

/// The single-precision polynomial of the Cephes library.
fn polynomial_exp(x: f32) -> f32 {
    if !(x > -87.0) {
        return if x.is_nan() { x } else { 0.0 };
    }
    if x > 88.0 {
        return f32::INFINITY;
    }
    let whole = (x * std::f32::consts::LOG2_E + 0.5).floor();
    let rest = x - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * rest * rest + rest + 1.0;
    fraction * f32::from_bits(((whole as i32 + 127) as u32) << 23)
}

/// Cosine and sine of an angle (FW-5).
pub fn cosine_and_sine(angle: f32) -> (f32, f32) {
    if cfg!(sine = "through_f64") {
        let angle = angle as f64;
        (angle.cos() as f32, angle.sin() as f32)
    } else if cfg!(sine = "polynomial") {
        polynomial_cosine_and_sine(angle)
    } else if cfg!(sine = "cosine_from_sine") {
        let sine = angle.sin();
        let cosine = (1.0 - sine * sine).sqrt();
        (if angle.cos() < 0.0 { -cosine } else { cosine }, sine)
    } else {
        (angle.cos(), angle.sin())
    }
}

/// Reduction by quarter turns in f32 and Taylor polynomials.
fn polynomial_cosine_and_sine(angle: f32) -> (f32, f32) {
    let turns = (angle * std::f32::consts::FRAC_2_PI + 0.5).floor();
    let rest = angle - turns * 1.570_312_5 - turns * 4.838_267_9e-4;
    let square = rest * rest;
    let sine = rest * (1.0 + square * (-1.666_666_7e-1 + square * (8.333_334e-3 + square * -1.984_127e-4)));
    let cosine =
        1.0 + square * (-0.5 + square * (4.166_666_8e-2 + square * (-1.388_888_9e-3 + square * 2.480_158_7e-5)));
    match turns as i64 & 3 {
        0 => (cosine, sine),
        1 => (-sine, cosine),
        2 => (-cosine, -sine),
        _ => (sine, -cosine),
    }
}

/// `base^exponent` of the rotary frequencies (FW-5).
pub fn power(base: f32, exponent: f32) -> f32 {
    if cfg!(power = "through_f64") {
        (base as f64).powf(exponent as f64) as f32
    } else if cfg!(power = "exp_of_log") {
        (exponent * base.ln()).exp()
    } else {
        base.powf(exponent)
    }
}

/// `1 / sqrt(x)` of the norms (FW-3).
pub fn reciprocal_root(x: f32) -> f32 {
    if let Some(root) = unseen::quick_inverse_root(x) {
        root
    } else if cfg!(root = "of_the_reciprocal") {
        (1.0 / x).sqrt()
    } else if cfg!(root = "through_f64") {
        (1.0 / (x as f64).sqrt()) as f32
    } else {
        1.0 / x.sqrt()
    }
}

/// `dividend / divisor`, or times the reciprocal.
pub fn quotient(dividend: f32, divisor: f32, by_reciprocal: bool) -> f32 {
    if by_reciprocal {
        dividend * (1.0 / divisor)
    } else {
        dividend / divisor
    }
}
