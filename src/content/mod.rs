//! What files hold: hashing it and finding its holes.

pub(crate) mod hash;
pub(crate) mod sparse;
