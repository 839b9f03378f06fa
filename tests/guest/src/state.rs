//! The state machine behind the exports: load, configure, reset, free (sections 4 and 5).

#[cfg(architectures)]
use crate::architectures::AnyModel as Model;
use crate::decoder::{scratch_bytes, Decoder};
use crate::diagnostics::{Report, Step};
use crate::generator::XorShift64;
#[cfg(not(architectures))]
use crate::model::Model;
use crate::sampler::SamplingConfig;
use crate::status::Status;

/// The runtime-owned generator starts here (PR-4).
const FIRST_SEED: u64 = 1;

pub struct Runtime {
    pub(crate) decoder: Option<Decoder>,
    pub(crate) sampling: SamplingConfig,
    pub(crate) generator: XorShift64,
    /// The ids that were prefilled.
    pub(crate) prompt: Vec<u32>,
    pub(crate) generated: Vec<u32>,
    /// How many tokens the diagnostics report as generated.
    pub(crate) generated_tokens: usize,
    /// The last sampling step.
    pub(crate) step: Option<Step>,
    last_error: Option<Status>,
    pub(crate) result: Vec<u8>,
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

    /// Tokens, visible KV length and generation diagnostics.
    pub(crate) fn clear_generation(&mut self) {
        self.prompt.clear();
        self.generated.clear();
        self.generated_tokens = 0;
        self.step = None;
        if let Some(decoder) = self.decoder.as_mut() {
            decoder.kv_length = 0;
        }
    }

    pub(crate) fn reseed(&mut self) {
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
            last_error: self.last_error,
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
