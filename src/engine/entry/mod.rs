//! One entry: looked at on both sides, and made anew or mended as the decision says.

pub(crate) mod contents;
pub(crate) mod copy_file;
pub(crate) mod earlier;
pub(crate) mod fill;
pub(crate) mod flags;
pub(crate) mod follow;
pub(crate) mod hard_link;
pub(crate) mod in_place;
pub(crate) mod item;
pub(crate) mod keep_old;
pub(crate) mod large_file;
pub(crate) mod live;
pub(crate) mod look;
pub(crate) mod mirror;
pub(crate) mod new_file;
pub(crate) mod read_back;
pub(crate) mod segment;
pub(crate) mod special;
