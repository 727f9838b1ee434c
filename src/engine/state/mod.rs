//! What a run knows, a file for each thing; the other folders work with it. Only backups.rs and references.rs read the
//! options of a run, to open the trees that `--backup-dir` and `--link-dest` name.

pub(crate) mod backup_name;
pub(crate) mod backups;
pub(crate) mod batch;
pub(crate) mod budget;
pub(crate) mod copied;
pub(crate) mod deletions;
pub(crate) mod directory;
pub(crate) mod file_systems;
pub(crate) mod links;
pub(crate) mod names;
pub(crate) mod pair;
pub(crate) mod references;
pub(crate) mod room;
pub(crate) mod twins;
pub(crate) mod watched;
