//! Applies the float32 functions of Rust's standard library to buffers in linear memory.
//!
//! Built for wasm32-unknown-unknown, where `f32::exp` and its relatives call the libm inside
//! compiler-builtins. All pointers point to `count` consecutive little-endian f32 values.

/// Returns the address of `bytes` fresh bytes, aligned for f32 and never freed.
#[no_mangle]
pub extern "C" fn reserve(bytes: usize) -> *mut f32 {
    Vec::leak(vec![0.0_f32; (bytes + 3) / 4]).as_mut_ptr()
}

macro_rules! unary {
    ($export:ident, $method:ident) => {
        #[no_mangle]
        pub unsafe extern "C" fn $export(x: *const f32, result: *mut f32, count: usize) {
            for index in 0..count {
                *result.add(index) = (*x.add(index)).$method();
            }
        }
    };
}

unary!(apply_expf, exp);
unary!(apply_sinf, sin);
unary!(apply_cosf, cos);
unary!(apply_tanhf, tanh);

#[no_mangle]
pub unsafe extern "C" fn apply_powf(x: *const f32, y: *const f32, result: *mut f32, count: usize) {
    for index in 0..count {
        *result.add(index) = (*x.add(index)).powf(*y.add(index));
    }
}
