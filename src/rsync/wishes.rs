//! What the options ask for, in rsync's terms: one field for each, set in the order of appearance. What a field sets of
//! the engine is in `meaning.rs`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::cli::values::rule::{OF_FILES, Rule};
use crate::rsync::failure::Failure;
use crate::rsync::grammar::Given;
use crate::rsync::options::Standing;
use crate::rsync::report::figures::Figures;

/// All that the options ask for; rsync's defaults.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) keep: Keeps,
    pub(super) follow: Follows,
    pub(super) recursive: bool,
    pub(super) one_file_system: bool,
    pub(super) sizes: (Option<OsString>, Option<OsString>),
    /// In the order in which they were given.
    pub(super) rules: Vec<Rule>,
    /// How often `-F` was given.
    pub(super) rule_files: u8,
    pub(super) from0: bool,
    pub(super) cvs: bool,
    pub(super) make_path: bool,
    pub(super) checksum: bool,
    pub(super) ignore_times: bool,
    pub(super) size_only: bool,
    pub(super) modify_window: i64,
    pub(super) update: bool,
    pub(super) existing: bool,
    pub(super) ignore_existing: bool,
    /// Other trees that may have what is new, and which option named each.
    pub(super) other_trees: Vec<(&'static str, PathBuf)>,
    pub(super) delete: Deletes,
    pub(super) backup: bool,
    pub(super) backup_dir: Option<PathBuf>,
    pub(super) suffix: Option<OsString>,
    pub(super) dry_run: bool,
    pub(super) in_place: bool,
    pub(super) partial: bool,
    pub(super) fsync: bool,
    pub(super) bandwidth: Option<OsString>,
    pub(super) timeout: i64,
    pub(super) tells: Tells,
    /// Options that change nothing between two local trees, as they were written.
    pub(super) tuning: Vec<String>,
}

/// What an entry keeps.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    pub(super) links: bool,
    pub(super) perms: bool,
    pub(super) executability: bool,
    pub(super) acls: bool,
    pub(super) xattrs: bool,
    pub(super) times: bool,
    pub(super) omit_dir_times: bool,
    pub(super) omit_link_times: bool,
    pub(super) owner: bool,
    pub(super) group: bool,
    pub(super) devices: bool,
    pub(super) specials: bool,
    pub(super) hard_links: bool,
    pub(super) chmod: Vec<OsString>,
    pub(super) users: OwnerMap,
    pub(super) groups: OwnerMap,
    /// Users and groups have no names, for maps.
    pub(super) numeric: bool,
}

/// Who is to own what the source's users, or groups, own: the value of `--usermap`, or what `--chown` says in its terms.
#[derive(Debug, Default)]
pub(super) struct OwnerMap {
    pub(super) map: Option<OsString>,
    /// Where it comes from.
    pub(super) option: &'static str,
    /// Another option says it as well.
    pub(super) rival: Option<&'static str>,
}

impl OwnerMap {
    fn set(&mut self, option: &'static str, map: OsString) {
        if self.map.is_some() {
            self.rival = Some(option);
        }
        (self.map, self.option) = (Some(map), option);
    }
}

/// Which symlinks are followed.
#[derive(Debug, Default)]
pub(super) struct Follows {
    pub(super) all: bool,
    pub(super) directories: bool,
    pub(super) of_destination: bool,
    pub(super) unsafe_ones: bool,
    /// Unsafe ones are left out.
    pub(super) safe_alone: bool,
    /// Those of other users too.
    pub(super) insecure: bool,
}

impl Follows {
    /// Whether it is one of these.
    fn take(&mut self, name: &str, on: bool) -> bool {
        match name {
            "copy-links" => self.all = on,
            "copy-dirlinks" => self.directories = on,
            "keep-dirlinks" => self.of_destination = on,
            "copy-unsafe-links" => self.unsafe_ones = on,
            "safe-links" => self.safe_alone = on,
            "insecure-links" => self.insecure = on,
            _ => return false,
        }
        true
    }
}

/// What is deleted, and when.
#[derive(Debug, Default)]
pub(super) struct Deletes {
    pub(super) wanted: bool,
    pub(super) excluded: bool,
    /// The options that say when.
    pub(super) times: Vec<&'static str>,
    /// A directory that is not empty makes way.
    pub(super) force: bool,
    /// Also where something of the source could not be read.
    pub(super) ignore_errors: bool,
    /// As many at most.
    pub(super) most: Option<u64>,
}

/// What is told.
#[derive(Debug, Default)]
pub(super) struct Tells {
    pub(super) verbose: u8,
    pub(super) quiet: bool,
    pub(super) itemize: u8,
    pub(super) figures: Figures,
    pub(super) progress: bool,
    pub(super) list_only: bool,
    pub(super) log_file: Option<PathBuf>,
    pub(super) help: bool,
    /// How often `-V` was given.
    pub(super) version: u8,
}

impl Wishes {
    /// What these options ask for, the last one of several that contradict each other.
    pub(super) fn of(options: Vec<Given>) -> Result<Self, Failure> {
        let mut wishes = Wishes::default();
        // As in rsync, -h alone asks for help.
        wishes.tells.help = matches!(&options[..], [only] if only.written == "-h");
        for given in options {
            match given.spec.standing {
                Standing::Works => wishes.take(given)?,
                Standing::Tunes => wishes.tuning.push(given.written),
                Standing::Lacks if given.on => return Err(Failure::lacking(&given.written)),
                Standing::Lacks => {}
            }
        }
        Ok(wishes)
    }

    fn take(&mut self, given: Given) -> Result<(), Failure> {
        let Given { spec, on, written, value } = given;
        match spec.name() {
            "archive" => self.archive(),
            "recursive" => self.recursive = on,
            "one-file-system" => self.one_file_system = on,
            "max-size" => self.sizes.0 = Some(value),
            "min-size" => self.sizes.1 = Some(value),
            "F" => self.rule_file(),
            "filter" => self.rules.push(Rule::Filter(value)),
            "exclude" => self.rules.push(Rule::Exclude(value)),
            "include" => self.rules.push(Rule::Include(value)),
            "exclude-from" => self.rules.push(Rule::ExcludeFrom(value.into())),
            "include-from" => self.rules.push(Rule::IncludeFrom(value.into())),
            "cvs-exclude" => self.cvs = true,
            "from0" => self.from0 = on,
            "mkpath" => self.make_path = on,
            "checksum" => self.checksum = on,
            "ignore-times" => self.ignore_times = true,
            "size-only" => self.size_only = true,
            "modify-window" => self.modify_window = number(&value),
            "update" => self.update = true,
            "existing" => self.existing = true,
            "ignore-existing" => self.ignore_existing = true,
            name @ ("compare-dest" | "copy-dest" | "link-dest") => {
                self.other_trees.push((name, value.into()))
            }
            "backup" => self.backup = on,
            "backup-dir" => self.backup_dir = Some(value.into()),
            "suffix" => self.suffix = Some(value),
            "dry-run" => self.dry_run = true,
            "inplace" => self.in_place = on,
            "partial" => self.partial = on,
            "fsync" => self.fsync = true,
            "bwlimit" => self.bandwidth = on.then_some(value),
            "timeout" => self.timeout = if on { number(&value) } else { 0 },
            "P" => (self.partial, self.tells.progress) = (true, true),
            name => {
                let known = self.keep.take(name, on, &value)
                    || self.delete.take(name, on, &value)
                    || self.follow.take(name, on)
                    || self.tells.take(name, on, value);
                return if known { Ok(()) } else { Err(Failure::lacking(&written)) };
            }
        }
        Ok(())
    }

    /// `-a` is -rlptgoD.
    fn archive(&mut self) {
        self.recursive = true;
        let keep = &mut self.keep;
        (keep.links, keep.perms, keep.times, keep.group, keep.owner) = (true, true, true, true, true);
        (keep.devices, keep.specials) = (true, true);
    }

    /// -F once more.
    fn rule_file(&mut self) {
        if let Some(rule) = OF_FILES.get(usize::from(self.rule_files)) {
            self.rules.push(Rule::Filter(rule.into()));
        }
        self.rule_files = self.rule_files.saturating_add(1);
    }
}

impl Keeps {
    /// Whether it is one of these.
    fn take(&mut self, name: &str, on: bool, value: &OsString) -> bool {
        match name {
            "links" => self.links = on,
            "perms" => self.perms = on,
            "executability" => self.executability = on,
            "acls" => (self.acls, self.perms) = (on, self.perms || on),
            "xattrs" => self.xattrs = on,
            "times" => self.times = on,
            "omit-dir-times" => self.omit_dir_times = on,
            "omit-link-times" => self.omit_link_times = on,
            "owner" => self.owner = on,
            "group" => self.group = on,
            "D" => (self.devices, self.specials) = (on, on),
            "devices" => self.devices = on,
            "specials" => self.specials = on,
            "hard-links" => self.hard_links = on,
            "chmod" => self.chmod.push(value.clone()),
            "chown" => self.give_all(value.as_bytes()),
            "usermap" => self.map_users("--usermap", value.clone()),
            "groupmap" => self.map_groups("--groupmap", value.clone()),
            "numeric-ids" => self.numeric = on,
            _ => return false,
        }
        true
    }
}

impl Keeps {
    /// `--chown`: everything to one user, one group, or both.
    fn give_all(&mut self, owner: &[u8]) {
        let mut parts = owner.splitn(2, |byte| *byte == b':');
        let all = |part: &[u8]| OsString::from_vec([b"*:", part].concat());
        let (user, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !user.is_empty() {
            self.map_users("--chown", all(user));
        }
        if !group.is_empty() {
            self.map_groups("--chown", all(group));
        }
    }

    fn map_users(&mut self, option: &'static str, map: OsString) {
        self.owner = true;
        self.users.set(option, map);
    }

    fn map_groups(&mut self, option: &'static str, map: OsString) {
        self.group = true;
        self.groups.set(option, map);
    }
}

impl Deletes {
    /// Whether it is one of these.
    fn take(&mut self, name: &'static str, on: bool, value: &OsString) -> bool {
        match name {
            "delete" => self.wanted = true,
            "force" => self.force = on,
            "ignore-errors" => self.ignore_errors = on,
            // Less than none is none.
            "max-delete" => self.most = Some(number(value).try_into().unwrap_or(0)),
            "delete-excluded" => (self.wanted, self.excluded) = (true, true),
            "delete-before" | "delete-during" | "delete-delay" | "delete-after" => {
                self.wanted = true;
                if !self.times.contains(&name) {
                    self.times.push(name);
                }
            }
            _ => return false,
        }
        true
    }
}

impl Tells {
    /// Whether it is one of these.
    fn take(&mut self, name: &str, on: bool, value: OsString) -> bool {
        let count = |count: u8| if on { count.saturating_add(1) } else { 0 };
        match name {
            "verbose" => self.verbose = count(self.verbose),
            "quiet" => self.quiet = true,
            "itemize-changes" => self.itemize = count(self.itemize),
            "human-readable" => self.figures = self.figures.after(on),
            "progress" => self.progress = on,
            "list-only" => self.list_only = true,
            "log-file" => self.log_file = Some(value.into()),
            "help" => self.help = true,
            "version" => self.version = count(self.version),
            _ => return false,
        }
        true
    }
}

/// A number, which the grammar has looked at.
fn number(value: &OsString) -> i64 {
    value.to_str().and_then(|text| text.trim_start().parse().ok()).unwrap_or_default()
}
