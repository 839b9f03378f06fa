//! Hyper-parameters of architectures beside `llama`, below the name of the architecture (GG-4, GG-7, GG-10).

use crate::architectures::Architecture;
use crate::gguf_model::CAPACITY_LIMIT;
use crate::gguf_reader::{Metadata, TYPE_I32};
use crate::model::Dimensions;
use crate::status::Status;

/// Hyper-parameters below the name of the architecture.
pub struct Keys<'a> {
    pub metadata: &'a Metadata<'a>,
    pub prefix: &'static str,
}

impl Keys<'_> {
    pub fn number(&self, key: &str) -> Result<Option<u32>, Status> {
        self.metadata.u32(&format!("{}.{key}", self.prefix))
    }

    pub fn real(&self, key: &str) -> Result<Option<f32>, Status> {
        self.metadata.f32(&format!("{}.{key}", self.prefix))
    }

    /// A required size, which is not 0.
    fn size(&self, key: &str) -> Result<usize, Status> {
        match self.number(key)? {
            Some(size) if size > 0 => Ok(size as usize),
            _ => Err(Status::InvalidHeader),
        }
    }

    /// One number for each layer, written once or as an array.
    fn of_layers(&self, key: &str, layers: usize, default: usize) -> Result<Vec<usize>, Status> {
        if let Ok(one) = self.number(key) {
            return Ok(vec![one.map_or(default, |one| one as usize); layers]);
        }
        match self.metadata.array(&format!("{}.{key}", self.prefix), TYPE_I32)? {
            Some((count, bytes)) if count == layers => {
                let number = |word: &[u8]| i32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                let numbers = bytes.chunks_exact(4).map(|word| usize::try_from(number(word)));
                numbers.collect::<Result<_, _>>().map_err(|_| Status::InvalidHeader)
            }
            _ => Err(Status::InvalidHeader),
        }
    }

    pub fn refuse_what_is_not_written_here(&self, architecture: Architecture) -> Result<(), Status> {
        let causal = self.metadata.bool(&format!("{}.attention.causal", self.prefix))?.unwrap_or(true);
        let factor = self.real("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let others = ["rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor", "expert_weights_scale"];
        let mut absent = true;
        for key in others.iter().chain(&["rope.scaling.yarn_log_multiplier", "rope.freq_base_swa"]) {
            absent &= self.real(key)?.is_none();
        }
        let experts = architecture.has_experts() || self.number("expert_count")?.unwrap_or(0) == 0;
        let windows = self.number("attention.sliding_window_pattern")?.is_none()
            && (architecture != Architecture::Lfm2Moe || self.number("attention.sliding_window")?.unwrap_or(0) == 0);
        if causal && factor == 1.0 && absent && experts && windows {
            Ok(())
        } else {
            Err(Status::InvalidHeader)
        }
    }
}

/// Sizes and choices of a model.
pub struct Sizes {
    pub vocabulary: usize,
    pub hidden: usize,
    pub ffn: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub rotated: usize,
    pub context_length: usize,
    /// Layer by layer; 0 where a layer has a short convolution.
    pub kv_heads: Vec<usize>,
    pub window: Option<usize>,
    pub parallel: bool,
    pub experts: usize,
    pub experts_used: usize,
    pub expert_ffn: usize,
    /// Layers before the first with experts.
    pub dense_layers: usize,
    pub sigmoid: bool,
    pub convolution: usize,
}

impl Sizes {
    /// Of layers that a file claims, no more are looked at than one beyond the tensors that it has.
    pub fn read(keys: &Keys, architecture: Architecture, tensor_count: usize) -> Result<Sizes, Status> {
        let layers = keys.size("block_count")?.min(tensor_count + 1);
        let (hidden, heads) = (keys.size("embedding_length")?, keys.size("attention.head_count")?);
        let head_dim = match keys.number("attention.key_length")? {
            Some(size) => size as usize,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(Status::InvalidHeader),
        };
        let rotated = keys.number("rope.dimension_count")?.map_or(head_dim, |count| count as usize);
        let value_size = keys.number("attention.value_length")?.map_or(head_dim, |size| size as usize);
        let mixed = architecture == Architecture::Lfm2Moe;
        let kv_heads = match architecture {
            Architecture::Lfm2Moe => keys.of_layers("attention.head_count_kv", layers, heads)?,
            _ => vec![keys.number("attention.head_count_kv")?.map_or(heads, |count| count as usize); layers],
        };
        let kv_fit = kv_heads.iter().all(|&count| if count == 0 { mixed } else { heads % count == 0 });
        // llama.cpp takes the rotated numbers of a head of gpt-oss for its size.
        let whole = matches!(architecture, Architecture::Llama | Architecture::GptOss);
        let rotated_fit = if whole { rotated == head_dim } else { rotated <= head_dim };
        let rotary_fits = rotated > 0 && rotated % 2 == 0 && rotated_fit && value_size == head_dim;
        let attention_fits = (heads as u64) * (head_dim as u64) <= u32::MAX as u64;
        if !kv_fit || !rotary_fits || !attention_fits {
            return Err(Status::InvalidHeader);
        }
        let mut sizes = Sizes {
            vocabulary: 0,
            hidden,
            ffn: keys.size("feed_forward_length")?,
            heads,
            head_dim,
            rotated,
            context_length: keys.size("context_length")?,
            kv_heads,
            window: None,
            parallel: false,
            experts: 0,
            experts_used: 0,
            expert_ffn: 0,
            dense_layers: 0,
            sigmoid: false,
            convolution: 0,
        };
        if architecture.has_experts() {
            sizes.experts = keys.size("expert_count")?;
            sizes.experts_used = keys.size("expert_used_count")?;
            sizes.expert_ffn = keys.size("expert_feed_forward_length")?;
            if sizes.experts_used > sizes.experts {
                return Err(Status::InvalidHeader);
            }
        }
        match architecture {
            Architecture::Llama => {}
            Architecture::Phi3 => {
                let window = keys.number("attention.sliding_window")?.filter(|&window| window > 0);
                if cfg!(option = "gg12_window_applied") {
                    sizes.window = window.map(|window| window as usize);
                }
            }
            Architecture::GptNeox => {
                let parallel = keys.metadata.bool("gptneox.use_parallel_residual")?;
                sizes.parallel = parallel.ok_or(Status::InvalidHeader)?;
            }
            Architecture::GptOss => sizes.window = Some(keys.size("attention.sliding_window")?),
            Architecture::Lfm2Moe => {
                sizes.convolution = keys.size("shortconv.l_cache")?;
                sizes.dense_layers = keys.number("leading_dense_block_count")?.unwrap_or(0) as usize;
                sizes.sigmoid = match keys.number("expert_gating_func")? {
                    Some(1) => false,
                    Some(2) => true,
                    _ => return Err(Status::InvalidHeader),
                };
            }
        }
        Ok(sizes)
    }

    pub fn capacity(&self) -> usize {
        self.context_length.min(CAPACITY_LIMIT as usize)
    }

    pub fn dimensions(&self, epsilon: f32) -> Dimensions {
        Dimensions {
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            layer_count: self.kv_heads.len(),
            head_count: self.heads,
            kv_head_count: self.kv_heads.iter().copied().max().unwrap_or(0),
            head_dim: self.head_dim,
            ffn_size: self.ffn,
            capacity: self.capacity(),
            epsilon,
        }
    }
}
