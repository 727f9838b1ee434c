//! What files hold: hashing it, finding its holes, and manifests of it.

pub(crate) mod hash;
pub mod manifest;
pub(crate) mod sparse;
