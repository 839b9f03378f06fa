//! The 13 exports: raw numbers in, status codes out, one lock around one runtime (sections 1 and 3).

use std::alloc::Layout;
use std::sync::{Mutex, MutexGuard};

use crate::state::Runtime;
use crate::status::Status;

/// The largest region that `alloc`, `load_model` and `generate` accept (MEM-1, MEM-2).
const MAX_LENGTH: usize = 134_217_728;
const PAGE_BYTES: u64 = 65_536;
const ALLOC_ALIGNMENT: usize = 8;

/// A trap while the guard is held leaves the lock taken for ever, which is exactly MEM-6.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

fn lock() -> Option<MutexGuard<'static, Option<Runtime>>> {
    RUNTIME.try_lock().ok()
}

/// Runs one status export under the lock; an unavailable lock is 13 (ERR-2).
fn status_call(operation: impl FnOnce(&mut Runtime) -> Result<(), Status>) -> u32 {
    match lock() {
        None => Status::GenerationFailed as u32,
        Some(mut guard) => {
            let runtime = guard.get_or_insert_with(Runtime::new);
            let outcome = operation(runtime);
            runtime.finish(outcome)
        }
    }
}

/// Runs one getter under the lock; an unavailable lock is 0 (MEM-6).
fn getter(read: impl FnOnce(&Runtime) -> usize) -> usize {
    lock().map_or(0, |mut guard| read(guard.get_or_insert_with(Runtime::new)))
}

/// Checks a raw slice: 1, then 2 (MEM-2), then a trap past the end of memory (MEM-6).
fn host_slice<'a>(pointer: *const u8, length: usize) -> Result<&'a [u8], Status> {
    if pointer.is_null() {
        return Err(Status::NullPointer);
    }
    if length == 0 || length > MAX_LENGTH {
        return Err(Status::InvalidLength);
    }
    let memory_bytes = core::arch::wasm32::memory_size(0) as u64 * PAGE_BYTES;
    if pointer as u64 + length as u64 > memory_bytes {
        core::arch::wasm32::unreachable();
    }
    // SAFETY: the range is non-null and inside linear memory; the host leaves it alone during the call.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

#[no_mangle]
pub extern "C" fn alloc(length: usize) -> *mut u8 {
    if length == 0 || length > MAX_LENGTH {
        return std::ptr::null_mut();
    }
    match Layout::from_size_align(length, ALLOC_ALIGNMENT) {
        // SAFETY: the layout has a non-zero size.
        Ok(layout) => unsafe { std::alloc::alloc(layout) },
        Err(_) => std::ptr::null_mut(),
    }
}

#[no_mangle]
pub extern "C" fn dealloc(pointer: *mut u8, length: usize) {
    if pointer.is_null() || length == 0 {
        return;
    }
    if let Ok(layout) = Layout::from_size_align(length, ALLOC_ALIGNMENT) {
        // SAFETY: the host promises the pointer and length of an earlier `alloc` (MEM-3).
        unsafe { std::alloc::dealloc(pointer, layout) }
    }
}

#[no_mangle]
pub extern "C" fn init_runtime() -> u32 {
    status_call(|runtime| {
        runtime.initialise();
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn load_model(pointer: *const u8, length: usize) -> u32 {
    status_call(|runtime| {
        if cfg!(bug = "slice_error_drops_model") && (pointer.is_null() || length == 0) {
            runtime.free();
        }
        runtime.load(host_slice(pointer, length)?)
    })
}

#[no_mangle]
pub extern "C" fn set_sampling_config(temperature: f32, top_k: u32, top_p: f32, seed: u64) -> u32 {
    status_call(|runtime| runtime.set_sampling(temperature, top_k, top_p, seed))
}

#[no_mangle]
pub extern "C" fn generate(pointer: *const u8, length: usize, max_new_tokens: u32) -> u32 {
    status_call(|runtime| runtime.generate(host_slice(pointer, length)?, max_new_tokens))
}

#[no_mangle]
pub extern "C" fn generate_next_token() -> u32 {
    status_call(Runtime::generate_next)
}

#[no_mangle]
pub extern "C" fn last_result_ptr() -> *const u8 {
    getter(|runtime| runtime.result().as_ptr() as usize) as *const u8
}

#[no_mangle]
pub extern "C" fn last_result_len() -> usize {
    getter(|runtime| runtime.result().len())
}

#[no_mangle]
pub extern "C" fn get_diagnostics_ptr() -> *const u8 {
    getter(|runtime| runtime.diagnostics().as_ptr() as usize) as *const u8
}

#[no_mangle]
pub extern "C" fn get_diagnostics_len() -> usize {
    getter(|runtime| runtime.diagnostics().len())
}

#[no_mangle]
pub extern "C" fn reset_context() -> u32 {
    status_call(|runtime| {
        runtime.reset();
        Ok(())
    })
}

#[no_mangle]
pub extern "C" fn free_model() -> u32 {
    status_call(|runtime| {
        runtime.free();
        Ok(())
    })
}
