//! The project's own XorShift64 generator (PR-1 to PR-3).

const XORSHIFT_STAR: u64 = 0x2545_F491_4F6C_DD1D;

pub struct XorShift64 {
    state: u64,
}

impl XorShift64 {
    /// Starts from `seed`; zero would be a fixed point and is replaced (PR-2).
    pub fn new(seed: u64) -> Self {
        let state = if seed == 0 && !cfg!(bug = "seed_zero_kept") { replacement_of_zero() } else { seed };
        XorShift64 { state }
    }

    /// Advances and returns the next 64 bits (PR-1).
    fn next(&mut self) -> u64 {
        let before = self.state;
        let mut x = before;
        if cfg!(option = "pr1_7_9_8") {
            x ^= x << 7;
            x ^= x >> 9;
            x ^= x << 8;
        } else if cfg!(option = "pr1_star") {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
        } else if cfg!(bug = "generator_wrong_shifts") {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
        } else {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        self.state = x;
        if cfg!(option = "pr1_star") {
            x.wrapping_mul(XORSHIFT_STAR)
        } else if cfg!(bug = "generator_returns_old_state") {
            before
        } else {
            x
        }
    }

    /// Draws a uniform f32 in [0, 1) (PR-3; the f64 options may round up to 1).
    pub fn unit(&mut self) -> f32 {
        let bits = self.next();
        if cfg!(option = "pr3_53_bits") {
            ((bits >> 11) as f64 / 9_007_199_254_740_992.0) as f32
        } else if cfg!(option = "pr3_64_bits") {
            (bits as f64 / 18_446_744_073_709_551_616.0) as f32
        } else if cfg!(bug = "draw_from_32_bits") {
            (bits >> 32) as f32 / 4_294_967_296.0
        } else if cfg!(bug = "draw_from_low_bits") {
            (bits & 0xFF_FFFF) as f32 / 16_777_216.0
        } else {
            (bits >> 40) as f32 / 16_777_216.0
        }
    }
}

fn replacement_of_zero() -> u64 {
    if cfg!(option = "pr2_one") {
        1
    } else if cfg!(option = "pr2_star_constant") {
        XORSHIFT_STAR
    } else if cfg!(option = "pr2_marsaglia") {
        88_172_645_463_325_252
    } else {
        0x9E37_79B9_7F4A_7C15
    }
}
