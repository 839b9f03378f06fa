//! Sums of products: the contract's order, and the orders that other builds may have (`cfg(sum = "...")`).
//!
//! The switches `tail`, `reduction` and `product` vary the sums in lanes, `vector` computes lanes with vector
//! instructions, and `reach` says what besides matrix rows is summed in the same way.

/// One row of a matrix times its input (FW-4).
pub fn row(left: &[f32], right: &[f32]) -> f32 {
    chosen(left, right)
}

/// A query times a key (FW-6).
pub fn score(left: &[f32], right: &[f32]) -> f32 {
    if cfg!(reach = "scores") {
        return chosen(left, right);
    }
    in_order(left, right)
}

/// The sum of squares of a norm (FW-3).
pub fn squares(x: &[f32]) -> f32 {
    if cfg!(reach = "squares") {
        return chosen(x, x);
    }
    let mut sum = 0.0f32;
    for value in x {
        sum += value * value;
    }
    sum
}

/// Adds `left * right` over all pairs in index order from 0.0, each operation rounded to f32.
fn in_order(left: &[f32], right: &[f32]) -> f32 {
    if cfg!(bug = "dot_four_partial_sums") {
        let mut partial = [0.0f32; 4];
        for (index, (a, b)) in left.iter().zip(right).enumerate() {
            partial[index % 4] += a * b;
        }
        return (partial[0] + partial[1]) + (partial[2] + partial[3]);
    }
    if cfg!(bug = "dot_f64_accumulator") {
        let mut sum = 0.0f64;
        for (a, b) in left.iter().zip(right) {
            sum += (a * b) as f64;
        }
        return sum as f32;
    }
    if cfg!(bug = "dot_fused") {
        let mut sum = 0.0f32;
        for (&a, &b) in left.iter().zip(right) {
            sum = (a as f64 * b as f64 + sum as f64) as f32;
        }
        return sum;
    }
    let mut sum = 0.0f32;
    if cfg!(bug = "dot_reversed") {
        for (a, b) in left.iter().zip(right).rev() {
            sum += a * b;
        }
        return sum;
    }
    for (a, b) in left.iter().zip(right) {
        sum = added(sum, *a, *b);
    }
    sum
}

fn chosen(left: &[f32], right: &[f32]) -> f32 {
    if cfg!(sum = "lanes_4") {
        lanes::<4>(left, right)
    } else if cfg!(sum = "lanes_8") {
        lanes::<8>(left, right)
    } else if cfg!(sum = "lanes_16") {
        lanes::<16>(left, right)
    } else if cfg!(sum = "f64_of_rounded_products") {
        left.iter().zip(right).fold(0.0f64, |sum, (a, b)| sum + (a * b) as f64) as f32
    } else if cfg!(sum = "f64") {
        left.iter().zip(right).fold(0.0f64, |sum, (&a, &b)| sum + a as f64 * b as f64) as f32
    } else if cfg!(sum = "reversed") {
        left.iter().zip(right).rev().fold(0.0f32, |sum, (a, b)| added(sum, *a, *b))
    } else if cfg!(sum = "pairwise") {
        halves::<1>(left, right)
    } else if cfg!(sum = "pairwise_of_16") {
        halves::<16>(left, right)
    } else if cfg!(sum = "blocks_of_8") {
        blocks(left, right, 8)
    } else if cfg!(sum = "blocks_of_32") {
        blocks(left, right, 32)
    } else {
        in_order(left, right)
    }
}

/// `sum + a * b`, rounded twice, or once where `product` says so.
fn added(sum: f32, a: f32, b: f32) -> f32 {
    if cfg!(product = "fused") {
        a.mul_add(b, sum)
    } else {
        sum + a * b
    }
}

/// N partial sums, element i in lane i modulo N.
fn lanes<const N: usize>(left: &[f32], right: &[f32]) -> f32 {
    let whole = left.len() / N * N;
    let mut partial = partial_sums::<N>(&left[..whole], &right[..whole]);
    let tail = left[whole..].iter().zip(&right[whole..]);
    if cfg!(tail = "after_the_lanes") {
        return tail.fold(reduced(partial), |sum, (a, b)| added(sum, *a, *b));
    }
    if cfg!(tail = "on_its_own") {
        return reduced(partial) + tail.fold(0.0f32, |sum, (a, b)| added(sum, *a, *b));
    }
    for (lane, (a, b)) in tail.enumerate() {
        partial[lane] = added(partial[lane], *a, *b);
    }
    reduced(partial)
}

#[cfg(not(vector = "simd128"))]
fn partial_sums<const N: usize>(left: &[f32], right: &[f32]) -> [f32; N] {
    let mut partial = [0.0f32; N];
    for (some, others) in left.chunks_exact(N).zip(right.chunks_exact(N)) {
        for lane in 0..N {
            partial[lane] = added(partial[lane], some[lane], others[lane]);
        }
    }
    partial
}

/// N / 4 vectors of four lanes.
#[cfg(vector = "simd128")]
fn partial_sums<const N: usize>(left: &[f32], right: &[f32]) -> [f32; N] {
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_store};
    let mut vectors = [f32x4_splat(0.0); 4];
    let mut partial = [0.0f32; N];
    for (some, others) in left.chunks_exact(N).zip(right.chunks_exact(N)) {
        for (index, sum) in vectors[..N / 4].iter_mut().enumerate() {
            // SAFETY: both chunks hold N values; wasm loads need no alignment.
            let (a, b) = unsafe {
                (
                    v128_load(some[4 * index..].as_ptr() as *const v128),
                    v128_load(others[4 * index..].as_ptr() as *const v128),
                )
            };
            *sum = f32x4_add(*sum, f32x4_mul(a, b));
        }
    }
    for (index, sum) in vectors[..N / 4].iter().enumerate() {
        // SAFETY: the array holds N values.
        unsafe { v128_store(partial[4 * index..].as_mut_ptr() as *mut v128, *sum) };
    }
    partial
}

/// The sum of the lanes: in order, neighbours first, or the upper half on the lower.
fn reduced<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut count = N;
    if cfg!(reduction = "neighbours") {
        while count > 1 {
            count /= 2;
            for index in 0..count {
                lanes[index] = lanes[2 * index] + lanes[2 * index + 1];
            }
        }
        return lanes[0];
    }
    if cfg!(reduction = "folded") {
        while count > 1 {
            count /= 2;
            for index in 0..count {
                lanes[index] += lanes[index + count];
            }
        }
        return lanes[0];
    }
    lanes[1..].iter().fold(lanes[0], |sum, lane| sum + lane)
}

/// Halves, each summed in the same way, down to `BASE` products in order.
fn halves<const BASE: usize>(left: &[f32], right: &[f32]) -> f32 {
    if left.len() <= BASE {
        return left.iter().zip(right).fold(0.0f32, |sum, (a, b)| added(sum, *a, *b));
    }
    let middle = left.len() / 2;
    halves::<BASE>(&left[..middle], &right[..middle]) + halves::<BASE>(&left[middle..], &right[middle..])
}

/// Blocks summed from 0.0, their sums added in order.
fn blocks(left: &[f32], right: &[f32], size: usize) -> f32 {
    let sums = left.chunks(size).zip(right.chunks(size));
    sums.fold(0.0f32, |total, (a, b)| total + a.iter().zip(b).fold(0.0f32, |sum, (x, y)| added(sum, *x, *y)))
}
