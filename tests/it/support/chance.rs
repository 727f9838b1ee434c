//! Numbers by chance that can be had again.

/// From a seed (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// A seed that is printed; `RINGSYNC_TEST_SEED` brings it back.
    pub fn new() -> Chance {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let given = std::env::var("RINGSYNC_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("RINGSYNC_TEST_SEED={seed}");
        Chance(seed)
    }

    /// The same numbers each time.
    pub fn of(seed: u64) -> Chance {
        Chance(seed)
    }

    /// From 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
