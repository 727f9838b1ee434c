//! The texts of `ringsync rsync`, and the order of its lines.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringsync::event::{Action, EntryEvent, Kind, Totals};

use crate::rsync::options::{OPTIONS, Standing, Takes};
use crate::rsync::report::figures::Figures;

/// By what the line of an entry is sorted: deletions first, files of a directory before its subdirectories.
pub(super) fn order(directory: &Path, event: &EntryEvent) -> Vec<u8> {
    let mut key = vec![u8::from(event.action != Action::Deleted)];
    for name in directory.iter() {
        key.push(2);
        key.extend_from_slice(name.as_bytes());
        key.push(0);
    }
    if !event.name().is_empty() {
        key.push(if event.kind == Kind::Directory { 2 } else { 1 });
        key.extend_from_slice(event.name().as_bytes());
        key.push(0);
    }
    key
}

/// What -v ends with.
pub(super) fn closing(totals: &Totals, dry_run: bool, figures: Figures) -> String {
    let Totals { bytes, source_bytes, elapsed, .. } = totals;
    let rate = *bytes as f64 / elapsed.as_secs_f64().max(0.5);
    let speedup = *source_bytes as f64 / (*bytes).max(1) as f64;
    let dry = if dry_run { " (DRY RUN)" } else { "" };
    format!(
        "\nsent {} bytes  received 0 bytes  {} bytes/sec\ntotal size is {}  speedup is {}{dry}",
        figures.whole(*bytes),
        figures.decimal(rate),
        figures.whole(*source_bytes),
        figures.decimal(speedup)
    )
}

/// What a build of rsync may have, and this program has or has not, as `-VV` names it.
const CAPABILITIES: [(&str, bool); 15] = [
    ("socketpairs", true),
    ("symlinks", true),
    ("symtimes", true),
    ("hardlinks", true),
    ("hardlink_specials", true),
    ("hardlink_symlinks", true),
    ("atimes", false),
    ("batchfiles", false),
    ("inplace", true),
    ("append", false),
    ("ACLs", true),
    ("xattrs", true),
    ("iconv", false),
    ("prealloc", false),
    ("crtimes", false),
];

/// `--version`, for programs where they ask for it (`-VV`). Its first line is rsync's, since scripts read the number there.
pub(crate) fn version(for_programs: bool) -> String {
    let own = env!("CARGO_PKG_VERSION");
    if for_programs {
        let capabilities = CAPABILITIES.map(|(name, has)| format!("    \"{name}\": {has}")).join(",\n");
        return format!(
            "{{\n  \"program\": \"ringsync\",\n  \"version\": \"3.5.0\",\n  \"protocol\": \"32.0\",\n  \
             \"ringsync\": \"{own}\",\n  \"capabilities\": {{\n{capabilities}\n  }},\n  \
             \"checksum_list\": [],\n  \"compress_list\": [],\n  \"daemon_auth_list\": []\n}}\n"
        );
    }
    let capabilities =
        CAPABILITIES.map(|(name, has)| if has { name.to_owned() } else { format!("no {name}") }).join(", ");
    format!(
        "rsync  version 3.5.0  protocol version 32\n\
         This is ringsync {own}, with the command line of that version of rsync, for copies on this machine:\n\
         it speaks no protocol.\nCapabilities:\n    {capabilities}\n"
    )
}

/// `--help`: what is taken, and what is not.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "Usage: ringsync rsync [OPTION]... SRC [SRC]... DST\n\n\
         Copies between directories of this machine as rsync 3.5 does: see rsync(1)\n\
         for what each option does, and docs/from-rsync.md for what differs. Called by\n\
         the name rsync, through a link, the program does the same.\n",
    );
    for (standing, heading) in [
        (Standing::Works, "Options"),
        (Standing::Tunes, "Options that change nothing between two trees of one machine"),
        (Standing::Lacks, "Options of rsync that ringsync refuses"),
    ] {
        text += &format!("\n{heading}:\n");
        for spec in OPTIONS.iter().filter(|spec| spec.standing == standing) {
            let letter = spec.letter.map(|letter| format!("-{}", char::from(letter)));
            let names = spec.names.iter().filter(|name| name.len() > 1).map(|name| format!("--{name}"));
            let written: Vec<String> = letter.into_iter().chain(names).collect();
            let value = if spec.takes == Takes::Nothing { "" } else { " VALUE" };
            text += &format!("  {}{value}\n", written.join(", "));
        }
    }
    text
}
