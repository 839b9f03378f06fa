//! A record of named tensors for the tests of the guest itself, only with `cfg(probe)`: two more exports.
//!
//! Each entry is the name, a zero byte, the number of values as u32 and the values, little-endian.

#[cfg(probe)]
static RECORD: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());

/// Notes the values of a tensor of a layer (or of none) at the position that is being forwarded.
#[cfg(probe)]
pub fn note(layer: Option<usize>, name: &str, values: &[f32]) {
    if let Ok(mut record) = RECORD.lock() {
        let full = layer.map_or_else(|| name.to_string(), |layer| format!("blk.{layer}.{name}"));
        record.extend_from_slice(full.as_bytes());
        record.push(0);
        record.extend_from_slice(&(values.len() as u32).to_le_bytes());
        for value in values {
            record.extend_from_slice(&value.to_le_bytes());
        }
    }
}

#[cfg(not(probe))]
#[inline(always)]
pub fn note(_: Option<usize>, _: &str, _: &[f32]) {}

#[cfg(probe)]
#[no_mangle]
pub extern "C" fn probe_ptr() -> *const u8 {
    RECORD.lock().map_or(std::ptr::null(), |record| record.as_ptr())
}

#[cfg(probe)]
#[no_mangle]
pub extern "C" fn probe_len() -> usize {
    RECORD.lock().map_or(0, |record| record.len())
}

#[cfg(probe)]
#[no_mangle]
pub extern "C" fn probe_clear() {
    if let Ok(mut record) = RECORD.lock() {
        record.clear();
    }
}
