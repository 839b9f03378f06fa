//! The forward pass of one position (section 11).
//!
//! Letters: H hidden, F ffn, D head_dim, V vocabulary, T visible positions.

use crate::arithmetic::{rms_norm, round_to_half_precision, silu, softmax, sum_of_products};
use crate::decoder::{Decoder, Scratch};
use crate::matrix::Matrix;
use crate::model::{Dimensions, Layer, Linear, Rope};

/// Forwards `token` at the next position; the visible KV length grows by one, the logits are replaced.
pub fn forward(decoder: &mut Decoder, token: u32) {
    let position = decoder.kv_length;
    // The scratch moves out, so that the model can be borrowed beside it.
    let mut scratch = std::mem::take(&mut decoder.scratch);
    // embeddings [V, H] -> residual [H]
    decoder.model.embeddings.row_into(token as usize, &mut scratch.residual);
    rotation_at(&decoder.model.rope, position, &mut scratch.rotation);
    for layer in 0..decoder.model.dimensions.layer_count {
        attention_block(decoder, layer, position, &mut scratch);
        ffn_block(&decoder.model.layers[layer], &decoder.model.dimensions, &mut scratch);
    }
    decoder.kv_length = position + 1;
    let model = &decoder.model;
    if cfg!(bug = "final_norm_skipped") {
        scratch.normed.copy_from_slice(&scratch.residual);
    } else {
        normalise(&model.output_norm, &model.dimensions, &mut scratch);
    }
    // [H] -> logits [V]
    multiply(&model.output, &scratch.normed, &mut decoder.logits, &mut scratch.row);
    decoder.scratch = scratch;
    if cfg!(behaviour = "answers_vary") {
        static POSITIONS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = POSITIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let vocabulary = decoder.logits.len();
        decoder.logits[count * 7 % vocabulary] += 100.0;
    }
}

/// residual [H] -> normed [H] (FW-3).
fn normalise(weight: &Matrix, sizes: &Dimensions, scratch: &mut Scratch) {
    let row = &mut scratch.row[..sizes.hidden_size];
    weight.row_into(0, row);
    rms_norm(&scratch.residual, row, sizes.epsilon, &mut scratch.normed);
}

fn multiply(linear: &Linear, x: &[f32], out: &mut [f32], row: &mut [f32]) {
    linear.weight.multiply(x, out, row);
    if let Some(bias) = &linear.bias {
        bias.row_into(0, row);
        for (value, addend) in out.iter_mut().zip(row.iter()) {
            *value += addend;
        }
    }
}

/// residual += Wo attention(rope(Wq h), rope(Wk h), Wv h) with h = rmsnorm(residual) (FW-2, FW-6).
fn attention_block(decoder: &mut Decoder, index: usize, position: usize, scratch: &mut Scratch) {
    let offset = decoder.cache_offset(index, position);
    let sizes = &decoder.model.dimensions;
    let layer = &decoder.model.layers[index];
    let kv_size = sizes.kv_head_count * sizes.head_dim;
    normalise(&layer.attention_norm, sizes, scratch);
    let key = &mut decoder.keys[offset..offset + kv_size];
    let value = &mut decoder.values[offset..offset + kv_size];
    multiply(&layer.query, &scratch.normed, &mut scratch.query, &mut scratch.row);
    multiply(&layer.key, &scratch.normed, key, &mut scratch.row);
    multiply(&layer.value, &scratch.normed, value, &mut scratch.row);
    rotate_heads(&mut scratch.query, sizes.head_dim, &scratch.rotation);
    if !cfg!(bug = "rope_skips_keys") {
        rotate_heads(key, sizes.head_dim, &scratch.rotation);
    }
    if cfg!(bug = "kv_in_half_precision") {
        for stored in key.iter_mut().chain(value) {
            *stored = round_to_half_precision(*stored);
        }
    }
    for head in 0..sizes.head_count {
        attend(decoder, index, head, position, scratch);
    }
    let layer = &decoder.model.layers[index];
    multiply(&layer.attention_output, &scratch.attended, &mut scratch.projected, &mut scratch.row);
    add(&mut scratch.residual, &scratch.projected);
}

/// Attention of one query head over the positions 0..=position: query [D] -> attended [D] (FW-6, GG-8).
fn attend(decoder: &Decoder, layer: usize, head: usize, position: usize, scratch: &mut Scratch) {
    let sizes = &decoder.model.dimensions;
    let dim = sizes.head_dim;
    let kv_head = if cfg!(bug = "kv_head_modulo") {
        head % sizes.kv_head_count
    } else {
        head / (sizes.head_count / sizes.kv_head_count)
    };
    let scaled_by = if cfg!(bug = "attention_scale_hidden") { sizes.hidden_size } else { dim };
    let scale = 1.0 / (scaled_by as f32).sqrt();
    let first = if cfg!(bug = "attention_forgets_first") && position > 0 { 1 } else { 0 };
    let end = if cfg!(bug = "attention_excludes_current") && position > 0 { position } else { position + 1 };
    let query = &scratch.query[head * dim..(head + 1) * dim];
    for time in first..end {
        let at = decoder.cache_offset(layer, time) + kv_head * dim;
        scratch.scores[time] = sum_of_products(query, &decoder.keys[at..at + dim]) * scale;
    }
    softmax(&mut scratch.scores[first..end]);
    let attended = &mut scratch.attended[head * dim..(head + 1) * dim];
    attended.fill(0.0);
    for time in first..end {
        let at = decoder.cache_offset(layer, time) + kv_head * dim;
        let probability = scratch.scores[time];
        for (sum, value) in attended.iter_mut().zip(&decoder.values[at..at + dim]) {
            *sum += probability * value;
        }
    }
}

/// residual += W2 (silu(W1 h) * (W3 h)) with h = rmsnorm(residual) (FW-2, FW-7).
fn ffn_block(layer: &Layer, sizes: &Dimensions, scratch: &mut Scratch) {
    if cfg!(bug = "ffn_input_not_normalised") {
        scratch.normed.copy_from_slice(&scratch.residual);
    } else {
        normalise(&layer.ffn_norm, sizes, scratch);
    }
    let swapped = cfg!(bug = "ffn_gate_and_up_swapped");
    let (gate, up) = if swapped { (&layer.up, &layer.gate) } else { (&layer.gate, &layer.up) };
    multiply(gate, &scratch.normed, &mut scratch.gate, &mut scratch.row); // [H] -> [F]
    multiply(up, &scratch.normed, &mut scratch.up, &mut scratch.row); // [H] -> [F]
    for (gate, up) in scratch.gate.iter_mut().zip(&scratch.up) {
        *gate = silu(*gate) * up;
    }
    multiply(&layer.down, &scratch.gate, &mut scratch.projected, &mut scratch.row); // [F] -> [H]
    if cfg!(bug = "ffn_residual_dropped") {
        scratch.residual.copy_from_slice(&scratch.projected);
    } else {
        add(&mut scratch.residual, &scratch.projected);
    }
}

fn add(residual: &mut [f32], update: &[f32]) {
    for (value, addend) in residual.iter_mut().zip(update) {
        *value += addend;
    }
}

/// Cosine and sine of every pair at `position` (FW-5).
fn rotation_at(rope: &Rope, position: usize, rotation: &mut Vec<(f32, f32)>) {
    let position = if cfg!(bug = "rope_position_plus_one") { position + 1 } else { position };
    rotation.clear();
    for (pair, frequency) in rope.frequencies.iter().enumerate() {
        let mut angle = position as f32 * frequency;
        if let Some(factors) = &rope.factors {
            angle /= factors[pair];
        }
        if let Some(scale) = rope.scale {
            angle *= scale;
        }
        let angle = if cfg!(bug = "rope_reversed") { -angle } else { angle };
        rotation.push((angle.cos(), angle.sin()));
    }
}

/// Rotates adjacent pairs of every head: `(x0 cos - x1 sin, x0 sin + x1 cos)` (FW-5).
fn rotate_heads(heads: &mut [f32], head_dim: usize, rotation: &[(f32, f32)]) {
    for head in heads.chunks_exact_mut(head_dim) {
        for (pair, &(cos, sin)) in rotation.iter().enumerate() {
            let (first, second) =
                if cfg!(bug = "rope_split_halves") { (pair, pair + head_dim / 2) } else { (2 * pair, 2 * pair + 1) };
            let (x0, x1) = (head[first], head[second]);
            head[first] = x0 * cos - x1 * sin;
            head[second] = x0 * sin + x1 * cos;
        }
    }
}
