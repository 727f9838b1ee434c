//! Which symlinks are followed.

use clap::Args;

use ringsync::{Config, Follow, Symlinks};

/// Which symlinks are followed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which symlinks are followed")]
pub(crate) struct SymlinkArgs {
    /// Copy what symlinks lead to in SRC; what leads nowhere, or out of SRC, is an error
    #[arg(short = 'L', long)]
    copy_links: bool,
    /// Take symlinks to directories in SRC for directories
    #[arg(short = 'k', long)]
    copy_dirlinks: bool,
    /// Copy what symlinks lead to that are absolute or lead out of SRC by their text; with -L and -k, follow out of SRC
    #[arg(long)]
    copy_unsafe_links: bool,
    /// Leave out symlinks that are absolute or lead out of SRC by their text
    #[arg(long)]
    safe_links: bool,
    /// Take symlinks in DST for the directories that they lead to in DST, where SRC has a directory
    #[arg(short = 'K', long)]
    keep_dirlinks: bool,
    /// Follow other users' symlinks too, on the way to what is named, and in SRC with -L; they may gain by it
    #[arg(long)]
    insecure_links: bool,
}

impl SymlinkArgs {
    /// Puts the options into `config`, before those that name files.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.symlinks = Symlinks::default().with(|symlinks| {
            symlinks.follow = match (self.copy_links, self.copy_dirlinks) {
                (true, _) => Follow::All,
                (false, true) => Follow::Directories,
                (false, false) => Follow::None,
            };
            symlinks.follow_unsafe = self.copy_unsafe_links;
            symlinks.skip_unsafe = self.safe_links;
            symlinks.keep_directory_links = self.keep_dirlinks;
        });
        config.insecure_links = self.insecure_links;
    }
}
