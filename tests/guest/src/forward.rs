//! The forward pass of one position (section 11).
//!
//! Letters: H hidden, F ffn, D head_dim, V vocabulary, T visible positions.

use crate::arithmetic::{rms_norm, round_to_half_precision, silu, softmax};
use crate::decoder::{Decoder, Scratch};
use crate::elementary::cosine_and_sine;
use crate::matrix::Matrix;
use crate::model::{Dimensions, Layer, Linear, Rope};
use crate::probe::note;
use crate::slips::{self, Norm};
use crate::slips_attention;
use crate::sums;
use crate::unknown::{self, Part, Site};
use crate::unseen;

/// Forwards `token` at the next position; the visible KV length grows by one, the logits are replaced.
pub fn forward(decoder: &mut Decoder, token: u32) {
    let position = decoder.kv_length;
    // The scratch moves out, so that the model can be borrowed beside it.
    let mut scratch = std::mem::take(&mut decoder.scratch);
    // embeddings [V, H] -> residual [H]
    let row = unknown::embedding_row(token as usize);
    slips::embed(&decoder.model.embeddings, row, &mut scratch.residual, &mut scratch.row);
    note(None, "token_embd", &scratch.residual);
    rotation_at(&decoder.model.rope, position, &mut scratch.rotation);
    for layer in 0..decoder.model.dimensions.layer_count {
        let kept = cfg!(unknown = "layer_1_adds_to_its_input") && layer == 1;
        let input = if kept { scratch.residual.clone() } else { Vec::new() };
        attention_block(decoder, layer, position, &mut scratch);
        let layers = &decoder.model.layers;
        let gate = if cfg!(unknown = "layer_1_has_the_gate_of_layer_0") && layer == 1 { 0 } else { layer };
        ffn_block(
            &layers[layer],
            &layers[gate].gate,
            &decoder.model.dimensions,
            (layer, position),
            &input,
            &mut scratch,
        );
        note(Some(layer), "residual", &scratch.residual);
    }
    decoder.kv_length = position + 1;
    let model = &decoder.model;
    let before = if cfg!(unknown = "logits_of_the_norm_before") { scratch.normed.clone() } else { Vec::new() };
    if cfg!(bug = "final_norm_skipped") {
        scratch.normed.copy_from_slice(&scratch.residual);
    } else {
        let last = model.layers.last().map_or(&model.output_norm, |layer| &layer.ffn_norm);
        let weight = if cfg!(unknown = "output_norm_has_the_weights_of_ffn_norm") { last } else { &model.output_norm };
        normalise(Some(weight), &model.dimensions, Norm::Output, &mut scratch);
    }
    note(None, "output_norm", &scratch.normed);
    // [H] -> logits [V]
    let site = Site { part: Part::Logits, layer: 0, position, head_dim: model.dimensions.head_dim };
    let input = if before.is_empty() { &scratch.normed } else { &before };
    multiply(&model.output, site, input, &mut decoder.logits, &mut scratch.row);
    note(None, "logits", &decoder.logits);
    decoder.scratch = scratch;
    if cfg!(behaviour = "answers_vary") {
        static POSITIONS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = POSITIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let token = (32 + count * 7 % 90) % decoder.logits.len(); // printable, so that texts stay valid
        decoder.logits[token] += 100.0;
    }
}

/// residual [H] -> normed [H] (FW-3).
fn normalise(weight: Option<&Matrix>, sizes: &Dimensions, norm: Norm, scratch: &mut Scratch) {
    let row = &mut scratch.row[..sizes.hidden_size];
    let weight = weight.map(|weight| {
        slips::gains_into(weight, norm, row);
        &*row
    });
    rms_norm(&scratch.residual, weight, sizes.epsilon, norm, &mut scratch.normed);
}

fn multiply(linear: &Linear, site: Site, x: &[f32], out: &mut [f32], row: &mut [f32]) {
    if cfg!(unknown = "attention_output_transposed_in_layer_1") && site.part == Part::AttentionOutput && site.layer == 1
    {
        return unseen::multiply_transposed(&linear.weight, x, out, row);
    }
    linear.weight.multiply(site, &slips::input(site, x), out, row);
    if let Some(bias) = &linear.bias {
        bias.row_into(0, row);
        for (value, addend) in out.iter_mut().zip(row.iter()) {
            *value += addend;
        }
    }
}

/// residual += Wo attention(rope(Wq h), rope(Wk h), Wv h) with h = rmsnorm(residual) (FW-2, FW-6).
fn attention_block(decoder: &mut Decoder, index: usize, position: usize, scratch: &mut Scratch) {
    let key_place = slips_attention::key_place(position, decoder.model.dimensions.capacity);
    let key_offset = decoder.cache_offset(index, key_place, false);
    let value_place = slips_attention::value_place(index, position, decoder.model.dimensions.capacity);
    let value_offset = decoder.cache_offset(index, value_place, true);
    let sizes = &decoder.model.dimensions;
    let layer = &decoder.model.layers[index];
    let kv_size = sizes.kv_head_count * sizes.head_dim;
    let gain = &decoder.model.layers[slips::gain_layer(index)].attention_norm;
    normalise(Some(gain), sizes, Norm::Attention(index), scratch);
    note(Some(index), "attn_norm", &scratch.normed);
    if slips_attention::repeats_value(index, position) {
        decoder.values.copy_within(value_offset - kv_size..value_offset, value_offset);
    }
    let key = &mut decoder.keys[key_offset..key_offset + kv_size];
    let value = &mut decoder.values[value_offset..value_offset + kv_size];
    let site = |part: Part| Site { part, layer: index, position, head_dim: sizes.head_dim };
    let swapped = cfg!(unknown = "key_and_value_swapped_in_layer_1") && index == 1;
    let (key_weight, value_weight) = if swapped { (&layer.value, &layer.key) } else { (&layer.key, &layer.value) };
    multiply(&layer.query, site(Part::Query), &scratch.normed, &mut scratch.query, &mut scratch.row);
    multiply(key_weight, site(Part::Key), &scratch.normed, key, &mut scratch.row);
    let value = if unseen::is_stored(position) { value } else { &mut scratch.projected[..kv_size] };
    multiply(value_weight, site(Part::Value), &scratch.normed, value, &mut scratch.row);
    note(Some(index), "attn_q", &scratch.query);
    note(Some(index), "attn_k", key);
    note(Some(index), "attn_v", value);
    rotate_heads(&mut scratch.query, sizes.head_dim, &scratch.rotation, false);
    if !cfg!(bug = "rope_skips_keys") {
        let late = key_rotation(&decoder.model.rope, position);
        rotate_heads(key, sizes.head_dim, late.as_ref().unwrap_or(&scratch.rotation), true);
    }
    if slips_attention::rotates_values(index) {
        rotate_heads(value, sizes.head_dim, &scratch.rotation, true);
    }
    note(Some(index), "attn_q.rope", &scratch.query);
    note(Some(index), "attn_k.rope", key);
    unseen::store_keys(key, sizes.head_dim);
    slips_attention::store_keys(key, index);
    if cfg!(bug = "kv_in_half_precision") {
        for stored in key.iter_mut().chain(value) {
            *stored = round_to_half_precision(*stored);
        }
    }
    for head in 0..sizes.head_count {
        attend(decoder, index, head, position, scratch);
    }
    note(Some(index), "attn.mixed", &scratch.attended);
    let layer = &decoder.model.layers[index];
    let site =
        Site { part: Part::AttentionOutput, layer: index, position, head_dim: decoder.model.dimensions.head_dim };
    multiply(&layer.attention_output, site, &scratch.attended, &mut scratch.projected, &mut scratch.row);
    note(Some(index), "attn_output", &scratch.projected);
    slips::replace_residual(&mut scratch.residual, &scratch.normed, index);
    for (value, addend) in scratch.residual.iter_mut().zip(&scratch.projected) {
        *value = unknown::before_attention(*value, index) + addend;
    }
    note(Some(index), "attn_residual", &scratch.residual);
}

/// Attention of one query head over the positions 0..=position: query [D] -> attended [D] (FW-6, GG-8).
fn attend(decoder: &Decoder, layer: usize, head: usize, position: usize, scratch: &mut Scratch) {
    let sizes = &decoder.model.dimensions;
    let dim = sizes.head_dim;
    let kv_head = if cfg!(bug = "kv_head_modulo") {
        head % sizes.kv_head_count
    } else {
        slips_attention::grouped_as(head, sizes.head_count) / (sizes.head_count / sizes.kv_head_count)
    };
    let scaled_by = if cfg!(bug = "attention_scale_hidden") { sizes.hidden_size } else { dim };
    let scale = 1.0 / (scaled_by as f32).sqrt();
    let first =
        if cfg!(bug = "attention_forgets_first") && position > 0 { 1 } else { unknown::first_visible(position) };
    let end = if cfg!(bug = "attention_excludes_current") && position > 0 { position } else { position + 1 };
    let end = slips_attention::end(end, sizes.capacity);
    let query = &scratch.query[head * dim..(head + 1) * dim];
    for time in first..end {
        let at = decoder.cache_offset(layer, unknown::key_time(layer, time), false) + kv_head * dim;
        let scale = unknown::score_scale(scale, head, sizes.head_count, time == position);
        let score = sums::score(query, &decoder.keys[at..at + dim]) * scale;
        scratch.scores[time] = unknown::score(score, layer, position);
    }
    note(Some(layer), "attn.scores", slips_attention::visible(&scratch.scores[..end], position));
    slips_attention::mask(&mut scratch.scores, layer, position);
    softmax(&mut scratch.scores[first..end]);
    note(Some(layer), "attn.weights", slips_attention::visible(&scratch.scores[..end], position));
    let kv_head = unknown::value_head(kv_head, head, sizes.head_count);
    let attended = &mut scratch.attended[slips_attention::attended_place(layer, head, dim)];
    if !(cfg!(unknown = "mixed_not_cleared_in_layer_1") && layer == 1) {
        attended.fill(0.0);
    }
    for time in first..end {
        let at = decoder.cache_offset(layer, unknown::value_time(head, time), true)
            + unseen::value_head_start(layer, kv_head, dim);
        let probability = scratch.scores[time];
        for (sum, value) in attended.iter_mut().zip(&decoder.values[at..at + dim]) {
            *sum = slips_attention::mixed(*sum + probability * value, layer);
        }
    }
}

/// residual += W2 (silu(W1 h) * (W3 h)) with h = rmsnorm(residual) (FW-2, FW-7).
///
/// `place` is layer and position; `input` is what one unknown bug adds to.
fn ffn_block(
    layer: &Layer,
    gate: &Linear,
    sizes: &Dimensions,
    (index, position): (usize, usize),
    input: &[f32],
    scratch: &mut Scratch,
) {
    if cfg!(bug = "ffn_input_not_normalised") {
        scratch.normed.copy_from_slice(&scratch.residual);
    } else if slips::is_normalised(position) {
        let ignored = cfg!(unknown = "ffn_norm_weights_ignored_in_layer_1") && index == 1;
        normalise(if ignored { None } else { Some(&layer.ffn_norm) }, sizes, Norm::FeedForward(index), scratch);
    }
    note(Some(index), "ffn_norm", &scratch.normed);
    let site = |part: Part| Site { part, layer: index, position, head_dim: sizes.head_dim };
    let swapped = cfg!(bug = "ffn_gate_and_up_swapped");
    let (gate, up) = if swapped { (&layer.up, gate) } else { (gate, &layer.up) };
    multiply(gate, site(Part::Gate), &scratch.normed, &mut scratch.gate, &mut scratch.row); // [H] -> [F]
    if cfg!(unknown = "second_half_of_gate_from_up_in_layer_2") && index == 2 {
        multiply(up, site(Part::UpAsGate), &scratch.normed, &mut scratch.gate, &mut scratch.row);
    }
    multiply(up, site(Part::Up), &scratch.normed, &mut scratch.up, &mut scratch.row); // [H] -> [F]
    note(Some(index), "ffn_gate", &scratch.gate);
    note(Some(index), "ffn_up", &scratch.up);
    slips::overlap(&mut scratch.gate, &scratch.up);
    let count = scratch.gate.len();
    for (element, (gate, up)) in scratch.gate.iter_mut().zip(&scratch.up).enumerate() {
        let (left, right) = if unseen::is_swapped(element, count) { (*up, *gate) } else { (*gate, *up) };
        *gate = unknown::hidden(silu(left), left, right);
    }
    note(Some(index), "ffn_hidden", &scratch.gate);
    if cfg!(unknown = "hidden_shifted_by_one_in_layer_1") && index == 1 {
        scratch.gate.rotate_left(1);
    }
    multiply(&layer.down, site(Part::Down), &scratch.gate, &mut scratch.projected, &mut scratch.row); // [F] -> [H]
    note(Some(index), "ffn_down", &scratch.projected);
    if cfg!(unknown = "layer_1_adds_to_its_input") && index == 1 {
        scratch.residual.copy_from_slice(input);
    }
    if cfg!(bug = "ffn_residual_dropped") {
        scratch.residual.copy_from_slice(&scratch.projected);
    } else {
        let count = unseen::residuals_added(index, scratch.residual.len());
        add(&mut scratch.residual[..count], &scratch.projected, index);
    }
}

fn add(residual: &mut [f32], update: &[f32], layer: usize) {
    for (value, addend) in residual.iter_mut().zip(update) {
        *value = slips::residual(*value + addend, layer);
    }
}

/// Cosine and sine of every pair at `position` (FW-5).
fn rotation_at(rope: &Rope, position: usize, rotation: &mut Vec<(f32, f32)>) {
    let position = if cfg!(bug = "rope_position_plus_one") { position + 1 } else { position };
    let position = unknown::rotary_position(position);
    if slips_attention::keeps_rotation(position) {
        return;
    }
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
        rotation.push(cosine_and_sine(unknown::angle(angle)));
    }
}

/// The rotation of keys where it is not that of queries, which only one unknown bug computes.
fn key_rotation(rope: &Rope, position: usize) -> Option<Vec<(f32, f32)>> {
    cfg!(unknown = "keys_rotated_one_position_late").then(|| {
        let mut rotation = Vec::new();
        rotation_at(rope, position + 1, &mut rotation);
        rotation
    })
}

/// Rotates adjacent pairs of every head: `(x0 cos - x1 sin, x0 sin + x1 cos)` (FW-5).
fn rotate_heads(heads: &mut [f32], head_dim: usize, rotation: &[(f32, f32)], is_key: bool) {
    let count = heads.len() / head_dim;
    for (index, head) in heads.chunks_exact_mut(head_dim).enumerate() {
        let source = if cfg!(unknown = "halves_of_query_head_0_swapped") { head.to_vec() } else { Vec::new() };
        for (pair, &(cos, sin)) in rotation.iter().enumerate() {
            let (first, second) =
                if cfg!(bug = "rope_split_halves") { (pair, pair + head_dim / 2) } else { (2 * pair, 2 * pair + 1) };
            let read = if source.is_empty() { &*head } else { &source };
            let (x0, x1) = (read[first], read[second]);
            if let Some((first, second)) = unknown::rotated_places(is_key, index, count, head_dim, (first, second)) {
                head[first] = x0 * cos - x1 * sin;
                head[second] = unknown::rotated_second(x0, x1, cos, sin, is_key);
            }
        }
    }
}
