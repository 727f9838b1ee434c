//! TODO engine/state

pub(crate) mod backup_name;
pub(crate) mod backups;
pub(crate) mod budget;
pub(crate) mod copied;
pub(crate) mod deletions;
pub(crate) mod directory;
pub(crate) mod file_systems;
pub(crate) mod links;
pub(crate) mod pair;
pub(crate) mod references;
pub(crate) mod twins;
pub(crate) mod watched;
pub(crate) mod work;
