//! The generation transaction and the continuation (sections 6 and 7).

use crate::diagnostics::Step;
#[cfg(not(architectures))]
use crate::forward::forward;
use crate::generator::XorShift64;
#[cfg(architectures)]
use crate::network::forward;
use crate::sampler::sample;
use crate::state::Runtime;
use crate::status::Status;

/// The largest result text (GEN-10).
const MAX_RESULT_BYTES: usize = 65_536;

impl Runtime {
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
        self.result.clear();
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
        // The second condition can only hold when a seeded bug has kept earlier positions.
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
