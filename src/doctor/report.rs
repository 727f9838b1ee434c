//! The report for people: a line for each answer, then what follows, and a command line to begin with.

use std::fmt::Write as _;
use std::path::Path;

use crate::doctor::Diagnosis;
use crate::doctor::finding::{Finding, Found, length};
use crate::doctor::machine::{Ids, Machine};
use crate::doctor::place::Place;
use crate::report::number_format::NumberFormat;
use ringsync::Escaped;

/// Where answers begin.
const COLUMN: usize = 31;

/// The whole report.
pub(super) fn text(diagnosis: &Diagnosis) -> String {
    let mut text = format!("ringsync {}, Linux {}\n", env!("CARGO_PKG_VERSION"), diagnosis.machine.kernel);
    for (label, answer) in machine(&diagnosis.machine) {
        line(&mut text, label, &answer);
    }
    if let Some(source) = &diagnosis.source {
        place(&mut text, "SRC", source);
    }
    if let Some(destination) = &diagnosis.destination {
        place(&mut text, "DST", destination);
    }
    conclusion(&mut text, diagnosis);
    text
}

fn line(text: &mut String, label: &str, answer: &str) {
    // A string takes all.
    writeln!(text, "  {label:<COLUMN$}{answer}").ok();
}

fn machine(machine: &Machine) -> Vec<(&'static str, String)> {
    let figures = NumberFormat::Human;
    let or_none = |limit: Option<u64>, shown: &dyn Fn(u64) -> String| limit.map_or("no limit".into(), shown);
    let (soft, hard) = machine.open_files;
    let mut lines = vec![
        ("io_uring", machine.no_ring.as_ref().map_or("yes".into(), |why| format!("no: {why}"))),
        ("open files", {
            let (soft, hard) = (or_none(soft, &|n| figures.count(n)), or_none(hard, &|n| figures.count(n)));
            if soft == hard { soft } else { format!("{soft}, a run raises that to {hard}") }
        }),
        ("locked memory", or_none(machine.locked_memory, &|n| figures.bytes(n))),
        (
            "user",
            match (machine.user, machine.lacks.is_empty()) {
                (0, true) => "root".into(),
                (0, false) => format!("root, without {}", machine.lacks.join(", ")),
                (user, _) => format!("{user}: owners, devices and trusted.* attributes take root"),
            },
        ),
    ];
    if let Some(setting) = machine.ring_disabled.filter(|setting| *setting != 0) {
        lines.insert(1, ("kernel.io_uring_disabled", setting.to_string()));
    }
    for (label, ids) in [("users mapped", &machine.users), ("groups mapped", &machine.groups)] {
        lines.extend(ids.as_ref().map(|ids| (label, ranges(ids))));
    }
    lines
}

fn ranges(ids: &[Ids]) -> String {
    let range = |ids: &Ids| match ids.count {
        1 => ids.first.to_string(),
        count => format!("{}-{}", ids.first, u64::from(ids.first) + u64::from(count) - 1),
    };
    let ranges: Vec<String> = ids.iter().map(range).collect();
    if ranges.is_empty() { "none".into() } else { ranges.join(", ") }
}

fn place(text: &mut String, name: &str, place: &Place) {
    let figures = NumberFormat::Human;
    writeln!(text, "\n{name} {}", Escaped::path(&place.path)).ok();
    if place.path != place.used {
        let why = if place.missing > 0 { "is not there yet" } else { "is a file" };
        writeln!(text, "  It {why}: this is about {}", Escaped::path(&place.used)).ok();
    }
    let shown = |text: &str| Escaped::name(text.as_ref()).to_string();
    let (kind, device, options) = (shown(&place.kind), shown(&place.device), shown(&place.options));
    line(text, "file system", &format!("{kind} on {device} ({options})"));
    if name == "DST" {
        let inodes = place.inodes.map(|inodes| format!(", for {} files", figures.count(inodes)));
        let free = place.free.map_or("no limit of its own".into(), |free| figures.bytes(free));
        line(text, "room", &format!("{free}{}", inodes.unwrap_or_default()));
    }
    for finding in &place.findings.0 {
        line(text, finding.subject.label(), &answer(finding));
    }
}

fn answer(finding: &Finding) -> String {
    match &finding.found {
        Found::Yes => "yes".into(),
        Found::No(why) => format!("no: {why}"),
        Found::Nanoseconds(step) => length(*step),
        Found::Bytes(size) => format!("{} bytes", NumberFormat::Human.count(*size)),
        Found::Text(text) => text.clone(),
        Found::Untried(why) => format!("not tried: {why}"),
    }
}

fn conclusion(text: &mut String, diagnosis: &Diagnosis) {
    let advice = &diagnosis.advice;
    if diagnosis.destination.is_some() {
        let lost: Vec<&str> = advice.lost.iter().map(|subject| subject.label()).collect();
        let (what, who) = match &diagnosis.source {
            Some(_) => ("all that SRC can have", "SRC can have"),
            None => ("everything", "sync would keep"),
        };
        match lost.is_empty() {
            true => writeln!(text, "\nDST can hold {what}."),
            false => writeln!(text, "\nWhat {who}, and DST can't hold: {}.", lost.join(", ")),
        }
        .ok();
    }
    if !advice.options.is_empty() {
        writeln!(text, "\nOptions that follow:").ok();
        let width = advice.options.iter().map(|suggestion| suggestion.option.len()).max().unwrap_or(0);
        for suggestion in &advice.options {
            writeln!(text, "  {:<width$}  {}", suggestion.option, suggestion.why).ok();
        }
    }
    if !advice.notes.is_empty() {
        writeln!(text, "\nGood to know:").ok();
        for note in &advice.notes {
            writeln!(text, "  - {note}").ok();
        }
    }
    match diagnosis.destination {
        Some(_) => writeln!(text, "\n{}", command(diagnosis)),
        None if diagnosis.source.is_some() => {
            writeln!(text, "\nTo try what a disk can hold, name it as DST: ringsync doctor SRC DST")
        }
        None => Ok(()),
    }
    .ok();
}

/// The command line that follows.
pub(super) fn command(diagnosis: &Diagnosis) -> String {
    let mut words: Vec<String> = vec!["ringsync".into(), "sync".into()];
    words.extend(diagnosis.advice.options.iter().map(|suggestion| suggestion.option.clone()));
    words.push(diagnosis.source.as_ref().map_or("SRC".into(), |place| quoted(&place.path, "SRC")));
    words.push(diagnosis.destination.as_ref().map_or("DST".into(), |place| quoted(&place.path, "DST")));
    words.join(" ")
}

/// A path as a shell's word. One that can't be shown as it is, is called `otherwise`.
fn quoted(path: &Path, otherwise: &str) -> String {
    let Some(path) = path.to_str().filter(|path| path.replace('\\', "") == shown_without_backslash(path))
    else {
        return otherwise.into();
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%:=".contains(c);
    match path {
        path if path.starts_with('-') => format!("./{path}"),
        path if !path.is_empty() && path.chars().all(is_plain) => path.into(),
        path => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

fn shown_without_backslash(path: &str) -> String {
    Escaped::name(path.replace('\\', "").as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        for (path, word) in [
            ("photos", "photos"),
            ("/mnt/usb-1/a.b", "/mnt/usb-1/a.b"),
            ("my photos", "'my photos'"),
            ("it's", r"'it'\''s'"),
            (r"a\b", r"'a\b'"),
            ("$HOME", "'$HOME'"),
            ("-n", "./-n"),
            ("a\nb", "SRC"),
            ("grün", "'grün'"),
        ] {
            assert_eq!(quoted(path.as_ref(), "SRC"), word, "{path}");
        }
    }

    #[test]
    fn ranges_of_ids_are_short() {
        let ids = |first, count| Ids { first, count };
        assert_eq!(ranges(&[ids(0, 1), ids(1, 65536)]), "0, 1-65536");
        assert_eq!(ranges(&[]), "none");
        assert_eq!(ranges(&[ids(1, u32::MAX)]), "1-4294967295");
    }
}
