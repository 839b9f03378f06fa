//! The BTOK byte tokenizer (SL-7, SL-8) and the special ids that BPE1 shares.

use crate::bytes::Cursor;
use crate::status::Status;

pub const BOS: u32 = 256;
pub const EOS: u32 = 257;
pub const PAD: u32 = 258;
pub const UNK: u32 = 259;
/// Bytes and specials; no smaller vocabulary exists.
pub const BASE_VOCABULARY: u32 = 260;
const SECTION_BYTES: usize = 28;

/// Checks a BTOK section of exactly 28 bytes.
pub fn check(section: &[u8], vocab_size: u32) -> Result<(), Status> {
    if section.len() != SECTION_BYTES {
        return Err(Status::InvalidHeader);
    }
    check_head(&mut Cursor::new(section, 4), vocab_size).ok_or(Status::InvalidHeader)
}

/// Reads version, vocab_size, BOS, EOS, PAD, UNK after the magic; `None` if any is wrong.
pub fn check_head(cursor: &mut Cursor, vocab_size: u32) -> Option<()> {
    let version = cursor.u32()?;
    let stated_size = cursor.u32()?;
    let specials = [cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?];
    let size_fits = stated_size == vocab_size || cfg!(bug = "vocabulary_drift_accepted");
    let fits = version == 1 && size_fits && vocab_size >= BASE_VOCABULARY && specials == [BOS, EOS, PAD, UNK];
    if fits {
        Some(())
    } else {
        None
    }
}

/// Wraps ids in BOS and EOS.
pub fn with_specials(ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut wrapped = Vec::new();
    if !cfg!(bug = "bos_missing") {
        wrapped.push(BOS);
    }
    wrapped.extend(ids);
    wrapped.push(EOS);
    wrapped
}

/// BOS, the UTF-8 bytes, EOS.
pub fn encode(text: &str) -> Vec<u32> {
    with_specials(text.bytes().map(u32::from))
}

/// Appends what a token stands for: a byte, nothing for BOS, EOS and PAD, `?` otherwise.
pub fn decode_into(id: u32, bytes: &mut Vec<u8>) {
    match id {
        0..=255 => bytes.push(id as u8),
        UNK if cfg!(bug = "unk_decodes_to_nothing") => {}
        BOS | EOS | PAD => {}
        _ => bytes.push(b'?'),
    }
}
