//! Sampling configuration and the choice of one token from logits (sections 5 and 8).

use std::cmp::Ordering;

use crate::generator::XorShift64;
use crate::status::Status;

const MAX_TOP_K: u32 = 1024;

#[derive(Clone, Copy)]
pub struct SamplingConfig {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub seed: u64,
}

impl SamplingConfig {
    /// SC-1.
    pub const DEFAULT: SamplingConfig = SamplingConfig { temperature: 0.0, top_k: 1, top_p: 1.0, seed: 1 };

    /// Checks the values of SC-2.
    pub fn check(&self) -> Result<(), Status> {
        let temperature_fits = self.temperature.is_finite() && self.temperature >= 0.0;
        let top_k_fits = (1..=MAX_TOP_K).contains(&self.top_k);
        let top_p_fits = self.top_p.is_finite() && self.top_p > 0.0 && self.top_p <= 1.0;
        if temperature_fits && top_k_fits && top_p_fits {
            Ok(())
        } else {
            Err(Status::InvalidLength)
        }
    }
}

/// Chooses a token id (SA-1 to SA-6).
pub fn sample(logits: &[f32], config: &SamplingConfig, generator: &mut XorShift64) -> u32 {
    if config.temperature == 0.0 {
        return greedy(logits);
    }
    let top_k = if cfg!(bug = "top_k_off_by_one") { config.top_k as usize + 1 } else { config.top_k as usize };
    let temperature_first = cfg!(option = "sa3_temperature_first");
    let scaled: Vec<f32> = if temperature_first {
        logits.iter().map(|&logit| tempered(logit, config.temperature)).collect()
    } else {
        Vec::new()
    };
    let ranked = if temperature_first { &scaled } else { logits };
    let retained = best(ranked, top_k);
    let mut weights = weights(ranked, &retained, config.temperature);
    let mut total = sum(&weights);
    if retained.is_empty() || !total.is_finite() || total <= 0.0 {
        return greedy(logits);
    }
    if cfg!(option = "sa4_normalised") {
        for weight in &mut weights {
            *weight /= total;
        }
        total = sum(&weights);
    }
    let (kept, mass) = nucleus(&weights, config.top_p, total);
    let unit = generator.unit();
    let point = if cfg!(bug = "draw_over_total") { unit * total } else { unit * mass };
    retained[walk(&weights[..kept], point)]
}

/// The first of the largest logits; NaN never wins; 0 if nothing exceeds -infinity (SA-1).
fn greedy(logits: &[f32]) -> u32 {
    let mut winner = 0;
    let mut highest = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > highest || (cfg!(bug = "argmax_last_of_equals") && logit == highest) {
            highest = logit;
            winner = id;
        }
    }
    winner as u32
}

/// The ids of the `count` highest logits in descending order, NaN left out (SA-2).
pub fn best(logits: &[f32], count: usize) -> Vec<u32> {
    let descending = |a: &u32, b: &u32| {
        let (left, right) = (logits[*a as usize], logits[*b as usize]);
        if cfg!(bug = "nan_retained") && (left.is_nan() || right.is_nan()) {
            return right.total_cmp(&left).then(a.cmp(b));
        }
        let ties = if cfg!(option = "sa2_higher_id_first") { b.cmp(a) } else { a.cmp(b) };
        right.partial_cmp(&left).unwrap_or(Ordering::Equal).then(ties)
    };
    let mut ids: Vec<u32> =
        (0..logits.len() as u32).filter(|&id| cfg!(bug = "nan_retained") || !logits[id as usize].is_nan()).collect();
    if count < ids.len() {
        ids.select_nth_unstable_by(count, descending);
        ids.truncate(count);
    }
    ids.sort_unstable_by(descending);
    ids
}

/// The unnormalised weight of every retained candidate (SA-3).
fn weights(logits: &[f32], retained: &[u32], temperature: f32) -> Vec<f32> {
    let highest = retained.first().map_or(0.0, |&id| logits[id as usize]);
    let weight = |&id: &u32| {
        let logit = logits[id as usize];
        if cfg!(option = "sa3_temperature_first") {
            (logit - highest).exp()
        } else if cfg!(bug = "temperature_multiplied") {
            ((logit - highest) * temperature).exp()
        } else if cfg!(bug = "weights_without_maximum") {
            (logit / temperature).exp()
        } else {
            tempered(logit - highest, temperature).exp()
        }
    };
    retained.iter().map(weight).collect()
}

/// A logit, or a distance of two, after the temperature (SA-3).
fn tempered(value: f32, temperature: f32) -> f32 {
    if cfg!(option = "sa3_reciprocal") {
        value * (1.0 / temperature)
    } else {
        value / temperature
    }
}

/// The sum in retained order (SA-4).
fn sum(weights: &[f32]) -> f32 {
    let mut total = 0.0f32;
    for weight in weights {
        total += weight;
    }
    total
}

/// The length and the cumulative weight of the prefix that top-p keeps (SA-5).
fn nucleus(weights: &[f32], top_p: f32, total: f32) -> (usize, f32) {
    if cfg!(bug = "top_p_sum_in_f64") {
        return nucleus_in_f64(weights, top_p, total);
    }
    let threshold = if cfg!(bug = "top_p_ignores_total") { top_p } else { top_p * total };
    let mut cumulative = 0.0f32;
    for (index, weight) in weights.iter().enumerate() {
        let before = cumulative;
        cumulative += weight;
        let crossed =
            if cfg!(option = "sa5_strictly_greater") { cumulative > threshold } else { cumulative >= threshold };
        if crossed && cfg!(option = "sa5_drop_crossing") && index > 0 {
            return (index, before);
        }
        if crossed {
            return (index + 1, cumulative);
        }
    }
    (weights.len(), cumulative)
}

fn nucleus_in_f64(weights: &[f32], top_p: f32, total: f32) -> (usize, f32) {
    let threshold = top_p as f64 * total as f64;
    let mut cumulative = 0.0f64;
    for (index, &weight) in weights.iter().enumerate() {
        cumulative += weight as f64;
        if cumulative >= threshold {
            return (index + 1, cumulative as f32);
        }
    }
    (weights.len(), cumulative as f32)
}

/// The index of the first candidate whose running sum passes `point` (SA-6).
fn walk(weights: &[f32], point: f32) -> usize {
    if cfg!(bug = "walk_from_the_end") {
        return weights.len() - 1 - walk_forward(weights.iter().rev(), point, weights.len());
    }
    walk_forward(weights.iter(), point, weights.len())
}

fn walk_forward<'a>(weights: impl Iterator<Item = &'a f32>, point: f32, count: usize) -> usize {
    let mut sum = 0.0f32;
    for (index, weight) in weights.enumerate() {
        sum += weight;
        if point < sum || (cfg!(option = "sa6_less_or_equal") && point == sum) {
            return index;
        }
    }
    count - 1
}
