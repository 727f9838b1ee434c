//! Why a symlink is not followed.

use crate::error::setting::{Names, Setting};

/// Why a symlink is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Astray {
    /// It leads to what does not exist.
    Nowhere,
    /// It leads out of the source.
    OutOfSource,
    /// It leads out of the destination.
    OutOfDestination,
    /// It leads into the destination, which the run writes to.
    IntoDestination,
    /// It leads to a directory that it lies in, or on the way there.
    Round,
    /// It belongs to this user, who could not get to what it leads to.
    Barred(u32),
    /// It belongs to this user, who may turn it elsewhere.
    Foreign(u32),
    /// Others can put names, and so symlinks, where it lies.
    Open,
    /// It leads to a directory that the source has as well, or that another symlink leads to.
    Shared,
}

impl Astray {
    /// The text, with settings called by these names.
    pub(crate) fn told(self, names: Names) -> String {
        let (anywhere, insecure) = (names(Setting::FollowUnsafe), names(Setting::InsecureLinks));
        match self {
            Astray::Nowhere => "it is a symlink that leads to nothing".into(),
            Astray::OutOfSource => {
                format!("it is a symlink that leads out of SRC ({anywhere} copies what lies there)")
            }
            Astray::OutOfDestination => {
                "it is a symlink that leads out of DST, where nothing is written: mount the directory \
                there instead (mount --bind)"
                    .into()
            }
            Astray::IntoDestination => "it leads into DST, which is being written".into(),
            Astray::Round => "it leads to a directory that it lies in itself".into(),
            Astray::Barred(uid) => format!(
                "it is a symlink of another user (uid {uid}), who as far as owners and modes tell could not read what it leads \
                 to ({insecure} follows it all the same)"
            ),
            Astray::Foreign(uid) => format!(
                "it is a symlink of another user (uid {uid}), who may turn it elsewhere ({insecure} follows it all the same)"
            ),
            Astray::Open => format!(
                "it is a symlink where others can put some, so that it may be theirs ({insecure} follows it all the same)"
            ),
            Astray::Shared => {
                "it is a symlink to a directory that is the mirror of another one in SRC".into()
            }
        }
    }
}
