//! The status codes of section 2 and their fixed messages.

/// Every way a call can fail; `Ok` (0) is the success side of a `Result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    NullPointer = 1,
    InvalidLength = 2,
    InvalidUtf8 = 3,
    InvalidModelMagic = 4,
    UnsupportedModelVersion = 5,
    InvalidHeader = 6,
    InvalidTensorDirectory = 7,
    MissingTensor = 8,
    ShapeMismatch = 9,
    UnsupportedDType = 10,
    ContextExceeded = 11,
    ModelNotLoaded = 12,
    GenerationFailed = 13,
    OutputBufferExceeded = 14,
}

impl Status {
    /// The text of `last_error` (ERR-3); `GUEST_MESSAGES` holds other texts, one a line, in the order of the codes.
    pub fn message(self) -> &'static str {
        let other_texts: Option<&'static str> = option_env!("GUEST_MESSAGES");
        if let Some(text) = other_texts.and_then(|texts| texts.split('\n').nth(self as usize - 1)) {
            return text;
        }
        match self {
            Status::NullPointer => "null pointer",
            Status::InvalidLength => "invalid length",
            Status::InvalidUtf8 => "invalid utf-8",
            Status::InvalidModelMagic => "invalid model magic",
            Status::UnsupportedModelVersion => "unsupported model version",
            Status::InvalidHeader => "invalid header",
            Status::InvalidTensorDirectory => "invalid tensor directory",
            Status::MissingTensor => "missing tensor",
            Status::ShapeMismatch => "shape mismatch",
            Status::UnsupportedDType => "unsupported dtype",
            Status::ContextExceeded => "context exceeded",
            Status::ModelNotLoaded => "model not loaded",
            Status::GenerationFailed => "generation failed",
            Status::OutputBufferExceeded => "output buffer exceeded",
        }
    }
}
