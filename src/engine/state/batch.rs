//! What the copy tasks take from the walk.

use std::sync::Arc;

use crate::engine::state::directory::Directory;
use crate::walk;

/// Some entries of one directory.
pub(crate) type Batch = walk::Batch<Arc<Directory>>;
/// What one message carries.
pub(crate) type Parcel = walk::Parcel<Arc<Directory>>;
