//! What is kept of the source.

use clap::Args;

use crate::cli::values::id_map::{parse_groups, parse_users};
use crate::cli::values::owner::parse_owner;
use ringsync::{Chmod, Config, IdMap, Keep, Owner};

/// What is kept, or compared.
#[derive(Debug, Args)]
#[command(next_help_heading = KEEP)]
pub(crate) struct KeepArgs {
    /// Leave owners alone
    #[arg(long, alias = "no-o")]
    no_owner: bool,
    /// Leave groups alone
    #[arg(long, alias = "no-g")]
    no_group: bool,
    /// Leave modes alone (new files: SRC's permissions less the umask)
    #[arg(long, alias = "no-p")]
    no_perms: bool,
    /// With --no-perms, let files be run that can be in SRC, and no others
    #[arg(long, short = 'E')]
    executability: bool,
    /// Leave ACLs alone
    #[arg(long, alias = "no-A")]
    no_acls: bool,
    /// Leave extended attributes alone, and with them capabilities
    #[arg(long, alias = "no-X")]
    no_xattrs: bool,
    /// Copy a file with several names once for each
    #[arg(long, alias = "no-H")]
    no_hard_links: bool,
    /// Leave modification times alone (the next run then copies everything again)
    #[arg(long, alias = "no-t")]
    no_times: bool,
    /// Leave the modification times of directories alone
    #[arg(long, short = 'O')]
    omit_dir_times: bool,
    /// Leave the modification times of symlinks alone
    #[arg(long, short = 'J')]
    omit_link_times: bool,
    /// Leave out symlinks
    #[arg(long, alias = "no-l")]
    no_links: bool,
    /// Leave out FIFOs and sockets
    #[arg(long)]
    no_specials: bool,
    /// Leave out devices
    #[arg(long)]
    no_devices: bool,
    /// Keep the flag C (no copy on write, chattr) of files and directories
    #[arg(long)]
    flags: bool,
    /// Change modes, as chmod does: Dg+s,F644,o= (D directories, F all else)
    #[arg(long, value_name = "CHMOD", allow_hyphen_values = true)]
    chmod: Vec<Chmod>,
    /// Give everything to USER, USER:GROUP or :GROUP, by name or number
    #[arg(long, value_name = "USER:GROUP", value_parser = parse_owner, conflicts_with = "no_owner")]
    chown: Option<Owner>,
    /// Give TO what FROM has in SRC: a name, a number, 100-199, w*, or nothing for numbers without a name
    #[arg(long, value_name = "FROM:TO,...", value_parser = parse_users, conflicts_with = "no_owner")]
    usermap: Option<IdMap>,
    /// The same for groups
    #[arg(long, value_name = "FROM:TO,...", value_parser = parse_groups, conflicts_with = "no_group")]
    groupmap: Option<IdMap>,
}

impl KeepArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.keep = Keep::default().with(|keep| {
            keep.owner = !self.no_owner;
            keep.group = !self.no_group;
            keep.permissions = !self.no_perms;
            keep.executability = self.executability;
            keep.acls = !self.no_acls;
            keep.xattrs = !self.no_xattrs;
            keep.hard_links = !self.no_hard_links;
            keep.times = !self.no_times;
            keep.directory_times = !self.omit_dir_times;
            keep.symlink_times = !self.omit_link_times;
            keep.symlinks = !self.no_links;
            keep.specials = !self.no_specials;
            keep.devices = !self.no_devices;
            keep.flags = self.flags;
        });
        self.chmod.iter().for_each(|chmod| config.chmod.extend(chmod));
        config.owner = self.chown.unwrap_or_default();
        config.users.clone_from(&self.usermap);
        config.groups.clone_from(&self.groupmap);
    }
}

const KEEP: &str = "Which metadata is kept";
