//! The SLM1 container: header, order of checks, required tensors (section 10).

use std::ops::Range;
use std::sync::Arc;

use crate::bytes::{range_inside, Cursor};
use crate::matrix::Matrix;
use crate::model::{Dimensions, Layer, Linear, Model, Rope};
use crate::slips;
use crate::slm1_checksum::is_sealed;
use crate::slm1_directory::{DType, Directory, ENTRY_BYTES};
use crate::status::Status;
use crate::tokenizer::Tokenizer;
use crate::tokenizer_bpe1::Bpe1Tokenizer;
use crate::tokenizer_bytes;

const HEADER_BYTES: usize = 108;
const VERSION: u32 = 1;
const DATA_ALIGNMENT: u64 = 64;
const TIED_OUTPUT: u32 = 1;

const EMBEDDINGS: &str = "tok_embeddings.weight";
const OUTPUT_NORM: &str = "norm.weight";
const OUTPUT: &str = "output.weight";
const LAYER_PARTS: [&str; 9] = ["attn_norm", "ffn_norm", "wq", "wk", "wv", "wo", "w1", "w3", "w2"];

/// Validates a file that begins with the SLM1 magic, in the order of SL-1.
pub fn load(file: Arc<[u8]>) -> Result<Model, Status> {
    let header = Header::parse(&file)?;
    if !is_sealed(&file, header.checksum) {
        return Err(Status::InvalidHeader);
    }
    let directory = Directory::parse(&file, header.directory.clone())?;
    let tokenizer = parse_tokenizer(&file[header.tokenizer.clone()], header.vocab_size)?;
    let mut elements = [0u64; 4];
    for (name, shape) in required_tensors(&header) {
        let dtype = directory.find(&name)?.dtype;
        elements[dtype as usize] += shape.iter().map(|&size| size as u64).product::<u64>();
    }
    let model = bind(&header, &directory, tokenizer, label(&elements))?;
    if header.kv_head_count != header.head_count {
        let status = if cfg!(option = "sl1_kv_heads_6") { Status::InvalidHeader } else { Status::ShapeMismatch };
        return Err(status);
    }
    if header.head_dim % 2 != 0 {
        return Err(Status::ShapeMismatch);
    }
    Ok(model)
}

/// Turns present tensors into a model; wrong shapes and lengths give 9.
fn bind(header: &Header, directory: &Directory, tokenizer: Tokenizer, label: &'static str) -> Result<Model, Status> {
    let vocabulary_shape = [header.vocab_size, header.hidden_size];
    let embeddings = directory.matrix(EMBEDDINGS, &vocabulary_shape)?;
    let output_norm = directory.matrix(OUTPUT_NORM, &[header.hidden_size])?;
    let output = if header.tied() { embeddings.clone() } else { directory.matrix(OUTPUT, &vocabulary_shape)? };
    let mut layers = Vec::new();
    for layer in 0..header.layer_count {
        let norm = |part: &str| directory.matrix(&layer_tensor(layer, part), &header.part_shape(part));
        let linear = |part: &str| norm(part).map(without_bias);
        layers.push(Layer {
            attention_norm: norm("attn_norm")?,
            ffn_norm: norm("ffn_norm")?,
            query: linear("wq")?,
            key: linear("wk")?,
            value: linear("wv")?,
            attention_output: linear("wo")?,
            gate: linear("w1")?,
            up: linear("w3")?,
            down: linear("w2")?,
        });
    }
    slips::rewire(&mut layers);
    Ok(Model {
        dimensions: header.dimensions(),
        rope: Rope::new(header.rope_theta, header.head_dim as usize),
        embeddings,
        layers,
        output_norm,
        output: without_bias(output),
        tokenizer,
        label,
    })
}

fn without_bias(weight: Matrix) -> Linear {
    Linear { weight, bias: None }
}

/// The dtype that holds most elements of the tensors that are used; the lower code wins a tie.
fn label(elements: &[u64; 4]) -> &'static str {
    let (f32s, q8s, q4s) = (elements[DType::F32 as usize], elements[DType::Q8 as usize], elements[DType::Q4 as usize]);
    if f32s >= q8s && f32s >= q4s {
        "f32"
    } else if q8s >= q4s {
        "q8_0"
    } else {
        "q4_0"
    }
}

/// Names and shapes of SL-3; lazy, because a header may claim four billion layers.
fn required_tensors(header: &Header) -> impl Iterator<Item = (String, Vec<u32>)> + '_ {
    let vocabulary_shape = vec![header.vocab_size, header.hidden_size];
    let mut whole =
        vec![(EMBEDDINGS.to_string(), vocabulary_shape.clone()), (OUTPUT_NORM.to_string(), vec![header.hidden_size])];
    if !header.tied() {
        whole.push((OUTPUT.to_string(), vocabulary_shape));
    }
    let of_layer =
        move |layer: u32| LAYER_PARTS.iter().map(move |part| (layer_tensor(layer, part), header.part_shape(part)));
    whole.into_iter().chain((0..header.layer_count).flat_map(of_layer))
}

fn layer_tensor(layer: u32, part: &str) -> String {
    format!("layers.{layer}.{part}.weight")
}

fn parse_tokenizer(section: &[u8], vocab_size: u32) -> Result<Tokenizer, Status> {
    match section.get(..4) {
        Some(b"BTOK") => tokenizer_bytes::check(section, vocab_size).map(|()| Tokenizer::Bytes),
        Some(b"BPE1") if !cfg!(without = "bpe1") => Bpe1Tokenizer::parse(section, vocab_size).map(Tokenizer::Bpe1),
        _ => Err(Status::InvalidHeader),
    }
}

struct Header {
    flags: u32,
    vocab_size: u32,
    hidden_size: u32,
    layer_count: u32,
    head_count: u32,
    kv_head_count: u32,
    head_dim: u32,
    ffn_size: u32,
    max_context: u32,
    rope_theta: f32,
    epsilon: f32,
    tokenizer: Range<usize>,
    directory: Range<usize>,
    checksum: u64,
}

impl Header {
    /// Checks length (6), version (5), then every other field (6, or 9 where an option says so).
    fn parse(file: &[u8]) -> Result<Header, Status> {
        if file.len() < HEADER_BYTES {
            return Err(Status::InvalidHeader);
        }
        let mut cursor = Cursor::new(file, 4);
        if cursor.u32() != Some(VERSION) {
            return Err(Status::UnsupportedModelVersion);
        }
        Header::parse_fields(&mut cursor, file.len()).unwrap_or(Err(Status::InvalidHeader))
    }

    /// `None` stands for 6.
    fn parse_fields(cursor: &mut Cursor, file_size: usize) -> Option<Result<Header, Status>> {
        let header_length = cursor.u32()?;
        let _model_type = cursor.u32()?;
        let flags = cursor.u32()?;
        let vocab_size = cursor.u32()?;
        let _special_token_count = cursor.u32()?;
        let sizes: [u32; 7] =
            [cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let [hidden_size, layer_count, head_count, kv_head_count, head_dim, ffn_size, max_context] = sizes;
        let (rope_theta, epsilon) = (cursor.f32()?, cursor.f32()?);
        let (tokenizer_offset, tokenizer_length) = (cursor.u64()?, cursor.u64()?);
        let (directory_offset, tensor_count) = (cursor.u64()?, cursor.u32()?);
        let (data_offset, checksum) = (cursor.u64()?, cursor.u64()?);

        let length_fits = header_length as usize >= HEADER_BYTES && header_length as usize <= file_size;
        let dimensions_fit = vocab_size > 0 && sizes.iter().all(|&size| size > 0);
        let heads_fit = head_count as u64 * head_dim as u64 == hidden_size as u64;
        let usable = |value: &f32| value.is_finite() && *value > 0.0;
        let numbers_fit = cfg!(option = "sl1_constants_unchecked") || [rope_theta, epsilon].iter().all(usable);
        let aligned = data_offset % DATA_ALIGNMENT == 0 || cfg!(bug = "data_alignment_unchecked");
        let inside = data_offset <= file_size as u64 || cfg!(option = "sl1_data_offset_unchecked");
        if !(length_fits && dimensions_fit) {
            return None;
        }
        if !heads_fit && cfg!(option = "sl1_heads_9") {
            return Some(Err(Status::ShapeMismatch));
        }
        if !(heads_fit && numbers_fit && aligned && inside && checksum != 0) {
            return None;
        }
        let tokenizer = range_inside(tokenizer_offset, tokenizer_length as u128, file_size)?;
        let directory = range_inside(directory_offset, tensor_count as u128 * ENTRY_BYTES as u128, file_size)?;
        Some(Ok(Header {
            flags,
            vocab_size,
            hidden_size,
            layer_count,
            head_count,
            kv_head_count,
            head_dim,
            ffn_size,
            max_context,
            rope_theta,
            epsilon,
            tokenizer,
            directory,
            checksum,
        }))
    }

    fn tied(&self) -> bool {
        self.flags & TIED_OUTPUT != 0 && !cfg!(bug = "tied_flag_ignored")
    }

    /// The shape of one part of a layer, `[out, in]` (SL-3).
    fn part_shape(&self, part: &str) -> Vec<u32> {
        let (hidden, ffn) = (self.hidden_size, self.ffn_size);
        match part {
            "attn_norm" | "ffn_norm" => vec![hidden],
            "w1" | "w3" => vec![ffn, hidden],
            "w2" => vec![hidden, ffn],
            _ => vec![hidden, hidden],
        }
    }

    fn dimensions(&self) -> Dimensions {
        Dimensions {
            vocab_size: self.vocab_size as usize,
            hidden_size: self.hidden_size as usize,
            layer_count: self.layer_count as usize,
            head_count: self.head_count as usize,
            kv_head_count: self.kv_head_count as usize,
            head_dim: self.head_dim as usize,
            ffn_size: self.ffn_size as usize,
            capacity: self.max_context as usize,
            epsilon: self.epsilon,
        }
    }
}
