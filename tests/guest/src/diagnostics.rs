//! The diagnostics document, written by hand (section 9).

use crate::diagnostics_forms as forms;
use crate::diagnostics_layout as layout;
use crate::sampler::best;
use crate::status::Status;

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
    pub last_error: Option<Status>,
    pub model_loaded: bool,
    pub step: Option<&'a Step>,
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub seed: u64,
}

impl Report<'_> {
    /// The value of every key of DG-3, in its order.
    pub fn to_json(&self) -> String {
        let step = self.step;
        let fields = [
            ("model_load_ms", "0".to_string()),
            ("prompt_tokens", self.prompt.len().to_string()),
            ("generated_tokens", self.generated_tokens.to_string()),
            ("tokens_per_second", "0".to_string()),
            ("peak_scratch_bytes", self.peak_scratch_bytes.to_string()),
            ("kv_length", self.kv_length.to_string()),
            ("quantization", forms::label(self.quantization)),
            ("last_error", forms::error(self.last_error)),
            ("model_loaded", forms::truth(self.model_loaded)),
            ("tokenizer_output", forms::ids(self.prompt)),
            ("logits_summary", step.map_or_else(forms::null, forms::summary)),
            ("selected_token", step.map_or_else(forms::no_token, |step| step.selected.to_string())),
            ("top_tokens", step.map_or_else(forms::no_top_tokens, forms::top_tokens)),
            ("temperature", forms::number(self.temperature)),
            ("top_k", self.top_k.to_string()),
            ("top_p", forms::number(self.top_p)),
            ("seed", forms::seed(self.seed)),
        ];
        layout::document(&fields)
    }
}
