//! One interface over the three tokenizers.

use crate::status::Status;
use crate::tokenizer_bpe1::Bpe1Tokenizer;
use crate::tokenizer_bytes;
use crate::tokenizer_spm::SpmTokenizer;

pub enum Tokenizer {
    Bytes,
    Bpe1(Bpe1Tokenizer),
    Spm(SpmTokenizer),
}

impl Tokenizer {
    /// Encodes a prompt and removes one terminal EOS (GEN-2).
    pub fn prompt_ids(&self, text: &str) -> Result<Vec<u32>, Status> {
        let mut ids = match self {
            Tokenizer::Bytes => tokenizer_bytes::encode(text),
            Tokenizer::Bpe1(tokenizer) => tokenizer.encode(text),
            Tokenizer::Spm(tokenizer) => tokenizer.encode(text)?,
        };
        if ids.last() == Some(&self.eos()) && !cfg!(bug = "terminal_eos_kept") {
            ids.pop();
        }
        Ok(ids)
    }

    /// Decodes token ids to bytes, which need not be UTF-8.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &id in ids {
            match self {
                Tokenizer::Bytes => tokenizer_bytes::decode_into(id, &mut bytes),
                Tokenizer::Bpe1(tokenizer) => tokenizer.decode_into(id, &mut bytes),
                Tokenizer::Spm(tokenizer) => tokenizer.decode_into(id, &mut bytes),
            }
        }
        bytes
    }

    /// True for the tokens that end generation (SL-11, GG-6).
    pub fn is_stop(&self, id: u32) -> bool {
        match self {
            Tokenizer::Bytes | Tokenizer::Bpe1(_) => {
                id == tokenizer_bytes::EOS || (cfg!(bug = "pad_stops_generation") && id == tokenizer_bytes::PAD)
            }
            Tokenizer::Spm(tokenizer) => tokenizer.stop.contains(&id),
        }
    }

    fn eos(&self) -> u32 {
        match self {
            Tokenizer::Bytes | Tokenizer::Bpe1(_) => tokenizer_bytes::EOS,
            Tokenizer::Spm(tokenizer) => tokenizer.eos,
        }
    }
}
