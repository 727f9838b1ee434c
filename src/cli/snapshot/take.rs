//! `ringsync snapshot take`: its options.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::args::engine::EngineArgs;
use crate::cli::args::keep::KeepArgs;
use crate::cli::args::select::SelectArgs;
use crate::cli::args::show::{Closing, ShowArgs};
use crate::cli::snapshot::keep::KeepRuleArgs;
use crate::cli::values::duration::parse_limit;
use crate::cli::values::local::local;
use crate::cli::values::rate::bytes_a_second;
use crate::cli::values::reflink::ReflinkArg;
use ringsync::event::Reporter;
use ringsync::store::retention::Rules;
use ringsync::store::{MinEntries, Prune, Take};
use ringsync::{Config, Escaped, Hashing};

/// Take a snapshot of SRC
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "ringsync snapshot take [OPTIONS] SRC... STORE",
    after_help = "Of one directory the contents are at the top of the snapshot; a file, or several SRCs, are in it each \
under its own name, and STORE is for one or the other. All that a file has is kept, as with sync.\n\n\
A snapshot in which something is missing that could not be read is marked as partial (23). What vanished while it was read, \
or metadata that STORE's file system can't hold, leave it complete. With 11, 20 or 30 there is none: the next run goes on \
with what was written.\n\n\
With -n nothing is made, not even STORE: what would be copied, what is one more hard link, and what --prune would remove, is told, \
and the exit code is that of sync -n, or 23 where pruning would be refused, or 25 as without it. What was broken off is not looked at.\n\n\
Exit codes: those of sync; 3 also where another run is at work in STORE, and 25 where SRC, or one of several that was not, is empty, or there are fewer \
entries than --min-entries: no snapshot is made then, and nothing is pruned; 23 also where \
something could not be pruned, or more than half of all snapshots would go and there is no --yes."
)]
pub(crate) struct TakeArgs {
    /// What to take: a directory, or several directories and files, and last the store
    #[arg(value_name = "SRC... STORE", required = true, num_args = 2.., value_parser = local())]
    paths: Vec<PathBuf>,
    /// Call the snapshot NAME: prune removes it by that alone
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Make none of fewer than N entries, or N% of the newest complete one's
    #[arg(long, value_name = "N[%]", default_value = "10%", value_parser = parse_entries)]
    min_entries: MinEntries,
    /// Clone what did not change, where STORE can, and of large files that did write only the blocks that differ; elsewhere, and
    /// with never, what did not change is a hard link
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    clone: ReflinkArg,
    /// Make nothing, tell what would be copied and linked, and with --prune what would go
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Don't wait for stable storage: after a power cut the snapshot may be damaged
    #[arg(long)]
    no_fsync: bool,
    /// Wait while another run is at work in STORE
    #[arg(long)]
    wait: bool,
    /// Also where STORE is no store yet, and has other files
    #[arg(long)]
    allow_other_files: bool,
    /// Read each copied file back from STORE and compare
    #[arg(long)]
    verify: bool,
    /// Read no more than RATE a second: KiB, or 500K, 1.5M, 2GB
    #[arg(long, value_name = "RATE", value_parser = bytes_a_second)]
    bwlimit: Option<u64>,
    /// Give up on what hangs for TIME (90s, 5m, 1h), and make no snapshot then (without io_uring)
    #[arg(long, value_name = "TIME", value_parser = parse_limit)]
    timeout: Option<Duration>,

    /// Then prune STORE by the rules given; before, if there is no room
    #[arg(long)]
    prune: bool,

    /// Print help (as -h alone does)
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    rules: KeepRuleArgs,
}

impl TakeArgs {
    /// What is wrong with the options, if something is: a text for people.
    pub(crate) fn misuse(&self) -> Option<&'static str> {
        match (self.prune, self.rules.is_empty(), self.rules.is_given()) {
            (true, true, _) => {
                Some("--prune takes at least one rule that says what is to stay, as --keep-daily 30")
            }
            (false, _, true) => Some("what is to stay is said, but --prune is not given"),
            _ => None,
        }
    }

    /// The sources, and the store after them.
    fn places(&self) -> (&[PathBuf], &Path) {
        match self.paths.split_last() {
            Some((store, sources)) => (sources, store),
            None => (&[], Path::new("")),
        }
    }

    /// The command line's options, as they were typed: what came after `take` and is no path.
    fn options(&self) -> Vec<String> {
        let typed = std::env::args_os().skip_while(|word| word != "take").skip(1);
        let is_path = |word: &std::ffi::OsString| self.paths.iter().any(|path| path.as_os_str() == word);
        typed.filter(|word| !is_path(word)).map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Whether the contents of this are taken: it is a directory, or missing, which the run tells, or hangs for as long as is
    /// allowed, and then it is given up.
    fn is_tree(&self, source: &Path) -> bool {
        let path = source.to_path_buf();
        let look = move || path.is_dir() || !path.exists();
        let Some(limit) = self.timeout else { return look() };
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(look()));
        receiver.recv_timeout(limit).unwrap_or(true)
    }

    /// Whether what hangs is given up.
    pub(crate) fn has_limit(&self) -> bool {
        self.timeout.is_some()
    }

    /// The options, resolved.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules can't be read.
    pub(crate) fn take(&self) -> ringsync::Result<Take> {
        let (sources, store) = self.places();
        let mut config = match sources {
            [source] if self.is_tree(source) => Config::new(source, store),
            sources => Config::copy(sources, store),
        };
        config.timeout = self.timeout;
        self.select.apply(&mut config)?;
        self.keep.apply(&mut config);
        self.show.apply(&mut config);
        self.engine.apply(&mut config);
        config.bandwidth = self.bwlimit.and_then(NonZeroU64::new);
        config.hashing = Some(Hashing::default().with(|hashing| hashing.verify = self.verify));
        Ok(Take::new(config, store).with(|take| {
            take.name.clone_from(&self.name);
            take.clone = self.clone.into();
            take.min_entries = self.min_entries;
            take.dry_run = self.dry_run;
            take.durable = !self.no_fsync;
            take.wait = self.wait;
            take.allow_other_files = self.allow_other_files;
            let prune = || Prune::new(store, Rules::default()).with(|prune| self.rules.apply(prune));
            take.options = self.options();
            take.prune = self.prune.then(prune);
        }))
    }

    /// The reporter that fits the options and where the output goes.
    ///
    /// # Errors
    /// When the log can't be opened.
    pub(crate) fn reporter(&self, config: &Config) -> ringsync::Result<Box<dyn Reporter>> {
        let (sources, store) = self.places();
        let named: Vec<String> = sources.iter().map(|path| Escaped::path(path).to_string()).collect();
        let opening = format!("snapshot of {} into {}", named.join(" "), Escaped::path(store));
        let source = if sources.len() == 1 { &*config.source } else { Path::new("") };
        self.show.reporter(source, config, opening)
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Whether the closing line is for people, for a program, or is not wanted.
    pub(crate) fn closing(&self) -> Closing {
        self.show.closing()
    }
}

fn parse_entries(text: &str) -> Result<MinEntries, String> {
    let wrong = || "not a number of entries, nor a percentage from 0% to 100%".to_owned();
    match text.strip_suffix('%') {
        Some(number) => match number.parse() {
            Ok(percent) if percent <= 100 => Ok(MinEntries::Percent(percent)),
            _ => Err(wrong()),
        },
        None => text.parse().map(MinEntries::Entries).map_err(|_| wrong()),
    }
}
