//! Experts: a router, the feed-forward blocks that it chooses among, and their shares (GG-11, GG-14, GG-15).

use std::cmp::Ordering;

use crate::arithmetic::{silu, softmax};
use crate::network::Projection;
use crate::network_formulas::{clamped_swiglu, sigmoid};

/// The least sum that shares are divided by: 2^-14.
const LEAST_SUM: f32 = 1.0 / 16_384.0;

/// How router scores become shares.
pub enum Gating {
    /// Softmax of the chosen scores alone, and a clamped SwiGLU in every expert (gpt-oss).
    ChosenScores,
    /// Sigmoid or softmax of all scores; what is added to them counts for the choice only (lfm2moe).
    Renormalised { sigmoid: bool, bias: Vec<f32> },
}

pub struct Experts {
    pub router: Projection,
    pub gate: Projection,
    pub up: Projection,
    pub down: Projection,
    pub count: usize,
    pub used: usize,
    pub gating: Gating,
}

impl Experts {
    /// [H] -> [H]: the outputs of the chosen experts times their shares, added in the order of choice.
    pub fn of(&self, x: &[f32]) -> Vec<f32> {
        let mut sum = vec![0.0; self.down.count() / self.count];
        for (expert, share) in self.chosen(x) {
            for (total, value) in sum.iter_mut().zip(self.one(expert, x)) {
                *total += value * share;
            }
        }
        sum
    }

    /// Experts and their shares, the best first.
    fn chosen(&self, x: &[f32]) -> Vec<(usize, f32)> {
        let mut scores = self.router.of(x);
        match &self.gating {
            Gating::ChosenScores => {
                let best = self.best(&scores);
                let mut shares: Vec<f32> = best.iter().map(|&expert| scores[expert]).collect();
                softmax(&mut shares);
                best.into_iter().zip(shares).collect()
            }
            Gating::Renormalised { sigmoid: by_sigmoid, bias } => {
                if *by_sigmoid {
                    scores.iter_mut().for_each(|score| *score = sigmoid(*score));
                } else {
                    softmax(&mut scores);
                }
                let preferred: Vec<f32> = scores.iter().zip(bias).map(|(score, bias)| score + bias).collect();
                let best = self.best(&preferred);
                let divisor = divisor(best.iter().fold(0.0f32, |sum, &expert| sum + scores[expert]));
                best.into_iter().map(|expert| (expert, scores[expert] / divisor)).collect()
            }
        }
    }

    /// The highest of these, of equals the lower index first.
    fn best(&self, values: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&left, &right| values[right].partial_cmp(&values[left]).unwrap_or(Ordering::Equal));
        order.truncate(self.used);
        order
    }

    fn one(&self, expert: usize, x: &[f32]) -> Vec<f32> {
        let gate = self.gate.part(expert, self.count, x);
        let up = self.up.part(expert, self.count, x);
        let clamped = matches!(self.gating, Gating::ChosenScores);
        let joined = |(gate, up): (f32, f32)| if clamped { clamped_swiglu(gate, up) } else { silu(gate) * up };
        let hidden: Vec<f32> = gate.into_iter().zip(up).map(joined).collect();
        self.down.part(expert, self.count, &hidden)
    }
}

/// What shares with this sum are divided by (GG-15).
fn divisor(sum: f32) -> f32 {
    if cfg!(option = "gg15_sum_plus_a_millionth") {
        sum + 1e-6
    } else if sum < LEAST_SUM {
        LEAST_SUM
    } else {
        sum
    }
}
