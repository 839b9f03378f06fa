//! The forward pass of architectures beside `llama`: norms, mixers and feed-forward blocks put together (GG-11 to GG-15).
//!
//! Letters: H hidden, F ffn, D head_dim, T visible positions. A position costs some allocations; clarity matters more.

use std::ops::Range;

use crate::arithmetic::{rms_norm, silu, softmax};
use crate::decoder::Decoder;
use crate::matrix::Matrix;
use crate::model::Dimensions;
use crate::network_experts::Experts;
use crate::network_formulas::{added, gelu, layer_norm, softmax_with_sink};
use crate::network_rotation::{rotate, rotation_at, Yarn};
use crate::probe::note;
use crate::slips::Norm;
use crate::sums;

/// What an architecture has instead of the layers of section 11.
pub struct Network {
    pub blocks: Vec<Block>,
    pub output_norm: Gain,
    pub yarn: Option<Yarn>,
    /// Whether rotated pairs are halves of what is rotated, not neighbours.
    pub halves: bool,
}

pub struct Block {
    pub mixer_norm: Gain,
    pub mixer: Mixer,
    pub feed_forward_norm: Gain,
    pub feed_forward: FeedForward,
    /// Whether the feed-forward block reads what the mixer read.
    pub parallel: bool,
}

pub enum Mixer {
    Attention(Attention),
    Convolution(Convolution),
}

/// `inputs` give queries, keys and values, one behind the other, from one matrix or three.
pub struct Attention {
    pub inputs: Vec<Projection>,
    pub output: Projection,
    pub kv_heads: usize,
    /// Norms of each head of queries and of keys.
    pub head_norms: Option<[Gain; 2]>,
    pub window: Option<usize>,
    pub sinks: Option<Vec<f32>>,
}

/// A short convolution between two gates; `history` has what was convolved, position by position.
pub struct Convolution {
    pub input: Projection,
    pub output: Projection,
    /// [H, length]
    pub kernel: Vec<f32>,
    pub length: usize,
    pub history: Vec<f32>,
}

pub enum FeedForward {
    /// Gate and up, one behind the other, from one matrix or two.
    Gated {
        inputs: Vec<Projection>,
        down: Projection,
    },
    Gelu {
        up: Projection,
        down: Projection,
    },
    Experts(Experts),
}

/// The weights of a norm; with a bias it is a LayerNorm, without one an RMS norm.
pub struct Gain {
    pub weight: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

impl Gain {
    fn of(&self, x: &[f32], epsilon: f32) -> Vec<f32> {
        match &self.bias {
            Some(bias) => layer_norm(x, &self.weight, bias, epsilon),
            None => {
                let mut normed = vec![0.0; x.len()];
                rms_norm(x, Some(&self.weight), epsilon, Norm::Output, &mut normed);
                normed
            }
        }
    }
}

/// A matrix whose bias, if it has one, is added to the finished sums; experts lie in it one behind the other.
pub struct Projection {
    pub weight: Matrix,
    pub bias: Option<Vec<f32>>,
}

impl Projection {
    pub fn count(&self) -> usize {
        self.weight.rows
    }

    pub fn of(&self, x: &[f32]) -> Vec<f32> {
        self.rows(0..self.count(), x)
    }

    /// The rows of one of `count` experts.
    pub fn part(&self, expert: usize, count: usize, x: &[f32]) -> Vec<f32> {
        let rows = self.count() / count;
        self.rows(expert * rows..(expert + 1) * rows, x)
    }

    fn rows(&self, rows: Range<usize>, x: &[f32]) -> Vec<f32> {
        let mut buffer = vec![0.0; self.weight.columns];
        let mut product = |row: usize| {
            self.weight.row_into(row, &mut buffer);
            let sum = sums::row(&buffer, x);
            self.bias.as_ref().map_or(sum, |bias| sum + bias[row])
        };
        rows.map(|row| product(row)).collect()
    }
}

/// Forwards `token` at the next position; the visible KV length grows by one, the logits are replaced.
pub fn forward(decoder: &mut Decoder, token: u32) {
    let mut network = match decoder.network.take() {
        None => return crate::forward::forward(decoder, token),
        Some(network) => network,
    };
    let position = decoder.kv_length;
    let epsilon = decoder.model.dimensions.epsilon;
    let rotation = rotation_at(&decoder.model.rope, network.yarn.as_ref(), position);
    let mut x = vec![0.0; decoder.model.dimensions.hidden_size];
    decoder.model.embeddings.row_into(token as usize, &mut x);
    note(None, "token_embd", &x);
    for (index, block) in network.blocks.iter_mut().enumerate() {
        let normed = block.mixer_norm.of(&x, epsilon);
        note(Some(index), "attn_norm", &normed);
        let mixed = match &mut block.mixer {
            Mixer::Attention(attention) => attention.mix(decoder, index, &normed, &rotation, network.halves),
            Mixer::Convolution(convolution) => convolution.mix(position, &normed),
        };
        let between = added(&x, &mixed);
        let normed = block.feed_forward_norm.of(if block.parallel { &x } else { &between }, epsilon);
        x = added(&between, &block.feed_forward.of(&normed));
        note(Some(index), "residual", &x);
    }
    let normed = network.output_norm.of(&x, epsilon);
    note(None, "output_norm", &normed);
    let output = Projection { weight: decoder.model.output.weight.clone(), bias: None };
    decoder.logits = output.of(&normed);
    note(None, "logits", &decoder.logits);
    decoder.kv_length = position + 1;
    decoder.network = Some(network);
}

impl Attention {
    /// Rotates, stores keys and values, attends: [H] -> [H].
    fn mix(&self, decoder: &mut Decoder, layer: usize, x: &[f32], rotation: &[(f32, f32)], halves: bool) -> Vec<f32> {
        let Dimensions { head_count, head_dim, epsilon, .. } = decoder.model.dimensions;
        let position = decoder.kv_length;
        let mut joined: Vec<f32> = self.inputs.iter().flat_map(|input| input.of(x)).collect();
        let (queries, rest) = joined.split_at_mut(head_count * head_dim);
        let (keys, values) = rest.split_at_mut(self.kv_heads * head_dim);
        if let Some(norms) = &self.head_norms {
            for (heads, norm) in [&mut *queries, &mut *keys].into_iter().zip(norms) {
                for head in heads.chunks_exact_mut(head_dim) {
                    head.copy_from_slice(&norm.of(head, epsilon));
                }
            }
        }
        rotate(queries, head_dim, rotation, halves);
        rotate(keys, head_dim, rotation, halves);
        let at = decoder.cache_offset(layer, position, false);
        decoder.keys[at..at + keys.len()].copy_from_slice(keys);
        let at = decoder.cache_offset(layer, position, true);
        decoder.values[at..at + values.len()].copy_from_slice(values);
        let mut mixed = Vec::new();
        for (head, query) in queries.chunks_exact(head_dim).enumerate() {
            let kv_head = head / (head_count / self.kv_heads);
            mixed.extend(self.attend(decoder, layer, head, kv_head, query));
        }
        self.output.of(&mixed)
    }

    /// One head over the visible positions: query [D] -> [D].
    fn attend(&self, decoder: &Decoder, layer: usize, head: usize, kv_head: usize, query: &[f32]) -> Vec<f32> {
        let dim = query.len();
        let position = decoder.kv_length;
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let scale = 1.0 / (dim as f32).sqrt();
        let mut weights: Vec<f32> = (first..=position)
            .map(|time| {
                let at = decoder.cache_offset(layer, time, false) + kv_head * dim;
                sums::score(query, &decoder.keys[at..at + dim]) * scale
            })
            .collect();
        match &self.sinks {
            Some(sinks) => softmax_with_sink(&mut weights, sinks[head]),
            None => softmax(&mut weights),
        }
        let mut mixed = vec![0.0f32; dim];
        for (time, weight) in (first..=position).zip(weights) {
            let at = decoder.cache_offset(layer, time, true) + kv_head * dim;
            for (sum, value) in mixed.iter_mut().zip(&decoder.values[at..at + dim]) {
                *sum += weight * value;
            }
        }
        mixed
    }
}

impl Convolution {
    /// `Wo(c * convolved(b * x))` of `b, c, x = Wi h`; zeros before position 0: [H] -> [H].
    fn mix(&mut self, position: usize, h: &[f32]) -> Vec<f32> {
        let hidden = h.len();
        let gates = self.input.of(h);
        let channels = |part: usize| &gates[part * hidden..(part + 1) * hidden];
        for (channel, (b, x)) in channels(0).iter().zip(channels(2)).enumerate() {
            self.history[position * hidden + channel] = b * x;
        }
        let mut mixed = Vec::new();
        for (channel, c) in channels(1).iter().enumerate() {
            let mut sum = 0.0f32;
            for (place, weight) in self.kernel[channel * self.length..][..self.length].iter().enumerate() {
                let time = (position + 1 + place).checked_sub(self.length);
                sum += time.map_or(0.0, |time| self.history[time * hidden + channel]) * weight;
            }
            mixed.push(c * sum);
        }
        self.output.of(&mixed)
    }
}

impl FeedForward {
    /// [H] -> [H]
    fn of(&self, x: &[f32]) -> Vec<f32> {
        match self {
            FeedForward::Gated { inputs, down } => {
                let joined: Vec<f32> = inputs.iter().flat_map(|input| input.of(x)).collect();
                let (gate, up) = joined.split_at(joined.len() / 2);
                let hidden: Vec<f32> = gate.iter().zip(up).map(|(gate, up)| silu(*gate) * up).collect();
                down.of(&hidden)
            }
            FeedForward::Gelu { up, down } => down.of(&up.of(x).into_iter().map(gelu).collect::<Vec<f32>>()),
            FeedForward::Experts(experts) => experts.of(x),
        }
    }
}
