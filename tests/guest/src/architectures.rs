//! GGUF models of architectures beside plain `llama`: what `cfg(architecture = "...")` adds (GG-11 to GG-15).
//!
//! Written from the contract; keys and tensors are llama.cpp's. With gpt-oss comes YaRN, for every architecture and for
//! `llama`. What would change the arithmetic in a way that is not written here is refused with 6 and never ignored.

use std::sync::Arc;

use crate::architectures_sizes::{Keys, Sizes};
use crate::architectures_tensors::{find_tensors, Found};
use crate::gguf_model::{label, DEFAULT_THETA};
use crate::gguf_reader::{GgufFile, Metadata};
use crate::gguf_tokenizer;
use crate::model::{Linear, Loaded, Model, Rope};
use crate::network::Network;
use crate::network_rotation::{Yarn, YarnKeys};
use crate::status::Status;
use crate::tokenizer::Tokenizer;

#[derive(Clone, Copy, PartialEq)]
pub enum Architecture {
    /// Only what the plain loader refuses: `llama` with YaRN.
    Llama,
    Phi3,
    GptNeox,
    GptOss,
    Lfm2Moe,
}

impl Architecture {
    /// The architecture of a file, if this build has it beside what the plain loader reads.
    fn of(metadata: &Metadata) -> Result<Option<Architecture>, Status> {
        let name = metadata.text("general.architecture")?;
        let found = match name {
            Some(b"llama") if has_yarn() && metadata.text("llama.rope.scaling.type")? == Some(b"yarn") => {
                Architecture::Llama
            }
            Some(b"phi3") if cfg!(architecture = "phi3") => Architecture::Phi3,
            Some(b"gptneox") if cfg!(architecture = "gptneox") => Architecture::GptNeox,
            Some(b"gpt-oss") if cfg!(architecture = "gpt_oss") => Architecture::GptOss,
            Some(b"lfm2moe") if cfg!(architecture = "lfm2moe") => Architecture::Lfm2Moe,
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    fn prefix(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Phi3 => "phi3",
            Architecture::GptNeox => "gptneox",
            Architecture::GptOss => "gpt-oss",
            Architecture::Lfm2Moe => "lfm2moe",
        }
    }

    pub fn has_experts(self) -> bool {
        matches!(self, Architecture::GptOss | Architecture::Lfm2Moe)
    }
}

fn has_yarn() -> bool {
    cfg!(architecture = "gpt_oss")
}

/// Models of all architectures that this build has.
pub struct AnyModel;

impl AnyModel {
    /// Validates a whole artifact of either container.
    pub fn load(bytes: &[u8]) -> Result<Loaded, Status> {
        if bytes.starts_with(b"GGUF") && !cfg!(without = "gguf") {
            if let Some((model, network)) = load(bytes)? {
                return Ok((model, Some(network)));
            }
        }
        Ok((Model::load(bytes)?, None))
    }
}

/// Validates a GGUF file; `None` if it is of an architecture that is left to the plain loader.
fn load(bytes: &[u8]) -> Result<Option<(Model, Network)>, Status> {
    let file: Arc<[u8]> = Arc::from(bytes);
    let parsed = GgufFile::parse(&file)?;
    let metadata = &parsed.metadata;
    let architecture = match Architecture::of(metadata)? {
        None => return Ok(None),
        Some(architecture) => architecture,
    };
    if metadata.u16("split.count")?.unwrap_or(1) > 1 {
        return Err(Status::InvalidHeader);
    }
    let keys = Keys { metadata, prefix: architecture.prefix() };
    let mut sizes = Sizes::read(&keys, architecture, parsed.tensors.len())?;
    let (mut rope, yarn) = read_rotation(&keys, architecture, sizes.rotated, sizes.context_length)?;
    let epsilon = read_epsilon(&keys, architecture)?;
    keys.refuse_what_is_not_written_here(architecture)?;
    let tokenizer = gguf_tokenizer::load(metadata)?;
    sizes.vocabulary = tokenizer.vocab_size();
    if keys.number("vocab_size")?.map_or(false, |stated| stated as usize != sizes.vocabulary) {
        return Err(Status::InvalidHeader);
    }
    // Long and short rotary factors are a feature that this guest lacks.
    if ["rope_factors_long.weight", "rope_factors_short.weight"]
        .iter()
        .any(|name| parsed.tensors.contains_key(name.as_bytes()))
    {
        return Err(Status::InvalidHeader);
    }
    let found = find_tensors(&file, &parsed, architecture, &sizes)?;
    rope.factors = found.values("rope_freqs.weight");
    if cfg!(without = "rope_factors") && rope.factors.is_some() {
        return Err(Status::InvalidHeader);
    }
    let blocks = (0..sizes.kv_heads.len()).map(|layer| found.block(layer, architecture, &sizes));
    let network = Network {
        blocks: blocks.collect::<Result<_, _>>()?,
        output_norm: found.gain(Found::output_norm(architecture))?,
        yarn,
        halves: architecture != Architecture::Llama,
    };
    let embeddings = found.matrix("token_embd.weight")?;
    let output = found.matrix("output.weight").unwrap_or_else(|_| embeddings.clone());
    let model = Model {
        dimensions: sizes.dimensions(epsilon),
        rope,
        embeddings,
        layers: Vec::new(),
        output_norm: found.matrix(&format!("{}.weight", Found::output_norm(architecture)))?,
        output: Linear { weight: output, bias: None },
        tokenizer: Tokenizer::Spm(tokenizer),
        label: label(&parsed),
    };
    Ok(Some((model, network)))
}

fn read_epsilon(keys: &Keys, architecture: Architecture) -> Result<f32, Status> {
    let key = if architecture == Architecture::GptNeox { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
    match keys.real(&format!("attention.{key}"))? {
        Some(epsilon) if epsilon.is_finite() && epsilon >= 0.0 => Ok(epsilon),
        _ => Err(Status::InvalidHeader),
    }
}

/// Frequencies, linear scaling and YaRN; other kinds of scaling are refused.
fn read_rotation(
    keys: &Keys,
    architecture: Architecture,
    rotated: usize,
    context_length: usize,
) -> Result<(Rope, Option<Yarn>), Status> {
    let theta = keys.real("rope.freq_base")?.unwrap_or(DEFAULT_THETA);
    let stated = match keys.real("rope.scaling.factor")? {
        Some(factor) => factor,
        None => keys.real("rope.scale_linear")?.unwrap_or(0.0),
    };
    if !(theta.is_finite() && theta > 0.0 && stated.is_finite() && stated >= 0.0) {
        return Err(Status::InvalidHeader);
    }
    // As in llama.cpp an absent type means linear, and a factor of 0 means no scaling.
    let factor = if stated == 0.0 { 1.0 } else { stated };
    let mut rope = Rope::new(theta, rotated);
    match keys.metadata.text(&format!("{}.rope.scaling.type", keys.prefix))? {
        Some(b"none") => {}
        None | Some(b"linear") if factor == 1.0 => {}
        None | Some(b"linear") if !cfg!(without = "rope_scaling") => rope.scale = Some(1.0 / factor),
        Some(b"yarn") if has_yarn() => {
            let trained = keys.number("rope.scaling.original_context_length")?.filter(|&length| length > 0);
            let ranges = YarnKeys {
                factor,
                trained: trained.unwrap_or(context_length as u32),
                beta_fast: keys.real("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.real("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                whole_pairs: !(cfg!(option = "gg15_range_exact") && architecture == Architecture::GptOss),
            };
            let yarn = Yarn::new(&ranges, theta, rotated);
            return Ok((rope, Some(yarn)));
        }
        _ => return Err(Status::InvalidHeader),
    }
    Ok((rope, None))
}
