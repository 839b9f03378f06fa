//! Weight matrices that stay encoded in the model file and are decoded row by row.

use std::ops::Range;
use std::sync::Arc;

use crate::arithmetic::half_to_f32;
use crate::bytes::f32_values;
use crate::slips;
use crate::sums;
use crate::unknown::{self, Site};
use crate::unseen;

/// Elements and bytes of one GGUF Q8_0 block: an f16 scale and 32 signed bytes.
pub const GGUF_Q8_0_BLOCK: usize = 32;
pub const GGUF_Q8_0_BYTES: usize = 34;

/// How the payload of a matrix is written.
#[derive(Clone)]
pub enum Encoding {
    F32,
    /// SLM1 q8_0: a signed byte per element, one scale per row (SL-2).
    SignedBytes {
        scales: Range<usize>,
    },
    /// SLM1 q4_0: two nibbles a byte, one scale per block of a row (SL-2).
    Nibbles {
        scales: Range<usize>,
        block: usize,
    },
    /// GGUF F16 (GG-8).
    GgufHalf,
    /// GGUF Q8_0 blocks (GG-8).
    GgufQ8,
}

/// A row-major matrix `[rows, columns]`, a vector being one row.
#[derive(Clone)]
pub struct Matrix {
    pub file: Arc<[u8]>,
    pub payload: Range<usize>,
    pub encoding: Encoding,
    pub rows: usize,
    pub columns: usize,
}

impl Matrix {
    /// Decodes one row as value x scale (FW-1).
    pub fn row_into(&self, row: usize, out: &mut [f32]) {
        self.quants_into(row, out);
        let block = self.block();
        if block == 0 {
            return;
        }
        for (index, values) in out[..self.columns].chunks_mut(block).enumerate() {
            let scale = self.scale(row, index);
            for value in values {
                *value *= scale;
            }
        }
    }

    /// Multiplies the matrix by `x`, every row summed in column order (FW-4).
    ///
    /// `buffer` holds at least one row.
    pub fn multiply(&self, site: Site, x: &[f32], out: &mut [f32], buffer: &mut [f32]) {
        let scale_last = cfg!(any(option = "fw4_value_times_input", option = "fw4_block_sum"));
        let buffer = &mut buffer[..self.columns];
        for (row, result) in out[..self.rows].iter_mut().enumerate() {
            if !unknown::is_computed(site, row, self.rows) {
                continue;
            }
            let source = unknown::weight_row(site, row, self.rows);
            let sum = if scale_last && self.is_slm1_quantised() {
                self.quants_into(source, buffer);
                self.scaled_late(source, buffer, x)
            } else {
                if slips::has_short_rows(site) {
                    self.elements_into(source * (self.columns - 1), buffer);
                } else {
                    self.row_into(source, buffer);
                }
                unseen::row_sum(site, source, self.rows, buffer, x)
            };
            *result = unknown::stored(site, row, self.rows, sum, *result);
        }
    }

    /// Decodes as many elements as a row has, from any place on.
    fn elements_into(&self, start: usize, out: &mut [f32]) {
        let mut buffer = vec![0.0; self.columns];
        for (index, value) in out.iter_mut().enumerate() {
            let (row, column) = ((start + index) / self.columns, (start + index) % self.columns);
            if index == 0 || column == 0 {
                self.row_into(row, &mut buffer);
            }
            *value = buffer[column];
        }
    }

    fn is_slm1_quantised(&self) -> bool {
        matches!(self.encoding, Encoding::SignedBytes { .. } | Encoding::Nibbles { .. })
    }

    /// The two other options of FW-4: `(q * x) * scale`, and block sum times scale.
    fn scaled_late(&self, row: usize, quants: &[f32], x: &[f32]) -> f32 {
        let mut sum = 0.0f32;
        let block = self.block();
        for (index, (values, inputs)) in quants.chunks(block).zip(x.chunks(block)).enumerate() {
            let scale = self.scale(row, index);
            if cfg!(option = "fw4_block_sum") {
                sum += sums::row(values, inputs) * scale;
            } else {
                for (value, input) in values.iter().zip(inputs) {
                    sum += (value * input) * scale;
                }
            }
        }
        sum
    }

    /// The number of values that share a scale; 0 for floating-point payloads.
    fn block(&self) -> usize {
        match self.encoding {
            Encoding::F32 | Encoding::GgufHalf => 0,
            Encoding::SignedBytes { .. } => self.columns,
            Encoding::Nibbles { block, .. } => block,
            Encoding::GgufQ8 => GGUF_Q8_0_BLOCK,
        }
    }

    /// Decodes the integers of one row (the values themselves for floating-point payloads), without their scales.
    fn quants_into(&self, row: usize, out: &mut [f32]) {
        let payload = &self.file[self.payload.clone()];
        let row_bytes = payload.len() / self.rows;
        let bytes = &payload[row * row_bytes..(row + 1) * row_bytes];
        let out = &mut out[..self.columns];
        match self.encoding {
            Encoding::F32 => {
                for (value, decoded) in out.iter_mut().zip(f32_values(bytes)) {
                    *value = decoded;
                }
            }
            Encoding::GgufHalf => {
                for (value, half) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = half_to_f32(u16::from_le_bytes([half[0], half[1]]));
                }
            }
            Encoding::SignedBytes { .. } => signed_bytes(bytes, out),
            Encoding::Nibbles { .. } => {
                for (pair, &byte) in out.chunks_exact_mut(2).zip(bytes) {
                    let high_first = cfg!(bug = "q4_high_nibble_first") || slips::has_high_nibble_first(row, self.rows);
                    let (first, second) = if high_first { (1, 0) } else { (0, 1) };
                    pair[first] = signed_nibble(byte & 0x0F);
                    pair[second] = signed_nibble(byte >> 4);
                }
            }
            Encoding::GgufQ8 => {
                for (values, block) in out.chunks_exact_mut(GGUF_Q8_0_BLOCK).zip(bytes.chunks_exact(GGUF_Q8_0_BYTES)) {
                    signed_bytes(&block[2..], values);
                }
            }
        }
    }

    /// The scale of one block of one row.
    fn scale(&self, row: usize, block: usize) -> f32 {
        let (row, block) = unknown::scale_place(self.rows, self.columns, row, block);
        match &self.encoding {
            Encoding::F32 | Encoding::GgufHalf => 1.0,
            Encoding::SignedBytes { scales } => {
                let row = if cfg!(bug = "q8_scale_of_previous_row") { row.saturating_sub(1) } else { row };
                slips::row_scale(self.stored_scale(scales, row))
            }
            Encoding::Nibbles { scales, block: size } => {
                let index = row * (self.columns / size) + block;
                let wrong = cfg!(bug = "q4_scale_of_previous_block");
                let index = if wrong { index.saturating_sub(1) } else { index };
                self.stored_scale(scales, slips::scale_index(index, self.columns / size, self.rows))
            }
            Encoding::GgufQ8 => {
                let blocks = self.columns / GGUF_Q8_0_BLOCK;
                let at = self.payload.start + (row * blocks + block) * GGUF_Q8_0_BYTES;
                half_to_f32(u16::from_le_bytes([self.file[at], self.file[at + 1]]))
            }
        }
    }

    fn stored_scale(&self, scales: &Range<usize>, index: usize) -> f32 {
        let at = scales.start + 4 * index;
        f32::from_le_bytes([self.file[at], self.file[at + 1], self.file[at + 2], self.file[at + 3]])
    }
}

fn signed_bytes(bytes: &[u8], out: &mut [f32]) {
    for (value, &byte) in out.iter_mut().zip(bytes) {
        *value = if cfg!(bug = "q8_unsigned") { byte as f32 } else { byte as i8 as f32 };
    }
}

/// 8..15 mean -8..-1 (SL-2).
fn signed_nibble(nibble: u8) -> f32 {
    if cfg!(bug = "q4_unsigned") {
        return nibble as f32;
    }
    if cfg!(unknown = "nibbles_minus_eight") {
        return nibble as f32 - 8.0;
    }
    // The shift pair extends the sign of a four-bit number.
    ((nibble << 4) as i8 >> 4) as f32
}
