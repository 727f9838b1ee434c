//! Mirrors directory trees on one Linux machine: contents, metadata, hard links and holes, each file hashed with BLAKE3.
//! What waits for a disk goes through io_uring. The program `ringsync` is built on this library.
//!
//! ```no_run
//! use ringsync::event::Silent;
//! use ringsync::{Config, Delete, DeleteLimit, Hashing, Stop};
//!
//! // An exact mirror that is read back and listed, unless more than a tenth of it would be deleted.
//! let config = Config::new("photos", "/mnt/backup/photos").with(|config| {
//!     config.delete = Some(Delete::default().with(|delete| delete.limit = Some(DeleteLimit::Percent(10))));
//!     config.hashing = Some(Hashing::default().with(|hashing| {
//!         hashing.manifest = Some("photos.b3".into());
//!         hashing.verify = true;
//!     }));
//! });
//! let totals = ringsync::sync(&config, &mut Silent, &Stop::default())?.into_result()?;
//! println!("{} bytes copied", totals.bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`sync()`] mirrors, [`check()`] compares two trees and writes nothing, and [`verify()`] checks files against a
//! [`manifest`] of their hashes.
//!
//! # Using the library
//!
//! The feature `application`, which is on by default, is the program with what only it needs. A dependency on the library
//! alone leaves it out: `default-features = false`.
//!
//! - **Options.** [`Config`] and the types of its fields have defaults, and `with`, which changes them in one expression.
//! - **What cannot begin** is an [`Error`]: operation, path and cause. **What failed on the way** is told to the
//!   [`Reporter`](event::Reporter) as it happens, and the first errors are in the [`Summary`](event::Summary), of which
//!   `into_result` makes a `Result`.
//! - **Messages** tell the whole chain of causes, and [`source`](std::error::Error::source) leads along it: print either the
//!   message or the chain. They name fields of [`Config`]; [`Error::told`] has them name what your program calls those.
//! - **Closed sets** can be matched in full: [`Kind`], [`Engine`], [`Reflink`], [`Mode`](event::Mode), [`Separator`],
//!   [`CompareBy`], [`Lock`]. What may get more fields or variants is `#[non_exhaustive]`.
//! - **Threads.** [`sync()`], [`check()`] and [`verify()`] block their thread until all is done, and have runtimes of
//!   their own. A task of tokio's calls them in `tokio::task::spawn_blocking`; anywhere else in a task they are an error
//!   before anything begins.
//!
//! Memory is bounded by the channels and the buffer pools, whatever the size of the tree. A file that fails costs that
//! file; a panic or a full disk ends the run.
//!
//! # How it works
//!
//! Through the ring go opens and stats while they are slow, reads that the page cache can't answer (not those of files on
//! FUSE or overlays), writes of more than 64 KiB while the kernel makes them wait, and fsync, of files and directories.
//! Nearly everything else is done in place, by plain system calls: what the page cache answers takes less time than
//! handing it over and coming back (0.92 of the time for opens and stats of small files on a disk), and for getdents,
//! chmod, chown, utimensat and clones io_uring has no operation (`io/mod.rs`, `io/adaptive.rs`; docs/performance.md has
//! the figures).
//!
//! The algorithm, in the order data flows:
//!
//! 1. **Roots.** SRC and DST are opened once and held; overlapping ones are refused (`roots/`). Several sources are
//!    grouped by the directories they lie in, each of which is a view of the same destination (`roots/several.rs`).
//! 2. **Walk.** A thread lists the source and sends the entries of each directory in batches over a bounded channel,
//!    parents before children (`walk/`). It reads directories by the descriptors that it holds, so that directories which
//!    are swapped meanwhile lead it nowhere else.
//! 3. **Copy tasks.** Each of a few threads has a ring of its own, begins with two tasks and adds more while they wait, up
//!    to a fixed number (`engine/workers/tasks.rs`). A task takes a batch, stats each entry on both sides
//!    (`engine/entry/mirror.rs`) and does what a pure function decides (`plan/compare.rs`).
//! 4. **Contents.** A file is read, hashed and written into a nameless file, gets its metadata, and then its name
//!    (`engine/entry/copy_file.rs`, `new_file.rs`). Large files are cut in segments that tasks of all threads take; the
//!    hashes of segments are subtrees that are merged (`engine/entry/large_file.rs`, `content/hash.rs`).
//! 5. **Directories** are made by the first task that needs one and completed by the last (`engine/directory/`,
//!    `engine/finish/`). Hard links wait for the first name of their inode (`engine/state/links.rs`).
//! 6. **Progress.** Tasks send events; one task gathers them, counts, and tells a reporter (`engine/progress/`,
//!    `event/`).
//!
//! On request, a file is flushed before it gets its name, and its name before it is reported durable
//! (`engine/finish/flush.rs`); what was written is read back (`engine/entry/read_back.rs`); the hashes of all files go
//! into a manifest (`engine/progress/manifest.rs`); reading is slowed down (`engine/primitives/bandwidth.rs`); a thread that
//! the kernel does not answer is left behind (`engine/workers/watchdog.rs`).
//!
//! A check of two trees is a run that only tells what it would do (`engine/check.rs`). Checking against a manifest has a
//! pipeline of its own on the same rings (`verify/`).
//!
//! What each ring did is measured where operations are made (`io/metrics.rs`, `event/metrics.rs`, `files/trace.rs`). A
//! ring that stands still is reported (`engine/workers/turns.rs`, `stall.rs`).
//!
//! Only Linux has what this is made of; elsewhere it does not compile.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "ringsync is for Linux alone: it is made of io_uring and of other system calls that only Linux has"
);

mod config;
mod content;
mod engine;
mod error;
pub mod event;
mod files;
mod io;
mod metadata;
mod options;
mod plan;
mod roots;
mod select;
mod stat;
mod stop;
pub mod store;
mod text;
pub mod verify;
mod walk;

pub use crate::config::{Config, DEFAULT_DEPTH, default_jobs};
pub use crate::engine::{check, sync};
pub use crate::error::{
    Astray, Cause, EXIT_UNUSABLE, EXIT_USAGE, Error, Frozen, Names, NotKept, Operation, Outcome, Property,
    Result, Setting,
};
pub use crate::event::{Changes, Incomplete, Kind};
pub use crate::files::key::default_state_directory;
pub use crate::io::ring::ring_refusal;
pub use crate::options::{
    Backup, Compare, CompareBy, Delete, DeleteLimit, DeleteWhen, Engine, Follow, Hashing, Keep, Lock, Owner,
    Reflink, Reuse, Symlinks, Unread,
};
pub use crate::plan::chmod::{Chmod, InvalidChmod};
pub use crate::plan::id_map::IdMap;
pub use crate::select::{NamePattern, Paths, Selection, Separator, is_standard_input};
pub use crate::stop::Stop;
pub use crate::text::Escaped;
pub use crate::verify::config::VerifyConfig;
pub use crate::verify::verify;
pub use blake3::Hash;

#[doc(hidden)]
pub use crate::engine::stages;

/// Manifests: their format, and reading and writing them.
pub mod manifest {
    pub use crate::content::manifest::{
        CHANGING, LINE_LIMIT, Malformed, Reader, Record, escape_path, format_line, format_mark, parse_line,
    };
    pub use crate::files::manifest::Writer;
}
