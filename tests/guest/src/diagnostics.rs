//! The diagnostics document, written by hand (section 9).

use std::fmt::Write;

use crate::sampler::best;

const TOP_TOKENS: usize = 5;

/// What one sampling step saw and chose.
pub struct Step {
    pub selected: u32,
    /// The five best candidates, ignoring top_k.
    pub top: Vec<(u32, f32)>,
    pub minimum: Option<f32>,
    pub maximum: Option<f32>,
    pub mean: f32,
}

impl Step {
    pub fn new(logits: &[f32], selected: u32) -> Step {
        let top = best(logits, TOP_TOKENS).into_iter().map(|id| (id, logits[id as usize])).collect();
        let (mut minimum, mut maximum) = (None, None);
        for &logit in logits.iter().filter(|logit| !logit.is_nan()) {
            if minimum.map_or(true, |lowest| logit < lowest) {
                minimum = Some(logit);
            }
            if maximum.map_or(true, |highest| logit > highest) {
                maximum = Some(logit);
            }
        }
        Step { selected, top, minimum, maximum, mean: mean(logits) }
    }
}

/// The sequential f32 sum divided by V (DG-7).
fn mean(logits: &[f32]) -> f32 {
    if cfg!(bug = "mean_in_f64") {
        let sum: f64 = logits.iter().map(|&logit| logit as f64).sum();
        return (sum / logits.len() as f64) as f32;
    }
    let mut sum = 0.0f32;
    for logit in logits {
        sum += logit;
    }
    sum / logits.len() as f32
}

/// Everything the document shows, in its order (DG-3).
pub struct Report<'a> {
    pub prompt: &'a [u32],
    pub generated_tokens: usize,
    pub peak_scratch_bytes: u64,
    pub kv_length: usize,
    pub quantization: &'a str,
    pub last_error: Option<&'a str>,
    pub model_loaded: bool,
    pub step: Option<&'a Step>,
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub seed: u64,
}

impl Report<'_> {
    pub fn to_json(&self) -> String {
        let ids: Vec<String> = self.prompt.iter().map(u32::to_string).collect();
        let fields: [(&str, String); 17] = [
            ("model_load_ms", "0".to_string()),
            ("prompt_tokens", self.prompt.len().to_string()),
            ("generated_tokens", self.generated_tokens.to_string()),
            ("tokens_per_second", "0".to_string()),
            ("peak_scratch_bytes", self.peak_scratch_bytes.to_string()),
            ("kv_length", self.kv_length.to_string()),
            ("quantization", string(self.quantization)),
            ("last_error", self.last_error.map_or_else(null, string)),
            ("model_loaded", self.model_loaded.to_string()),
            ("tokenizer_output", string(&ids.join(","))),
            ("logits_summary", self.step.map_or_else(null, summary)),
            ("selected_token", self.step.map_or_else(null, |step| step.selected.to_string())),
            ("top_tokens", self.step.map_or_else(|| "[]".to_string(), top_tokens)),
            ("temperature", number(self.temperature)),
            ("top_k", self.top_k.to_string()),
            ("top_p", number(self.top_p)),
            ("seed", string(&self.seed.to_string())),
        ];
        let members: Vec<String> = fields.iter().map(|(key, value)| format!("{}:{value}", string(key))).collect();
        format!("{{{}}}", members.join(","))
    }
}

fn null() -> String {
    "null".to_string()
}

fn summary(step: &Step) -> String {
    let (minimum, maximum) = (step.minimum.map_or_else(null, number), step.maximum.map_or_else(null, number));
    format!("{{\"min\":{minimum},\"max\":{maximum},\"mean\":{}}}", number(step.mean))
}

fn top_tokens(step: &Step) -> String {
    let pairs: Vec<String> = step.top.iter().map(|&(id, logit)| format!("[{id},{}]", number(logit))).collect();
    format!("[{}]", pairs.join(","))
}

/// The shortest decimal that reads back to the same f32; null if not finite (DG-7).
fn number(value: f32) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else {
        null()
    }
}

/// A quoted JSON string with the escapes of DG-1.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{2028}' | '\u{2029}' => write_escape(&mut quoted, character),
            _ if character.is_control() => write_escape(&mut quoted, character),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn write_escape(quoted: &mut String, character: char) {
    // Writing to a String cannot fail.
    let _ = write!(quoted, "\\u{:04x}", character as u32);
}
