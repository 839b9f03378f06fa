//! The state machine behind the exports (sections 4 to 7).

use crate::decoder::{scratch_bytes, Decoder};
use crate::diagnostics::{Report, Step};
use crate::forward::forward;
use crate::generator::XorShift64;
use crate::model::Model;
use crate::sampler::{sample, SamplingConfig};
use crate::status::Status;

/// The largest result text (GEN-10).
const MAX_RESULT_BYTES: usize = 65_536;
/// The runtime-owned generator starts here (PR-4).
const FIRST_SEED: u64 = 1;

pub struct Runtime {
    decoder: Option<Decoder>,
    sampling: SamplingConfig,
    generator: XorShift64,
    /// The ids that were prefilled.
    prompt: Vec<u32>,
    generated: Vec<u32>,
    /// How many tokens the diagnostics report as generated.
    generated_tokens: usize,
    /// The last sampling step.
    step: Option<Step>,
    last_error: Option<Status>,
    result: Vec<u8>,
    diagnostics: String,
    /// The label of a freed model; only the seeded bug `free_keeps_label` shows it.
    stale_label: &'static str,
}

impl Runtime {
    pub fn new() -> Runtime {
        let mut runtime = Runtime {
            decoder: None,
            sampling: SamplingConfig::DEFAULT,
            generator: XorShift64::new(FIRST_SEED),
            prompt: Vec::new(),
            generated: Vec::new(),
            generated_tokens: 0,
            step: None,
            last_error: None,
            result: Vec::new(),
            diagnostics: String::new(),
            stale_label: "none",
        };
        runtime.rebuild_diagnostics();
        runtime
    }

    pub fn result(&self) -> &[u8] {
        &self.result
    }

    pub fn diagnostics(&self) -> &str {
        &self.diagnostics
    }

    /// Records the outcome of a status call and rebuilds the diagnostics (ERR-4, ERR-5, DG-2).
    pub fn finish(&mut self, outcome: Result<(), Status>) -> u32 {
        match outcome {
            Ok(()) => {
                if !cfg!(bug = "last_error_not_cleared") {
                    self.last_error = None;
                }
            }
            Err(status) => {
                self.last_error = Some(status);
                if cfg!(option = "err4_empty") {
                    self.result.clear();
                } else if !cfg!(option = "err4_unchanged") {
                    self.result = status.message().as_bytes().to_vec();
                }
            }
        }
        self.rebuild_diagnostics();
        outcome.map_or_else(|status| status as u32, |()| 0)
    }

    /// `init_runtime` on a live runtime (ST-2).
    pub fn initialise(&mut self) {
        if cfg!(option = "st2_recreate") {
            *self = Runtime::new();
        }
    }

    /// The load transaction; the resident model is gone whatever happens (ST-3, ST-4).
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), Status> {
        if cfg!(bug = "failed_load_keeps_model") {
            let decoder = Model::load(bytes).and_then(Decoder::new)?;
            self.clear_generation();
            self.decoder = Some(decoder);
        } else {
            self.clear_generation();
            self.decoder = None;
            self.decoder = Some(Model::load(bytes).and_then(Decoder::new)?);
        }
        if cfg!(option = "pr4_load_reseeds") {
            self.reseed();
        }
        self.result = b"model loaded".to_vec();
        Ok(())
    }

    /// Replaces the whole configuration or nothing (SC-2, SC-3).
    pub fn set_sampling(&mut self, temperature: f32, top_k: u32, top_p: f32, seed: u64) -> Result<(), Status> {
        let wanted = SamplingConfig { temperature, top_k, top_p, seed };
        if cfg!(bug = "bad_sampling_applied") {
            self.sampling = wanted;
        }
        wanted.check()?;
        self.sampling = wanted;
        if !cfg!(option = "sc3_no") {
            self.reseed();
        }
        Ok(())
    }

    /// Checks in the order of GEN-1, then runs the generation transaction.
    pub fn generate(&mut self, prompt: &[u8], max_new_tokens: u32) -> Result<(), Status> {
        let text = std::str::from_utf8(prompt).map_err(|_| Status::InvalidUtf8)?;
        if cfg!(bug = "count_before_model") && max_new_tokens == 0 {
            return Err(Status::InvalidLength);
        }
        if self.decoder.is_none() {
            return Err(Status::ModelNotLoaded);
        }
        if max_new_tokens == 0 {
            return Err(Status::InvalidLength);
        }
        if !cfg!(bug = "generate_keeps_context") {
            self.clear_generation();
        }
        if cfg!(option = "pr4_generate_reseeds") {
            self.reseed();
        }
        let outcome = self.run_generation(text, max_new_tokens);
        self.settle(outcome)
    }

    /// Continues by one token (NT-1 to NT-7).
    pub fn generate_next(&mut self) -> Result<(), Status> {
        let decoder = self.decoder.as_mut().ok_or(Status::ModelNotLoaded)?;
        if decoder.kv_length == 0 {
            return Err(without_context());
        }
        if decoder.kv_length >= decoder.model.dimensions.capacity {
            return Err(Status::ContextExceeded);
        }
        let mut fresh = XorShift64::new(self.sampling.seed);
        let generator = if cfg!(bug = "continuation_reseeds") { &mut fresh } else { &mut self.generator };
        let token = sample(&decoder.logits, &self.sampling, generator);
        record(&mut self.step, &decoder.logits, token);
        if decoder.model.tokenizer.is_stop(token) && !cfg!(bug = "continuation_ignores_eos") {
            self.result.clear();
            return Ok(());
        }
        self.generated.push(token);
        self.generated_tokens += 1;
        forward(decoder, token);
        let first_shown = if cfg!(option = "nt6_all_text") { 0 } else { self.generated.len() - 1 };
        let outcome = result_text(decoder.model.tokenizer.decode(&self.generated[first_shown..]));
        self.settle(outcome)
    }

    /// Clears the generation state and keeps everything else (ST-5).
    pub fn reset(&mut self) {
        if cfg!(bug = "reset_keeps_kv") {
            let kept = self.decoder.as_ref().map_or(0, |decoder| decoder.kv_length);
            self.clear_generation();
            if let Some(decoder) = self.decoder.as_mut() {
                decoder.kv_length = kept;
            }
        } else {
            self.clear_generation();
        }
        if cfg!(bug = "reset_restores_sampling") {
            self.sampling = SamplingConfig::DEFAULT;
        }
        if cfg!(option = "pr4_reset_reseeds") {
            self.reseed();
        }
        if !cfg!(option = "st5_unchanged") {
            self.result.clear();
        }
    }

    /// Releases the model and keeps the sampling configuration (ST-6).
    pub fn free(&mut self) {
        self.clear_generation();
        if let Some(decoder) = self.decoder.take() {
            if cfg!(bug = "free_keeps_label") {
                self.stale_label = decoder.model.label;
            }
        }
        self.result.clear();
    }

    /// Prefill and sampling loop; answers the result text (GEN-2 to GEN-10).
    fn run_generation(&mut self, text: &str, max_new_tokens: u32) -> Result<Vec<u8>, Status> {
        let decoder = self.decoder.as_mut().ok_or(Status::ModelNotLoaded)?;
        let capacity = decoder.model.dimensions.capacity;
        let prompt = decoder.model.tokenizer.prompt_ids(text)?;
        if prompt.is_empty() {
            return Err(Status::InvalidLength);
        }
        let too_long =
            if cfg!(bug = "prompt_may_fill_context") { prompt.len() > capacity } else { prompt.len() >= capacity };
        if too_long || decoder.kv_length + prompt.len() > capacity {
            return Err(Status::ContextExceeded);
        }
        for &token in &prompt {
            forward(decoder, token);
        }
        self.prompt = prompt;
        let limit = if cfg!(bug = "capacity_off_by_one") { capacity - 1 } else { capacity };
        let mut fresh = XorShift64::new(self.sampling.seed);
        let generator = if cfg!(bug = "generate_uses_shared_generator") { &mut self.generator } else { &mut fresh };
        for _ in 0..max_new_tokens {
            if decoder.kv_length >= limit {
                break;
            }
            let token = sample(&decoder.logits, &self.sampling, generator);
            record(&mut self.step, &decoder.logits, token);
            if decoder.model.tokenizer.is_stop(token) {
                if cfg!(bug = "generated_counts_eos") {
                    self.generated_tokens += 1;
                }
                if cfg!(bug = "eos_appended") {
                    self.generated.push(token);
                    self.generated_tokens += 1;
                    forward(decoder, token);
                }
                break;
            }
            self.generated.push(token);
            self.generated_tokens += 1;
            forward(decoder, token);
        }
        if cfg!(bug = "prompt_echoed") {
            let all: Vec<u32> = self.prompt.iter().chain(&self.generated).copied().collect();
            return result_text(decoder.model.tokenizer.decode(&all));
        }
        result_text(decoder.model.tokenizer.decode(&self.generated))
    }

    /// Installs a result; a failure clears the generation state and keeps the model (ST-7).
    fn settle(&mut self, outcome: Result<Vec<u8>, Status>) -> Result<(), Status> {
        match outcome {
            Ok(text) => {
                self.result = text;
                Ok(())
            }
            Err(status) => {
                if !cfg!(bug = "failed_generation_keeps_state") {
                    self.clear_generation();
                }
                Err(status)
            }
        }
    }

    /// Tokens, visible KV length and generation diagnostics.
    fn clear_generation(&mut self) {
        self.prompt.clear();
        self.generated.clear();
        self.generated_tokens = 0;
        self.step = None;
        if let Some(decoder) = self.decoder.as_mut() {
            decoder.kv_length = 0;
        }
    }

    fn reseed(&mut self) {
        self.generator = XorShift64::new(self.sampling.seed);
    }

    fn rebuild_diagnostics(&mut self) {
        let decoder = self.decoder.as_ref();
        let kv_length = decoder.map_or(0, |decoder| decoder.kv_length);
        let report = Report {
            prompt: &self.prompt,
            generated_tokens: self.generated_tokens,
            peak_scratch_bytes: decoder.map_or(0, |decoder| scratch_bytes(&decoder.model.dimensions)),
            kv_length: if cfg!(bug = "kv_length_of_prompt_only") { self.prompt.len() } else { kv_length },
            quantization: decoder.map_or(self.stale_label, |decoder| decoder.model.label),
            last_error: self.last_error.map(Status::message),
            model_loaded: decoder.is_some(),
            step: self.step.as_ref(),
            temperature: self.sampling.temperature,
            top_k: self.sampling.top_k,
            top_p: self.sampling.top_p,
            seed: self.sampling.seed,
        };
        self.diagnostics = report.to_json();
    }
}

/// Remembers what was sampled, from which logits (DG-4, DG-6).
fn record(step: &mut Option<Step>, logits: &[f32], token: u32) {
    let mut current = Step::new(logits, token);
    if cfg!(bug = "top_tokens_of_previous_step") {
        if let Some(previous) = step.take() {
            current.top = previous.top;
        }
    }
    *step = Some(current);
}

/// The status of a continuation that has nothing to continue (NT-2).
fn without_context() -> Status {
    if cfg!(option = "nt2_invalid_length") {
        Status::InvalidLength
    } else if cfg!(option = "nt2_context_exceeded") {
        Status::ContextExceeded
    } else {
        Status::GenerationFailed
    }
}

/// Checks generated bytes: UTF-8 first, then the length (GEN-9, GEN-10).
fn result_text(bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if cfg!(option = "gen9_lossy") => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        Err(_) if cfg!(option = "gen9_13") => return Err(Status::GenerationFailed),
        Err(_) => return Err(Status::InvalidUtf8),
    };
    if text.len() > MAX_RESULT_BYTES {
        return Err(Status::OutputBufferExceeded);
    }
    Ok(text.into_bytes())
}
