//! What a run knows, a file for each thing. None of them asks what a run is for: those who do are in the other folders.

pub(crate) mod backup_name;
pub(crate) mod backups;
pub(crate) mod batch;
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
