//! What is kept of the source.

use clap::Args;

use crate::cli::values::owner::parse_owner;
use ringsync::{Chmod, Config, Keep, Owner};

/// What is kept, or compared.
#[derive(Debug, Args)]
#[command(next_help_heading = KEEP)]
pub(crate) struct KeepArgs {
    /// Leave owner and group alone
    #[arg(long)]
    no_owner: bool,
    /// Leave modes alone (new files: SRC's permissions less the umask)
    #[arg(long)]
    no_perms: bool,
    /// Leave extended attributes and ACLs alone
    #[arg(long)]
    no_xattrs: bool,
    /// Copy a file with several names once for each
    #[arg(long)]
    no_hard_links: bool,
    /// Leave modification times alone (the next run then copies everything again)
    #[arg(long)]
    no_times: bool,
    /// Leave the modification times of directories alone
    #[arg(long, short = 'O')]
    omit_dir_times: bool,
    /// Leave out symlinks
    #[arg(long)]
    no_links: bool,
    /// Leave out FIFOs, sockets and devices
    #[arg(long)]
    no_specials: bool,
    /// Keep the flag C (no copy on write, chattr) of files and directories
    #[arg(long)]
    flags: bool,
    /// Change modes, as chmod does: Dg+s,F644,o= (D directories, F all else)
    #[arg(long, value_name = "CHMOD", allow_hyphen_values = true)]
    chmod: Vec<Chmod>,
    /// Give everything to USER, USER:GROUP or :GROUP, by name or number
    #[arg(long, value_name = "USER:GROUP", value_parser = parse_owner, conflicts_with = "no_owner")]
    chown: Option<Owner>,
}

impl KeepArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.keep = Keep::default().with(|keep| {
            keep.owner = !self.no_owner;
            keep.permissions = !self.no_perms;
            keep.xattrs = !self.no_xattrs;
            keep.hard_links = !self.no_hard_links;
            keep.times = !self.no_times;
            keep.directory_times = !self.omit_dir_times;
            keep.symlinks = !self.no_links;
            keep.specials = !self.no_specials;
            keep.flags = self.flags;
        });
        self.chmod.iter().for_each(|chmod| config.chmod.extend(chmod));
        config.owner = self.chown.unwrap_or_default();
    }
}

const KEEP: &str = "Which metadata is kept";
