//! The structure of a GGUF file: metadata and tensor entries (GG-1 to GG-3).

use std::collections::BTreeMap;
use std::ops::Range;

use crate::bytes::{range_inside, Cursor};
use crate::matrix::{GGUF_Q8_0_BLOCK, GGUF_Q8_0_BYTES};
use crate::status::Status;

const MIN_HEADER_BYTES: usize = 24;
const DEFAULT_ALIGNMENT: u32 = 32;
const MAX_LENGTH: u64 = 1 << 30;
const MAX_TENSOR_NAME: usize = 64;

const TYPE_BOOL: u32 = 7;
const TYPE_U16: u32 = 2;
const TYPE_U32: u32 = 4;
const TYPE_F32: u32 = 6;
pub const TYPE_I32: u32 = 5;
pub const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;
pub const ARRAY_OF_F32: u32 = TYPE_F32;

/// A metadata value; numbers that no rule asks for are only skipped.
enum Value<'a> {
    U16(u16),
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(&'a [u8]),
    Array { element: u32, count: usize, bytes: &'a [u8] },
    Unused,
}

/// The tensor types that this guest decodes; every other type is 10.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    F32,
    F16,
    Q8,
}

pub struct TensorEntry {
    /// Columns first, trailing ones removed.
    pub dimensions: Vec<u64>,
    pub kind: TensorType,
    pub payload: Range<usize>,
}

pub struct GgufFile<'a> {
    pub metadata: Metadata<'a>,
    pub tensors: BTreeMap<&'a [u8], TensorEntry>,
}

impl<'a> GgufFile<'a> {
    /// Checks version (5), metadata (6) and tensor entries (7, 10), in this order.
    pub fn parse(file: &'a [u8]) -> Result<GgufFile<'a>, Status> {
        let mut cursor = Cursor::new(file, 4);
        match cursor.u32() {
            None => return Err(Status::InvalidHeader),
            Some(2 | 3) => {}
            Some(_) => return Err(Status::UnsupportedModelVersion),
        }
        if file.len() < MIN_HEADER_BYTES {
            return Err(Status::InvalidHeader);
        }
        let (tensor_count, metadata) = Metadata::read(&mut cursor).ok_or(Status::InvalidHeader)?;
        let alignment = match metadata.u32("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT) {
            alignment if alignment.is_power_of_two() => alignment as u64,
            _ => return Err(Status::InvalidHeader),
        };
        let tensors = read_entries(&mut cursor, tensor_count, alignment, file.len())?;
        Ok(GgufFile { metadata, tensors })
    }
}

/// An entry before its offset is resolved; its name ends before the first NUL.
struct RawEntry<'a> {
    name: &'a [u8],
    dimensions: Vec<u64>,
    kind: TensorType,
    bytes: u64,
    offset: u64,
}

impl<'a> RawEntry<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<RawEntry<'a>, Status> {
        let malformed = Status::InvalidTensorDirectory;
        let name = string(cursor).ok_or(malformed)?;
        let rank = cursor.u32().ok_or(malformed)?;
        if name.len() >= MAX_TENSOR_NAME || !(1..=4).contains(&rank) {
            return Err(malformed);
        }
        let mut dimensions = Vec::new();
        let mut elements = 1u64;
        for _ in 0..rank {
            let size = cursor.u64().ok_or(malformed)?;
            elements = elements.checked_mul(size).ok_or(malformed)?;
            if size == 0 || elements > i64::MAX as u64 {
                return Err(malformed);
            }
            dimensions.push(size);
        }
        let (kind, block_elements, block_bytes) = match cursor.u32().ok_or(malformed)? {
            0 => (TensorType::F32, 1, 4),
            1 if !cfg!(without = "gguf_f16") => (TensorType::F16, 1, 2),
            8 if !cfg!(without = "gguf_q8_0") => (TensorType::Q8, GGUF_Q8_0_BLOCK as u64, GGUF_Q8_0_BYTES as u64),
            _ => return Err(Status::UnsupportedDType),
        };
        if dimensions[0] % block_elements != 0 {
            return Err(malformed);
        }
        let bytes = (elements / block_elements).checked_mul(block_bytes).ok_or(malformed)?;
        let offset = cursor.u64().ok_or(malformed)?;
        while dimensions.len() > 1 && dimensions.last() == Some(&1) {
            dimensions.pop();
        }
        let kept = name.split(|&byte| byte == 0).next().unwrap_or(name);
        Ok(RawEntry { name: kept, dimensions, kind, bytes, offset })
    }
}

/// Reads all entries, then checks that their data is contiguous, aligned and inside the file.
fn read_entries<'a>(
    cursor: &mut Cursor<'a>,
    count: u64,
    alignment: u64,
    file_size: usize,
) -> Result<BTreeMap<&'a [u8], TensorEntry>, Status> {
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(RawEntry::read(cursor)?);
    }
    let padded = |size: u64| {
        let raised = size.checked_add(alignment - 1).ok_or(Status::InvalidTensorDirectory)?;
        Ok(raised & !(alignment - 1))
    };
    let data = padded(cursor.position() as u64)?;
    let mut expected = 0u64;
    let mut tensors = BTreeMap::new();
    for entry in entries {
        if entry.offset != expected {
            return Err(Status::InvalidTensorDirectory);
        }
        let start = data.checked_add(entry.offset).ok_or(Status::InvalidTensorDirectory)?;
        let payload = range_inside(start, entry.bytes as u128, file_size).ok_or(Status::InvalidTensorDirectory)?;
        expected = padded(expected + entry.bytes)?;
        let tensor = TensorEntry { dimensions: entry.dimensions, kind: entry.kind, payload };
        if tensors.insert(entry.name, tensor).is_some() {
            return Err(Status::InvalidTensorDirectory);
        }
    }
    Ok(tensors)
}

fn string<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u64()?;
    if length > MAX_LENGTH {
        return None;
    }
    cursor.take(length as usize)
}

/// Key-value pairs with unique, non-empty keys.
pub struct Metadata<'a> {
    pairs: BTreeMap<&'a [u8], Value<'a>>,
}

impl<'a> Metadata<'a> {
    /// Reads both counts and all pairs; `None` if anything is malformed.
    fn read(cursor: &mut Cursor<'a>) -> Option<(u64, Metadata<'a>)> {
        let (tensor_count, pair_count) = (cursor.u64()?, cursor.u64()?);
        let remaining = cursor.remaining() as u64;
        if tensor_count > remaining || pair_count > remaining {
            return None;
        }
        let mut pairs = BTreeMap::new();
        for _ in 0..pair_count {
            let key = string(cursor)?;
            let kind = cursor.u32()?;
            let value = read_value(cursor, kind)?;
            if key.is_empty() || pairs.insert(key, value).is_some() {
                return None;
            }
        }
        Some((tensor_count, Metadata { pairs }))
    }

    /// An optional u16; another type is 6.
    pub fn u16(&self, key: &str) -> Result<Option<u16>, Status> {
        match self.pairs.get(key.as_bytes()) {
            None => Ok(None),
            Some(Value::U16(value)) => Ok(Some(*value)),
            Some(_) => Err(Status::InvalidHeader),
        }
    }

    /// An optional u32; another type is 6.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Status> {
        match self.pairs.get(key.as_bytes()) {
            None => Ok(None),
            Some(Value::U32(value)) => Ok(Some(*value)),
            Some(_) => Err(Status::InvalidHeader),
        }
    }

    /// An optional f32; another type is 6.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Status> {
        match self.pairs.get(key.as_bytes()) {
            None => Ok(None),
            Some(Value::F32(value)) => Ok(Some(*value)),
            Some(_) => Err(Status::InvalidHeader),
        }
    }

    /// An optional bool; another type is 6.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Status> {
        match self.pairs.get(key.as_bytes()) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(Status::InvalidHeader),
        }
    }

    /// An optional string; another type is 6.
    pub fn text(&self, key: &str) -> Result<Option<&'a [u8]>, Status> {
        match self.pairs.get(key.as_bytes()) {
            None => Ok(None),
            Some(Value::Text(value)) => Ok(Some(value)),
            Some(_) => Err(Status::InvalidHeader),
        }
    }

    /// The element count and raw bytes of an optional array; another element type is 6.
    pub fn array(&self, key: &str, wanted: u32) -> Result<Option<(usize, &'a [u8])>, Status> {
        match self.pairs.get(key.as_bytes()) {
            None => Ok(None),
            Some(Value::Array { element, count, bytes }) if *element == wanted => Ok(Some((*count, bytes))),
            Some(_) => Err(Status::InvalidHeader),
        }
    }

    /// The strings of a required array of strings.
    pub fn strings(&self, key: &str) -> Result<Vec<&'a [u8]>, Status> {
        let (count, bytes) = self.array(key, TYPE_STRING)?.ok_or(Status::InvalidHeader)?;
        let mut cursor = Cursor::new(bytes, 0);
        (0..count).map(|_| string(&mut cursor).ok_or(Status::InvalidHeader)).collect()
    }
}

fn read_value<'a>(cursor: &mut Cursor<'a>, kind: u32) -> Option<Value<'a>> {
    match kind {
        TYPE_U16 => cursor.take(2).map(|bytes| Value::U16(u16::from_le_bytes([bytes[0], bytes[1]]))),
        TYPE_U32 => cursor.u32().map(Value::U32),
        TYPE_F32 => cursor.f32().map(Value::F32),
        TYPE_BOOL => cursor.take(1).map(|byte| Value::Bool(byte[0] != 0)),
        TYPE_STRING => string(cursor).map(Value::Text),
        TYPE_ARRAY => read_array(cursor),
        _ => cursor.take(scalar_bytes(kind)?).map(|_| Value::Unused),
    }
}

fn read_array<'a>(cursor: &mut Cursor<'a>) -> Option<Value<'a>> {
    let element = cursor.u32()?;
    let count = cursor.u64()?;
    if count > MAX_LENGTH {
        return None;
    }
    let mut inside = Cursor::new(cursor.rest(), 0);
    if element == TYPE_STRING {
        for _ in 0..count {
            string(&mut inside)?;
        }
    } else {
        let bytes = count * scalar_bytes(element)? as u64;
        inside.take(usize::try_from(bytes).ok()?)?;
    }
    let bytes = cursor.take(inside.position())?;
    Some(Value::Array { element, count: count as usize, bytes })
}

/// The size of a fixed-size metadata type; arrays of arrays do not exist.
fn scalar_bytes(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | TYPE_BOOL => Some(1),
        TYPE_U16 | 3 => Some(2),
        TYPE_U32 | TYPE_I32 | TYPE_F32 => Some(4),
        10 | 11 | 12 => Some(8),
        _ => None,
    }
}
