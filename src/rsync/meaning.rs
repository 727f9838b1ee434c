//! What the options mean to the engine. rsync's defaults hold: without letters nothing but contents is kept, times are
//! whole seconds, and what guards ringsync's own users against mistakes of theirs is off.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use crate::cli::values::id_map::{Whose, read_as_rsync};
use crate::cli::values::rate::bytes_a_second;
use crate::cli::values::rule::add_cvs;
use crate::cli::values::size::parse_size;
use crate::report::lines::warn;
use crate::rsync::failure::{Failure, USAGE};
use crate::rsync::sources::Run;
use crate::rsync::wishes::{Deletes, Keeps, OwnerMap, Wishes};
use ringsync::event::Mode;
use ringsync::{
    Backup, Chmod, Compare, CompareBy, Config, Delete, DeleteLimit, DeleteWhen, Escaped, Follow, IdMap, Keep,
    Reuse, Selection, Symlinks, Unread,
};

/// As many other trees as rsync takes.
const MOST_TREES: usize = 20;

impl Wishes {
    /// Refuses what contradicts itself, as rsync does.
    pub(super) fn refuse_contradictions(&self) -> Result<(), Failure> {
        let usage = |text: &str| Err(Failure::new(text, USAGE));
        if self.delete.times.len() > 1 {
            return usage("You may not combine multiple --delete-WHEN options.");
        }
        if self.delete.wanted && !self.recursive && !self.tells.list_only {
            return usage("--delete does not work without --recursive (-r) or --dirs (-d).");
        }
        if let Some(suffix) = self.suffix.as_ref().filter(|suffix| suffix.as_bytes().contains(&b'/')) {
            let suffix = Escaped::name(suffix);
            return Err(Failure::new(format!("--suffix cannot contain slashes: {suffix}"), USAGE));
        }
        if self.backup_dir.is_none() && self.suffix.as_ref().is_some_and(|suffix| suffix.is_empty()) {
            return usage("--suffix cannot be empty without a --backup-dir");
        }
        self.refuse_mixed_trees()?;
        self.keep.refuse_rivals()
    }

    /// All other trees are of one kind, and they are not too many.
    fn refuse_mixed_trees(&self) -> Result<(), Failure> {
        let Some((first, _)) = self.other_trees.first() else { return Ok(()) };
        let other = self.other_trees.iter().find(|(option, _)| option != first);
        let text = match other {
            Some((other, _)) => format!("ERROR: the --{other} option conflicts with the --{first} option"),
            None if self.other_trees.len() > MOST_TREES => {
                format!("ERROR: at most {MOST_TREES} --{first} args may be specified")
            }
            None => return Ok(()),
        };
        Err(Failure::new(text, USAGE))
    }

    /// Sets what the options say; the sources and the destination are set already.
    pub(super) fn apply(&self, run: &mut Run) -> Result<(), Failure> {
        let Run { config, taken } = run;
        config.mode = if self.dry_run { Mode::DryRun } else { Mode::Sync };
        config.keep = self.keep.of();
        // Each backup beside its file gives its directory another time.
        config.keep.directory_times &= !self.backup || self.backup_dir.is_some();
        config.symlinks = self.symlinks();
        config.insecure_links = self.follow.insecure;
        for chmod in &self.keep.chmod {
            config.chmod.extend(&self.chmod(chmod)?);
        }
        config.users = self.keep.map(&self.keep.users, Whose::Users)?;
        config.groups = self.keep.map(&self.keep.groups, Whose::Groups)?;
        config.select = self.selection(taken)?;
        config.compare = self.compare();
        self.look_in_other_trees(config);
        config.delete = self.delete.wanted.then(|| self.delete.of());
        config.force = self.delete.force;
        config.backup = self.backup();
        (config.in_place, config.fsync) = (self.in_place, self.fsync);
        config.partial = self.partial && !self.in_place;
        config.timeout = u64::try_from(self.timeout).ok().filter(|time| *time > 0).map(Duration::from_secs);
        config.bandwidth = match &self.bandwidth {
            Some(rate) => bytes_a_second(rate.to_str().unwrap_or_default())
                .map(NonZeroU64::new)
                .map_err(|why| refused("--bwlimit", rate, &why))?,
            None => None,
        };
        config.own_files.extend(self.tells.log_file.clone());
        config.details = self.tells.itemize > 0 || self.tells.verbose > 0 || self.tells.log_file.is_some();
        Ok(())
    }

    /// Sets the trees that `--link-dest` and its like name. What is no directory is left out, and told.
    fn look_in_other_trees(&self, config: &mut Config) {
        let Some((option, _)) = self.other_trees.first() else { return };
        config.reuse = match *option {
            "compare-dest" => Reuse::Compare,
            "copy-dest" => Reuse::Copy,
            _ => Reuse::Relink,
        };
        let is_file = |path: &Path| fs::metadata(path).is_ok_and(|found| !found.is_dir());
        for (_, path) in &self.other_trees {
            match is_file(&config.destination.join(path)) {
                true => warn(format_args!("--{option} arg is not a dir: {}", Escaped::path(path))),
                false => config.link_dest.push(path.clone()),
            }
        }
    }

    fn symlinks(&self) -> Symlinks {
        Symlinks::default().with(|symlinks| {
            symlinks.follow = match (self.follow.all, self.follow.directories) {
                (true, _) => Follow::All,
                (false, true) => Follow::Directories,
                (false, false) => Follow::None,
            };
            symlinks.follow_unsafe = self.follow.unsafe_ones;
            symlinks.skip_unsafe = self.follow.safe_alone;
            symlinks.keep_directory_links = self.follow.of_destination;
        })
    }

    fn chmod(&self, text: &OsString) -> Result<Chmod, Failure> {
        let parsed = text.to_str().and_then(|text| text.parse().ok());
        let told = || format!("Invalid argument passed to --chmod ({})", Escaped::name(text));
        parsed.ok_or_else(|| Failure::new(told(), USAGE))
    }

    fn compare(&self) -> Compare {
        Compare::default().with(|compare| {
            compare.by = match self {
                Wishes { checksum: true, .. } => CompareBy::Contents,
                Wishes { size_only: true, .. } => CompareBy::Size,
                Wishes { ignore_times: true, .. } => CompareBy::Nothing,
                _ => CompareBy::SizeAndTime,
            };
            compare.window = u64::try_from(self.modify_window).ok();
            compare.update = self.update;
            compare.existing = self.existing;
            compare.ignore_existing = self.ignore_existing;
        })
    }

    /// The rules, and what else says which entries are copied.
    fn selection(&self, taken: &[OsString]) -> Result<Selection, Failure> {
        let mut select = Selection::default();
        for name in taken {
            select.filter(&rule(b"H /", name))?;
        }
        (select.from0, select.insecure_links) = (self.from0, self.follow.insecure);
        for rule in &self.rules {
            rule.add(&mut select)?;
        }
        if self.cvs {
            add_cvs(&mut select)?;
        }
        let size = |name: &str, text: &Option<OsString>| match text {
            Some(text) => parse_size(text.to_str().unwrap_or_default())
                .map(Some)
                .map_err(|why| refused(name, text, &why)),
            None => Ok(None),
        };
        select.max_size = size("--max-size", &self.sizes.0)?;
        select.min_size = size("--min-size", &self.sizes.1)?;
        select.one_file_system = self.one_file_system;
        select.delete_excluded = self.delete.excluded;
        let suffix = self.own_suffix();
        if self.keeps_backups() && self.backup_dir.is_none() && self.delete.wanted && !self.delete.excluded {
            select.filter(&rule(b"P *", &suffix))?;
        }
        Ok(select)
    }

    fn keeps_backups(&self) -> bool {
        self.backup || self.backup_dir.is_some()
    }

    fn own_suffix(&self) -> OsString {
        let default = if self.backup_dir.is_some() { "" } else { "~" };
        self.suffix.clone().unwrap_or_else(|| default.into())
    }

    fn backup(&self) -> Option<Backup> {
        self.keeps_backups().then(|| {
            Backup::default().with(|backup| {
                backup.directory.clone_from(&self.backup_dir);
                backup.suffix = self.own_suffix();
            })
        })
    }
}

impl Deletes {
    /// What is deleted, and when: nothing of our own users' guards, and rsync's instead.
    fn of(&self) -> Delete {
        let is_late = self.times.iter().any(|time| matches!(*time, "delete-delay" | "delete-after"));
        Delete::default().with(|delete| {
            (delete.allow_empty_source, delete.allow_strangers, delete.tells_kept) = (true, true, true);
            delete.limit = self.most.map(DeleteLimit::First);
            // rsync deletes in a directory before it copies to it: here that is done before anything is copied.
            delete.when = if is_late { DeleteWhen::After } else { DeleteWhen::Before };
            delete.unread = if self.ignore_errors { Unread::ProtectsNothing } else { Unread::ProtectsAll };
        })
    }
}

impl Keeps {
    /// What an entry keeps.
    pub(super) fn of(&self) -> Keep {
        Keep::default().with(|keep| {
            (keep.owner, keep.group) = (self.owner, self.group);
            (keep.permissions, keep.executability) = (self.perms, self.executability);
            keep.acls = self.acls;
            keep.xattrs = self.xattrs;
            keep.hard_links = self.hard_links;
            keep.times = self.times;
            keep.directory_times = !self.omit_dir_times;
            keep.symlink_times = !self.omit_link_times;
            keep.symlinks = self.links;
            (keep.devices, keep.specials) = (self.devices, self.specials);
        })
    }

    /// Who takes the place of the source's users or groups, where that is said and they are kept.
    fn map(&self, owners: &OwnerMap, whose: Whose) -> Result<Option<IdMap>, Failure> {
        let is_kept = match whose {
            Whose::Users => self.owner,
            Whose::Groups => self.group,
        };
        let Some(map) = owners.map.as_ref().filter(|_| is_kept) else { return Ok(None) };
        let tell = |why: String| warn(format_args!("rsync: {}: {why}", owners.option));
        let read = read_as_rsync(map.to_str().unwrap_or_default(), whose, !self.numeric, tell);
        read.map(Some).map_err(|why| Failure::new(format!("{}: {why}", owners.option), USAGE))
    }

    /// Refuses what is said twice.
    fn refuse_rivals(&self) -> Result<(), Failure> {
        let rival = [&self.users, &self.groups].into_iter().find_map(|owners| owners.rival);
        let told =
            |rival| format!("{rival} says again who is to own everything: give one of the options, once");
        rival.map_or(Ok(()), |rival| Err(Failure::new(told(rival), USAGE)))
    }
}

/// A rule that ends in a name, whose bytes stand for themselves.
fn rule(beginning: &[u8], name: &OsStr) -> OsString {
    // Without a wildcard a backslash stands for itself.
    let is_wild = |byte: &u8| b"*?[".contains(byte);
    let escapes = beginning.iter().chain(name.as_bytes()).any(is_wild);
    let escaped = name.as_bytes().iter().flat_map(|&byte| escapes.then_some(b'\\').into_iter().chain([byte]));
    OsString::from_vec(beginning.iter().copied().chain(escaped).collect())
}

/// A value that can't be read.
fn refused(name: &str, value: &OsStr, why: &str) -> Failure {
    Failure::new(format!("{name}={} is invalid: {why}", Escaped::name(value)), USAGE)
}
