//! The SLM1 tensor directory: entries, their ranges, and the matrices they become (SL-1 to SL-6).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::bytes::{f32_values, range_inside, Cursor};
use crate::matrix::{Encoding, Matrix};
use crate::slm1_checksum::name_hash;
use crate::status::Status;

pub const ENTRY_BYTES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DType {
    F32 = 1,
    Q8 = 2,
    Q4 = 3,
}

/// One directory entry whose ranges have been checked.
pub struct Entry {
    name_hash: u64,
    pub dtype: DType,
    dimensions: Vec<u32>,
    payload: Range<usize>,
    /// Where the scales start; where they end follows from the block size.
    scale_offset: u64,
    block_size: u32,
}

impl Entry {
    /// Checks dtype (10), rank (7), payload range (7) and the start of the scales (7), in this order.
    fn parse(entry: &[u8], file_size: usize) -> Result<Entry, Status> {
        let fields = RawEntry::read(entry).ok_or(Status::InvalidTensorDirectory)?;
        let dtype = match fields.dtype {
            1 => DType::F32,
            2 if !cfg!(without = "q8_0") => DType::Q8,
            3 if !cfg!(without = "q4_0") => DType::Q4,
            _ => return Err(Status::UnsupportedDType),
        };
        if !(1..=4).contains(&fields.rank) {
            return Err(Status::InvalidTensorDirectory);
        }
        let dimensions = fields.dimensions[..fields.rank as usize].to_vec();
        let payload = range_inside(fields.byte_offset, fields.byte_length as u128, file_size)
            .ok_or(Status::InvalidTensorDirectory)?;
        if dtype != DType::F32 && fields.scale_offset != 0 && fields.scale_offset >= file_size as u64 {
            return Err(Status::InvalidTensorDirectory);
        }
        let (name_hash, block_size, scale_offset) = (fields.name_hash, fields.block_size, fields.scale_offset);
        Ok(Entry { name_hash, dtype, dimensions, payload, scale_offset, block_size })
    }

    /// Turns the entry into a matrix of exactly this shape, else 9 (SL-6).
    fn matrix(&self, file: &Arc<[u8]>, expected: &[u32]) -> Result<Matrix, Status> {
        if self.dimensions != expected {
            return Err(Status::ShapeMismatch);
        }
        let (rows, columns) = rows_and_columns(&self.dimensions);
        let elements = rows * columns as u128;
        let length = match self.dtype {
            DType::F32 => 4 * elements,
            DType::Q8 => elements,
            DType::Q4 => elements / 2,
        };
        let scale_count = scale_count(self.dtype, &self.dimensions, self.block_size).ok_or(Status::ShapeMismatch)?;
        if self.payload.len() as u128 != length {
            return Err(Status::ShapeMismatch);
        }
        let encoding = match self.dtype {
            DType::F32 => Encoding::F32,
            DType::Q8 => Encoding::SignedBytes { scales: self.scales(file, scale_count)? },
            DType::Q4 => Encoding::Nibbles { scales: self.scales(file, scale_count)?, block: self.block_size as usize },
        };
        let (rows, columns) = (rows as usize, columns as usize);
        Ok(Matrix { file: file.clone(), payload: self.payload.clone(), encoding, rows, columns })
    }

    /// Where the scales are; each must be positive and finite (SL-6).
    fn scales(&self, file: &[u8], count: u128) -> Result<Range<usize>, Status> {
        let inside = range_inside(self.scale_offset, count.saturating_mul(4), file.len());
        let scales = inside.filter(|_| self.scale_offset != 0).ok_or_else(misplaced_scales)?;
        let positive = |scale: f32| scale.is_finite() && scale > 0.0;
        if !f32_values(&file[scales.clone()]).all(positive) && !cfg!(bug = "bad_scales_accepted") {
            return Err(Status::ShapeMismatch);
        }
        Ok(scales)
    }
}

/// The status of scales that run past the end of the file or have no place at all (SL-6).
fn misplaced_scales() -> Status {
    if cfg!(option = "sl6_scales_7") {
        Status::InvalidTensorDirectory
    } else {
        Status::ShapeMismatch
    }
}

/// The fields of an entry as written.
struct RawEntry {
    name_hash: u64,
    dtype: u32,
    rank: u32,
    dimensions: [u32; 4],
    byte_offset: u64,
    byte_length: u64,
    scale_offset: u64,
    block_size: u32,
}

impl RawEntry {
    fn read(entry: &[u8]) -> Option<RawEntry> {
        let mut cursor = Cursor::new(entry, 0);
        Some(RawEntry {
            name_hash: cursor.u64()?,
            dtype: cursor.u32()?,
            rank: cursor.u32()?,
            dimensions: [cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?],
            byte_offset: cursor.u64()?,
            byte_length: cursor.u64()?,
            scale_offset: cursor.u64()?,
            block_size: cursor.u32()?,
        })
    }
}

/// A rank-1 tensor is one row; otherwise the last dimension holds the columns.
fn rows_and_columns(dimensions: &[u32]) -> (u128, u32) {
    match dimensions.split_last() {
        None => (0, 0),
        Some((&columns, leading)) => (leading.iter().map(|&size| size as u128).product(), columns),
    }
}

/// The number of scales, 0 for f32; `None` for a bad block_size (SL-2).
fn scale_count(dtype: DType, dimensions: &[u32], block_size: u32) -> Option<u128> {
    let (rows, columns) = rows_and_columns(dimensions);
    match dtype {
        DType::F32 => Some(0),
        DType::Q8 if block_size == columns => Some(rows),
        DType::Q4 if block_size > 0 && block_size % 2 == 0 && columns % block_size == 0 => {
            Some(rows * (columns / block_size) as u128)
        }
        _ => None,
    }
}

pub struct Directory {
    file: Arc<[u8]>,
    /// The first entry of every name hash (SL-3).
    entries: BTreeMap<u64, Entry>,
}

impl Directory {
    /// Reads every entry in order.
    pub fn parse(file: &Arc<[u8]>, range: Range<usize>) -> Result<Directory, Status> {
        let mut entries = BTreeMap::new();
        for bytes in file[range].chunks_exact(ENTRY_BYTES) {
            let entry = Entry::parse(bytes, file.len())?;
            entries.entry(entry.name_hash).or_insert(entry);
        }
        Ok(Directory { file: file.clone(), entries })
    }

    /// The entry of this name, or 8.
    pub fn find(&self, name: &str) -> Result<&Entry, Status> {
        self.entries.get(&name_hash(name)).ok_or(Status::MissingTensor)
    }

    /// The matrix of a present tensor, or 9.
    pub fn matrix(&self, name: &str, expected: &[u32]) -> Result<Matrix, Status> {
        self.find(name)?.matrix(&self.file, expected)
    }
}
