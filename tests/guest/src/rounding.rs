//! Fewer bits than f32 has; only unknown bugs need them.

/// Rounds to nearest even without the last `bits` bits of an f32.
pub fn rounded(value: f32, bits: u32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let half_unit = (1u32 << (bits - 1)) - 1 + (value.to_bits() >> bits & 1);
    f32::from_bits((value.to_bits() + half_unit) & !((1 << bits) - 1))
}

/// Drops the last `bits` bits of an f32.
pub fn cut(value: f32, bits: u32) -> f32 {
    f32::from_bits(value.to_bits() & !((1 << bits) - 1))
}

/// Rounds to the nearest IEEE half, ties to even; magnitudes above 65504 become infinite.
pub fn half(value: f32) -> f32 {
    let magnitude = value.abs();
    if magnitude >= 65_520.0 {
        f32::INFINITY.copysign(value)
    } else if magnitude < 6.103_515_6e-5 {
        // Subnormal halves are multiples of 2^-24, which adding 0.5 aligns with the last bit of an f32.
        ((magnitude + 0.5) - 0.5).copysign(value)
    } else {
        rounded(value, 13)
    }
}
