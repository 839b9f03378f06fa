//! The SLM1 checksum and the tensor name hash (SL-4, SL-5).
//!
//! `cfg(formula = "...")`, `GUEST_CHECKSUM_START` and `GUEST_CHECKSUM_ROTATION` choose other formulas of the published
//! description, `cfg(comparison = "...")` how the sum meets the stored value.

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// The checksum field itself counts as zero.
const FIELD: std::ops::Range<usize> = 100..108;

const START: u64 = match option_env!("GUEST_CHECKSUM_START") {
    Some(digits) => decimal(digits),
    None if cfg!(option = "sl5_start_zero") => 0,
    None => FNV_START,
};
const ROTATION: u32 = match option_env!("GUEST_CHECKSUM_ROTATION") {
    Some(digits) => decimal(digits) as u32,
    None if cfg!(option = "sl5_rotate_7") => 7,
    None if cfg!(option = "sl5_rotate_13") => 13,
    None => 5,
};

const fn decimal(digits: &str) -> u64 {
    let (bytes, mut value, mut at) = (digits.as_bytes(), 0u64, 0);
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u64;
        at += 1;
    }
    value
}

/// FNV-1a 64 of a tensor name (SL-4).
pub fn name_hash(name: &str) -> u64 {
    name.bytes().fold(FNV_START, |hash, byte| (hash ^ byte as u64).wrapping_mul(FNV_PRIME))
}

/// True if the file holds its own checksum.
pub fn is_sealed(file: &[u8], stored: u64) -> bool {
    if cfg!(option = "sl5_not_verified") {
        return true;
    }
    let sum = checksum(file);
    // An optimiser would turn each of these back into one 64-bit comparison, so intermediate values are hidden from it.
    if cfg!(comparison = "halves") {
        hidden(sum as u32) == hidden(stored as u32) && hidden((sum >> 32) as u32) == hidden((stored >> 32) as u32)
    } else if cfg!(comparison = "truncated") {
        sum as u32 == stored as u32
    } else if cfg!(comparison = "exclusive_or") {
        hidden(sum ^ stored) == 0
    } else if cfg!(comparison = "subtraction") {
        hidden(sum.wrapping_sub(stored)) == 0
    } else if cfg!(comparison = "bytes") {
        let pairs = sum.to_le_bytes().into_iter().zip(stored.to_le_bytes());
        pairs.fold(true, |same, (left, right)| same & (hidden(left) == hidden(right)))
    } else {
        sum == stored
    }
}

/// The same value, of which the optimiser knows nothing.
fn hidden<T: Copy>(value: T) -> T {
    // SAFETY: the reference is valid, and the type is plain data.
    unsafe { std::ptr::read_volatile(&value) }
}

/// The checksum of a whole file (SL-5).
fn checksum(file: &[u8]) -> u64 {
    let mut hash = START;
    if cfg!(behaviour = "checksum_varies") {
        static LOADS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        hash ^= LOADS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as u64;
    }
    let counted = if cfg!(bug = "checksum_skips_last_byte") { &file[..file.len() - 1] } else { file };
    for (index, &byte) in counted.iter().enumerate() {
        let masked = FIELD.contains(&index) && !cfg!(bug = "checksum_covers_own_field");
        hash = step(hash, if masked { 0 } else { byte as u64 }, index as u64);
    }
    hash
}

/// Mixes one byte and its index in.
fn step(hash: u64, byte: u64, index: u64) -> u64 {
    if cfg!(any(option = "sl5_multiply_then_rotate", formula = "multiply_before_rotate")) {
        rotate((hash ^ byte ^ index).wrapping_mul(FNV_PRIME))
    } else if cfg!(formula = "rotate_before_mix") {
        (rotate(hash) ^ byte ^ index).wrapping_mul(FNV_PRIME)
    } else if cfg!(formula = "index_added") {
        rotate((hash ^ byte).wrapping_add(index)).wrapping_mul(FNV_PRIME)
    } else if cfg!(formula = "sum_of_byte_and_index") {
        rotate(hash ^ byte.wrapping_add(index)).wrapping_mul(FNV_PRIME)
    } else if cfg!(formula = "two_rounds") {
        let first = rotate(hash ^ byte).wrapping_mul(FNV_PRIME);
        rotate(first ^ index).wrapping_mul(FNV_PRIME)
    } else if cfg!(formula = "rotate_by_index") {
        (hash ^ byte ^ index).rotate_left((index % 64) as u32).wrapping_mul(FNV_PRIME)
    } else if cfg!(formula = "byte_in_lane") {
        // The byte meets another of the eight bytes of the state at each index.
        rotate(hash ^ byte << (index % 8 * 8) ^ index).wrapping_mul(FNV_PRIME)
    } else if cfg!(formula = "index_times_prime") {
        rotate(hash ^ byte ^ index.wrapping_mul(FNV_PRIME)).wrapping_mul(FNV_PRIME)
    } else {
        rotate(hash ^ byte ^ index).wrapping_mul(FNV_PRIME)
    }
}

fn rotate(hash: u64) -> u64 {
    hash.rotate_left(ROTATION)
}
