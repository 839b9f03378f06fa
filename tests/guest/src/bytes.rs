//! Little-endian reads that answer `None` instead of running past the end.

/// Reads forward through a byte slice.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], position: usize) -> Self {
        Cursor { bytes, position }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// Everything that has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or(&[])
    }

    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        if length > self.remaining() {
            return None;
        }
        let start = self.position;
        self.position += length;
        Some(&self.bytes[start..self.position])
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn f32(&mut self) -> Option<f32> {
        self.array().map(f32::from_le_bytes)
    }
}

/// The range `offset..offset + length` if it lies inside a file of `size` bytes.
pub fn range_inside(offset: u64, length: u128, size: usize) -> Option<std::ops::Range<usize>> {
    let end = (offset as u128).checked_add(length)?;
    if end > size as u128 {
        return None;
    }
    Some(offset as usize..end as usize)
}

/// Decodes consecutive little-endian f32 values.
pub fn f32_values(bytes: &[u8]) -> impl DoubleEndedIterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}
