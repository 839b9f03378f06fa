//! The tensors of architectures beside `llama`, and the blocks that they make.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::architectures::Architecture;
use crate::architectures_sizes::Sizes;
use crate::gguf_model::Tensors;
use crate::gguf_reader::GgufFile;
use crate::matrix::Matrix;
use crate::network::{Attention, Block, Convolution, FeedForward, Gain, Mixer, Projection};
use crate::network_experts::{Experts, Gating};
use crate::status::Status;

/// Name, dimensions (columns first), whether it has to be there.
type Wanted = (String, Vec<usize>, bool);

/// The tensors of a model by name.
pub struct Found(BTreeMap<String, Matrix>);

/// Presence first (8), then shapes, then that nothing else is there (9).
pub fn find_tensors(
    file: &Arc<[u8]>,
    parsed: &GgufFile,
    architecture: Architecture,
    sizes: &Sizes,
) -> Result<Found, Status> {
    let tensors = Tensors { file, parsed, used: RefCell::new(BTreeSet::new()) };
    let mut wanted = of_the_whole(architecture, sizes);
    for layer in 0..sizes.kv_heads.len() {
        let fused = tensors.find(&format!("blk.{layer}.attn_qkv.weight")).is_some();
        let parts = of_a_layer(layer, architecture, sizes, fused).into_iter();
        wanted.extend(parts.map(|(part, dimensions, needed)| (format!("blk.{layer}.{part}"), dimensions, needed)));
    }
    for (name, _, required) in &wanted {
        if *required {
            tensors.find(name).ok_or(Status::MissingTensor)?;
        }
    }
    let mut found = BTreeMap::new();
    for (name, dimensions, _) in wanted {
        let expected: Vec<u64> = dimensions.iter().map(|&size| size as u64).collect();
        if let Some(matrix) = tensors.optional(&name, &expected)? {
            found.insert(name, matrix);
        }
    }
    tensors.check_that_all_are_used()?;
    Ok(Found(found))
}

fn of_the_whole(architecture: Architecture, sizes: &Sizes) -> Vec<Wanted> {
    let (hidden, vocabulary) = (sizes.hidden, sizes.vocabulary);
    let own_output = matches!(architecture, Architecture::GptNeox | Architecture::GptOss);
    let norm = Found::output_norm(architecture);
    let mut wanted = vec![
        ("token_embd.weight".to_string(), vec![hidden, vocabulary], true),
        (format!("{norm}.weight"), vec![hidden], true),
        ("output.weight".to_string(), vec![hidden, vocabulary], own_output),
    ];
    match architecture {
        Architecture::GptNeox => wanted.push((format!("{norm}.bias"), vec![hidden], true)),
        Architecture::Llama => wanted.push(("rope_freqs.weight".to_string(), vec![sizes.rotated / 2], false)),
        _ => {}
    }
    wanted
}

/// What a layer has, its names without `blk.N.`; queries, keys and values are `fused` in one matrix or lie apart.
fn of_a_layer(layer: usize, architecture: Architecture, sizes: &Sizes, fused: bool) -> Vec<Wanted> {
    let (hidden, ffn, head_dim) = (sizes.hidden, sizes.ffn, sizes.head_dim);
    let (queries, keys) = (sizes.heads * head_dim, sizes.kv_heads[layer] * head_dim);
    let (experts, expert_ffn) = (sizes.experts, sizes.expert_ffn);
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |part: &str, dimensions: &[usize], bias: Option<bool>| {
        wanted.push((format!("{part}.weight"), dimensions.to_vec(), true));
        if let Some(required) = bias {
            wanted.push((format!("{part}.bias"), dimensions[1..].to_vec(), required));
        }
    };
    add("attn_norm", &[hidden], None);
    if keys > 0 {
        let required = architecture == Architecture::GptNeox;
        if fused || required {
            add("attn_qkv", &[hidden, queries + 2 * keys], Some(required));
        } else {
            for (part, size) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
                add(part, &[hidden, size], Some(false));
            }
        }
    }
    match architecture {
        Architecture::Phi3 => {
            add("attn_output", &[queries, hidden], None);
            add("ffn_norm", &[hidden], None);
            add("ffn_up", &[hidden, 2 * ffn], None);
            add("ffn_down", &[ffn, hidden], None);
        }
        Architecture::GptNeox => {
            add("attn_output", &[queries, hidden], Some(true));
            add("ffn_norm", &[hidden], None);
            add("ffn_up", &[hidden, ffn], Some(true));
            add("ffn_down", &[ffn, hidden], Some(true));
        }
        Architecture::Llama | Architecture::GptOss => {
            let gpt_oss = architecture == Architecture::GptOss;
            add("attn_output", &[queries, hidden], Some(gpt_oss));
            if gpt_oss {
                add("attn_sinks", &[sizes.heads], None);
                add("post_attention_norm", &[hidden], None);
                add("ffn_gate_inp", &[hidden, experts], Some(true));
                add("ffn_gate_exps", &[hidden, expert_ffn, experts], Some(true));
                add("ffn_up_exps", &[hidden, expert_ffn, experts], Some(true));
                add("ffn_down_exps", &[expert_ffn, hidden, experts], Some(true));
            } else {
                add("ffn_norm", &[hidden], None);
                add("ffn_gate", &[hidden, ffn], Some(false));
                add("ffn_up", &[hidden, ffn], Some(false));
                add("ffn_down", &[ffn, hidden], Some(false));
            }
        }
        Architecture::Lfm2Moe => {
            if keys == 0 {
                add("shortconv.in_proj", &[hidden, 3 * hidden], None);
                add("shortconv.conv", &[sizes.convolution, hidden], None);
                add("shortconv.out_proj", &[hidden, hidden], None);
            } else {
                add("attn_q_norm", &[head_dim], None);
                add("attn_k_norm", &[head_dim], None);
                add("attn_output", &[queries, hidden], None);
            }
            add("ffn_norm", &[hidden], None);
            if layer < sizes.dense_layers {
                add("ffn_gate", &[hidden, ffn], None);
                add("ffn_up", &[hidden, ffn], None);
                add("ffn_down", &[ffn, hidden], None);
            } else {
                add("ffn_gate_inp", &[hidden, experts], None);
                add("ffn_gate_exps", &[hidden, expert_ffn, experts], None);
                add("ffn_up_exps", &[hidden, expert_ffn, experts], None);
                add("ffn_down_exps", &[expert_ffn, hidden, experts], None);
                wanted.push(("exp_probs_b.bias".to_string(), vec![experts], true));
            }
        }
    }
    if architecture == Architecture::GptNeox {
        for norm in ["attn_norm", "ffn_norm"] {
            wanted.push((format!("{norm}.bias"), vec![hidden], true));
        }
    }
    wanted
}

impl Found {
    /// The norm before the output, which lfm2moe calls by another name.
    pub fn output_norm(architecture: Architecture) -> &'static str {
        if architecture == Architecture::Lfm2Moe {
            "token_embd_norm"
        } else {
            "output_norm"
        }
    }

    pub fn matrix(&self, name: &str) -> Result<Matrix, Status> {
        self.0.get(name).cloned().ok_or(Status::MissingTensor)
    }

    /// All numbers of a tensor, if it is there.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        self.0.get(name).map(|matrix| {
            let mut values = vec![0.0; matrix.rows * matrix.columns];
            for (row, part) in values.chunks_exact_mut(matrix.columns).enumerate() {
                matrix.row_into(row, part);
            }
            values
        })
    }

    pub fn gain(&self, name: &str) -> Result<Gain, Status> {
        let weight = self.values(&format!("{name}.weight")).ok_or(Status::MissingTensor)?;
        Ok(Gain { weight, bias: self.values(&format!("{name}.bias")) })
    }

    fn projection(&self, name: &str) -> Result<Projection, Status> {
        let weight = self.matrix(&format!("{name}.weight"))?;
        Ok(Projection { weight, bias: self.values(&format!("{name}.bias")) })
    }

    /// One layer, put together.
    pub fn block(&self, layer: usize, architecture: Architecture, sizes: &Sizes) -> Result<Block, Status> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let between = if architecture == Architecture::GptOss { "post_attention_norm" } else { "ffn_norm" };
        let mixer = if sizes.kv_heads[layer] == 0 {
            Mixer::Convolution(self.convolution(layer, sizes)?)
        } else {
            Mixer::Attention(self.attention(layer, architecture, sizes)?)
        };
        Ok(Block {
            mixer_norm: self.gain(&name("attn_norm"))?,
            mixer,
            feed_forward_norm: self.gain(&name(between))?,
            feed_forward: self.feed_forward(layer, architecture, sizes)?,
            parallel: sizes.parallel,
        })
    }

    fn attention(&self, layer: usize, architecture: Architecture, sizes: &Sizes) -> Result<Attention, Status> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let fused = self.0.contains_key(&name("attn_qkv.weight"));
        let parts: &[&str] = if fused { &["attn_qkv"] } else { &["attn_q", "attn_k", "attn_v"] };
        let inputs = parts.iter().map(|part| self.projection(&name(part)));
        let head_norms = match architecture {
            Architecture::Lfm2Moe => Some([self.gain(&name("attn_q_norm"))?, self.gain(&name("attn_k_norm"))?]),
            _ => None,
        };
        // Every other layer of gpt-oss has the window, the first one too.
        let windowed = architecture != Architecture::GptOss || layer % 2 == 0;
        Ok(Attention {
            inputs: inputs.collect::<Result<_, _>>()?,
            output: self.projection(&name("attn_output"))?,
            kv_heads: sizes.kv_heads[layer],
            head_norms,
            window: if windowed { sizes.window } else { None },
            sinks: self.values(&name("attn_sinks.weight")),
        })
    }

    fn convolution(&self, layer: usize, sizes: &Sizes) -> Result<Convolution, Status> {
        let name = |part: &str| format!("blk.{layer}.shortconv.{part}");
        let mut history = Vec::new();
        let needed = sizes.capacity().checked_mul(sizes.hidden).ok_or(Status::InvalidHeader)?;
        history.try_reserve_exact(needed).map_err(|_| Status::InvalidHeader)?;
        history.resize(needed, 0.0);
        Ok(Convolution {
            input: self.projection(&name("in_proj"))?,
            output: self.projection(&name("out_proj"))?,
            kernel: self.values(&name("conv.weight")).ok_or(Status::MissingTensor)?,
            length: sizes.convolution,
            history,
        })
    }

    fn feed_forward(&self, layer: usize, architecture: Architecture, sizes: &Sizes) -> Result<FeedForward, Status> {
        let projection = |part: &str| self.projection(&format!("blk.{layer}.{part}"));
        if architecture.has_experts() && layer >= sizes.dense_layers {
            let gating = match architecture {
                Architecture::GptOss => Gating::ChosenScores,
                _ => Gating::Renormalised {
                    sigmoid: sizes.sigmoid,
                    bias: self.values(&format!("blk.{layer}.exp_probs_b.bias")).ok_or(Status::MissingTensor)?,
                },
            };
            return Ok(FeedForward::Experts(Experts {
                router: projection("ffn_gate_inp")?,
                gate: projection("ffn_gate_exps")?,
                up: projection("ffn_up_exps")?,
                down: projection("ffn_down_exps")?,
                count: sizes.experts,
                used: sizes.experts_used,
                gating,
            }));
        }
        let down = projection("ffn_down")?;
        Ok(match architecture {
            Architecture::GptNeox => FeedForward::Gelu { up: projection("ffn_up")?, down },
            Architecture::Phi3 => FeedForward::Gated { inputs: vec![projection("ffn_up")?], down },
            _ => FeedForward::Gated { inputs: vec![projection("ffn_gate")?, projection("ffn_up")?], down },
        })
    }
}
