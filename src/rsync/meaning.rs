//! What the options mean to the engine. rsync's defaults hold: without letters nothing but contents is kept, times are
//! whole seconds, and what guards ringsync's own users against mistakes of theirs is off.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crate::cli::values::owner::parse_owner;
use crate::cli::values::rate::bytes_a_second;
use crate::cli::values::size::parse_size;
use crate::rsync::failure::{Failure, USAGE};
use crate::rsync::sources::Run;
use crate::rsync::wishes::{Keeps, Rule, Wishes};
use ringsync::event::Mode;
use ringsync::{Backup, Chmod, Compare, CompareBy, Config, Delete, Escaped, Keep, Selection};

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
        self.keep.refuse_halves()
    }

    /// Sets what the options say; the sources and the destination are set already.
    pub(super) fn apply(&self, run: &mut Run) -> Result<(), Failure> {
        let Run { config, taken } = run;
        config.mode = if self.dry_run { Mode::DryRun } else { Mode::Sync };
        config.keep = self.keep.of();
        // Each backup beside its file gives its directory another time.
        config.keep.directory_times &= !self.backup || self.backup_dir.is_some();
        for chmod in &self.keep.chmod {
            config.chmod.extend(&self.chmod(chmod)?);
        }
        if let Some(owner) = &self.keep.chown {
            let text = owner.to_str().unwrap_or_default();
            config.owner = parse_owner(text).map_err(|why| refused("--chown", owner, &why))?;
            config.keep.owner = true;
        }
        config.select = self.selection(taken)?;
        config.compare = self.compare();
        config.link_dest.clone_from(&self.link_dest);
        if self.delete.wanted {
            config.delete = Some(Delete::default().with(|delete| {
                delete.allow_empty_source = true;
                delete.allow_strangers = true;
            }));
        }
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
        select.from0 = self.from0;
        for rule in &self.rules {
            match rule {
                Rule::Exclude(pattern) => select.exclude(pattern),
                Rule::Include(pattern) => select.include(pattern),
                Rule::ExcludeFrom(file) => select.exclude_from(file),
                Rule::IncludeFrom(file) => select.include_from(file),
                Rule::Filter(rule) => select.filter(rule),
            }?;
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

impl Keeps {
    /// What an entry keeps.
    fn of(&self) -> Keep {
        Keep::default().with(|keep| {
            keep.owner = self.owner || self.group;
            keep.permissions = self.perms;
            keep.xattrs = self.xattrs;
            keep.hard_links = self.hard_links;
            keep.times = self.times;
            keep.directory_times = !self.omit_dir_times;
            keep.symlinks = self.links;
            keep.specials = self.devices || self.specials;
        })
    }

    /// Refuses what the engine has only together.
    fn refuse_halves(&self) -> Result<(), Failure> {
        for (one, other, names) in [
            (self.owner, self.group, ["--owner", "--group"]),
            (self.acls, self.xattrs, ["--acls", "--xattrs"]),
            (self.devices, self.specials, ["--devices", "--specials"]),
        ] {
            let [name, without] = if one { names } else { [names[1], names[0]] };
            if one != other {
                return Err(Failure::lacking(&format!("{name} without {without}")));
            }
        }
        Ok(())
    }
}

/// A rule that ends in a name, whose bytes stand for themselves.
fn rule(beginning: &[u8], name: &OsStr) -> OsString {
    let escaped = name.as_bytes().iter().flat_map(|&byte| [b'\\', byte]);
    OsString::from_vec(beginning.iter().copied().chain(escaped).collect())
}

/// A value that can't be read.
fn refused(name: &str, value: &OsStr, why: &str) -> Failure {
    Failure::new(format!("{name}={} is invalid: {why}", Escaped::name(value)), USAGE)
}
