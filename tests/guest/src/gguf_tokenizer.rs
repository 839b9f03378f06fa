//! The SPM vocabulary in GGUF metadata (GG-4 to GG-6).

use std::collections::BTreeMap;

use crate::bytes::f32_values;
use crate::gguf_known_texts::{ALWAYS_SHOWN, ENDS, ROLES};
use crate::gguf_reader::{Metadata, ARRAY_OF_F32, TYPE_I32};
use crate::status::Status;
use crate::tokenizer_spm::{Affixes, Kind, SpmTokenizer, Token};

const DEFAULT_BOS: u32 = 1;
const DEFAULT_EOS: u32 = 2;
/// No token ends a generation by its text (GG-6).
const METADATA_IDS_ONLY: bool = cfg!(option = "gg6_metadata_ids");

/// Builds the tokenizer; whatever is missing, inconsistent or unknown gives 6.
pub fn load(metadata: &Metadata) -> Result<SpmTokenizer, Status> {
    if metadata.text("tokenizer.ggml.model")? != Some(b"llama") {
        return Err(Status::InvalidHeader);
    }
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let (score_count, scores) = metadata.array("tokenizer.ggml.scores", ARRAY_OF_F32)?.ok_or(Status::InvalidHeader)?;
    let kinds = token_kinds(metadata, texts.len())?;
    if score_count != texts.len() || texts.is_empty() {
        return Err(Status::InvalidHeader);
    }
    let mut tokens = Vec::new();
    for (id, ((text, score), kind)) in texts.iter().zip(f32_values(scores)).zip(kinds).enumerate() {
        // llama.cpp gives empty tokens a name.
        let text = if text.is_empty() { format!("[EMPTY_{id}]").into_bytes() } else { text.to_vec() };
        let byte = if kind == Kind::Byte { Some(byte_of(&text).ok_or(Status::InvalidHeader)?) } else { None };
        tokens.push(Token { text, score, kind, byte, strips_right: false });
    }
    let vocab_size = tokens.len();
    let mut ids = BTreeMap::new();
    for (id, token) in tokens.iter().enumerate() {
        if ids.insert(token.text.clone(), id as u32).is_some() {
            return Err(Status::InvalidHeader); // two tokens with one text (GG-13)
        }
    }
    let id = |key: &str| match metadata.u32(key)? {
        Some(id) if id as usize >= vocab_size => Err(Status::InvalidHeader),
        id => Ok(id),
    };
    let bos = id("tokenizer.ggml.bos_token_id")?.unwrap_or(DEFAULT_BOS);
    let eos = id("tokenizer.ggml.eos_token_id")?.unwrap_or(DEFAULT_EOS);
    if bos as usize >= vocab_size || eos as usize >= vocab_size {
        return Err(Status::InvalidHeader);
    }
    let mut stop = vec![eos];
    stop.extend(id("tokenizer.ggml.eot_token_id")?);
    stop.extend(id("tokenizer.ggml.eom_token_id")?);
    for role in &ROLES {
        let mut named = None;
        for key in role.keys {
            named = id(&format!("tokenizer.ggml.{key}"))?.or(named);
        }
        let by_text = || role.texts.iter().filter_map(|text| ids.get(text.as_bytes()).copied()).min();
        let found = named.or_else(by_text);
        if let (None, Some(token)) = (named, found) {
            tokens[token as usize].kind = Kind::Control;
        }
        if role.ends_generation && !METADATA_IDS_ONLY {
            stop.extend(found);
        }
    }
    let known = |text: &str| ids.get(text.as_bytes()).copied();
    if !METADATA_IDS_ONLY {
        for token in ENDS.iter().filter_map(|text| known(text)) {
            tokens[token as usize].kind = Kind::Control;
            stop.push(token);
        }
    }
    for token in ALWAYS_SHOWN.iter().filter_map(|text| known(text)) {
        tokens[token as usize].kind = Kind::UserDefined;
    }
    if !METADATA_IDS_ONLY {
        // Beside these tokens `<|end|>` closes a message and `</s>` is plain text, whatever the metadata say.
        let answers = known("<|return|>").or(known("<|flush|>")).and(known("<|call|>").or(known("<|calls|>")));
        let exempt = [("<|end|>", answers, Kind::UserDefined), ("</s>", known("<|tool_response>"), Kind::Normal)];
        for (text, companion, kind) in exempt {
            if let (Some(token), Some(_)) = (known(text), companion) {
                tokens[token as usize].kind = kind;
                stop.retain(|&stopping| stopping != token);
            }
        }
    }
    if is_phi3(metadata)? {
        strip_right_of_specials(&mut tokens);
    }
    let flag = |key: &str, default: bool| Ok(metadata.bool(key)?.unwrap_or(default));
    let affixes = Affixes {
        bos: flag("tokenizer.ggml.add_bos_token", true)?.then_some(bos),
        eos: flag("tokenizer.ggml.add_eos_token", false)?.then_some(eos),
        space: flag("tokenizer.ggml.add_space_prefix", true)?,
    };
    Ok(SpmTokenizer::new(tokens, eos, stop, affixes))
}

/// Token types, all normal when the array is absent.
fn token_kinds(metadata: &Metadata, count: usize) -> Result<Vec<Kind>, Status> {
    let bytes = match metadata.array("tokenizer.ggml.token_type", TYPE_I32)? {
        None => return Ok(vec![Kind::Normal; count]),
        Some((stated, bytes)) if stated == count => bytes,
        Some(_) => return Err(Status::InvalidHeader),
    };
    let kind = |word: &[u8]| match i32::from_le_bytes([word[0], word[1], word[2], word[3]]) {
        1 => Kind::Normal,
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        6 => Kind::Byte,
        _ => Kind::Unused,
    };
    Ok(bytes.chunks_exact(4).map(kind).collect())
}

/// The value of a byte token `<0xHH>`.
fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(text.strip_prefix(b"<0x")?.strip_suffix(b">")?).ok()?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// llama.cpp recognises this family by `general.name`.
fn is_phi3(metadata: &Metadata) -> Result<bool, Status> {
    let name = metadata.text("general.name")?.unwrap_or(b"").to_ascii_lowercase();
    Ok([b"phi-3".as_slice(), b"phi3"].iter().any(|part| name.windows(part.len()).any(|window| window == *part)))
}

/// Special tokens of this family swallow the white space that follows them, except three.
fn strip_right_of_specials(tokens: &mut [Token]) {
    for token in tokens {
        let special = matches!(token.kind, Kind::Control | Kind::UserDefined | Kind::Unknown);
        let excepted = [b"<unk>".as_slice(), b"<s>", b"<|endoftext|>"].contains(&token.text.as_slice());
        token.strips_right = (special || token.text == b"</s>") && !excepted;
    }
}
