//! Rotary embedding of other architectures: parts of a head, halves, linear scaling and YaRN (GG-11, GG-14, GG-15).

use crate::elementary::cosine_and_sine;
use crate::model::Rope;

/// What YaRN does to the angle of every pair, and to all cosines and sines.
pub struct Yarn {
    /// The part of the own angle, from 0 to 1, pair by pair.
    own: Vec<f32>,
    stretch: f32,
    magnitude: f32,
}

/// What a file says of YaRN.
pub struct YarnKeys {
    pub factor: f32,
    pub trained: u32,
    pub beta_fast: f32,
    pub beta_slow: f32,
    /// Whether the range is rounded outwards to whole pairs.
    pub whole_pairs: bool,
}

impl Yarn {
    /// The ramp over the pairs of `count` rotated numbers, in f64 and rounded once.
    pub fn new(keys: &YarnKeys, theta: f32, count: usize) -> Yarn {
        let pair_of = |turns: f32| {
            let wave = keys.trained as f64 / (turns as f64 * 2.0 * std::f64::consts::PI);
            count as f64 * wave.ln() / (2.0 * (theta as f64).ln())
        };
        let (mut first, mut last) = (pair_of(keys.beta_fast), pair_of(keys.beta_slow));
        if keys.whole_pairs {
            first = first.floor();
            last = last.ceil();
        }
        let first = first.max(0.0);
        let last = last.min(count as f64 - 1.0);
        let own = |pair: usize| {
            let place = (pair as f64 - first) / (last - first).max(0.001);
            (1.0 - place.max(0.0).min(1.0)) as f32
        };
        Yarn {
            own: (0..count / 2).map(own).collect(),
            stretch: 1.0 / keys.factor,
            magnitude: (1.0 + 0.1 * (keys.factor as f64).ln()) as f32,
        }
    }
}

/// Cosine and sine of every pair at a position.
pub fn rotation_at(rope: &Rope, yarn: Option<&Yarn>, position: usize) -> Vec<(f32, f32)> {
    let angle_of = |pair: usize, frequency: &f32| {
        let mut angle = position as f32 * frequency;
        if let Some(factors) = &rope.factors {
            angle /= factors[pair];
        }
        match (yarn, rope.scale) {
            (Some(yarn), _) => angle * yarn.stretch * (1.0 - yarn.own[pair]) + angle * yarn.own[pair],
            (None, Some(scale)) => angle * scale,
            (None, None) => angle,
        }
    };
    let pairs = rope.frequencies.iter().enumerate().map(|(pair, frequency)| cosine_and_sine(angle_of(pair, frequency)));
    match yarn {
        Some(yarn) => pairs.map(|(cos, sin)| (cos * yarn.magnitude, sin * yarn.magnitude)).collect(),
        None => pairs.collect(),
    }
}

/// Rotates the first numbers of every head, pair i of n being (i, i + n / 2), or (2 i, 2 i + 1) without `halves`.
pub fn rotate(heads: &mut [f32], head_dim: usize, rotation: &[(f32, f32)], halves: bool) {
    for head in heads.chunks_exact_mut(head_dim) {
        for (pair, &(cos, sin)) in rotation.iter().enumerate() {
            let (first, second) = if halves { (pair, pair + rotation.len()) } else { (2 * pair, 2 * pair + 1) };
            let (x0, x1) = (head[first], head[second]);
            head[first] = x0 * cos - x1 * sin;
            head[second] = x0 * sin + x1 * cos;
        }
    }
}
