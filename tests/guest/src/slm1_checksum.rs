//! The SLM1 checksum and the tensor name hash (SL-4, SL-5).

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// The checksum field itself counts as zero.
const FIELD: std::ops::Range<usize> = 100..108;

/// FNV-1a 64 of a tensor name (SL-4).
pub fn name_hash(name: &str) -> u64 {
    name.bytes().fold(FNV_START, |hash, byte| (hash ^ byte as u64).wrapping_mul(FNV_PRIME))
}

/// The checksum of a whole file (SL-5).
pub fn checksum(file: &[u8]) -> u64 {
    let mut hash = if cfg!(option = "sl5_start_zero") { 0 } else { FNV_START };
    let counted = if cfg!(bug = "checksum_skips_last_byte") { &file[..file.len() - 1] } else { file };
    for (index, &byte) in counted.iter().enumerate() {
        let masked = FIELD.contains(&index) && !cfg!(bug = "checksum_covers_own_field");
        let byte = if masked { 0 } else { byte as u64 };
        hash ^= byte ^ index as u64;
        hash = if cfg!(option = "sl5_multiply_then_rotate") {
            rotate(hash.wrapping_mul(FNV_PRIME))
        } else {
            rotate(hash).wrapping_mul(FNV_PRIME)
        };
    }
    hash
}

fn rotate(hash: u64) -> u64 {
    let distance = if cfg!(option = "sl5_rotate_7") {
        7
    } else if cfg!(option = "sl5_rotate_13") {
        13
    } else {
        5
    };
    hash.rotate_left(distance)
}
