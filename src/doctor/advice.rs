//! What follows from what was found: what would be lost, which options help, and what no option helps against. Decisions
//! alone: nothing here asks the system.

use crate::doctor::finding::{Findings, Found, Subject, length};
use crate::doctor::machine::Machine;
use crate::doctor::place::{Place, largest_attribute};

/// What is lost if DST can't hold it. The rest costs time or room.
const KEPT: [Subject; 23] = [
    Subject::UserAttributes,
    Subject::TrustedAttributes,
    Subject::Capabilities,
    Subject::Acls,
    Subject::Owners,
    Subject::Modes,
    Subject::SetId,
    Subject::Times,
    Subject::TimeStep,
    Subject::TimeRange,
    Subject::TimesKept,
    Subject::DirectoryTimes,
    Subject::HardLinks,
    Subject::Symlinks,
    Subject::Fifos,
    Subject::Devices,
    Subject::Case,
    Subject::UnicodeForms,
    Subject::TrailingDot,
    Subject::TrailingBlank,
    Subject::Characters,
    Subject::Bytes,
    Subject::LongNames,
];
/// Names that can't be made.
const NAMES: [Subject; 5] =
    [Subject::TrailingDot, Subject::TrailingBlank, Subject::Characters, Subject::Bytes, Subject::LongNames];
/// A run that may open fewer files than this goes slowly.
const FEW_FILES: u64 = 1024;

/// An option of `sync`, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suggestion {
    pub(crate) option: String,
    pub(crate) why: String,
}

/// What follows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// What SRC can have and DST can't hold.
    pub(crate) lost: Vec<Subject>,
    pub(crate) options: Vec<Suggestion>,
    /// What else to know.
    pub(crate) notes: Vec<String>,
}

impl Advice {
    pub(crate) fn of(machine: &Machine, source: Option<&Place>, destination: Option<&Place>) -> Advice {
        let mut advice = Advice::default();
        if machine.no_ring.is_some() {
            advice.suggest(
                "--engine threads",
                "io_uring can't be used; without this option the same is done, and said",
            );
        }
        advice.notes.extend(about_machine(machine));
        if let Some(destination) = destination {
            let nothing = Findings::default();
            let from = source.map_or(&nothing, |source| &source.findings);
            advice.lost = lost(from, &destination.findings);
            if destination.missing > 1 {
                advice.suggest("--mkpath", "DST's parent directories are missing");
            }
            if destination.is_mounted_in_source {
                advice.suggest("--one-file-system", "DST lies inside SRC, on another file system");
            }
            advice.lost.extend(source.and_then(|source| shorter_attributes(source, destination)));
            advice.add_options(machine, destination);
            advice.notes.extend(about_destination(&advice.lost, &destination.findings));
            advice.notes.extend(about_attributes(source, destination));
            advice.notes.extend(about_places(source, destination));
        }
        advice
    }

    fn suggest(&mut self, option: impl Into<String>, why: impl Into<String>) {
        self.options.push(Suggestion { option: option.into(), why: why.into() });
    }

    fn is_lost(&self, subject: Subject) -> bool {
        self.lost.contains(&subject)
    }

    /// The options that have a run without errors, where something is lost.
    fn add_options(&mut self, machine: &Machine, destination: &Place) {
        let found = &destination.findings;
        self.add_option_for_attributes(destination);
        if self.is_lost(Subject::Owners) && !machine.leaves_owners() {
            self.suggest("--no-owner", "owners can't be set in DST");
            self.suggest("--no-group", "groups can't be set in DST");
        }
        if self.is_lost(Subject::Modes) {
            self.suggest("--no-perms", "modes can't be set in DST");
        } else if self.is_lost(Subject::SetId) {
            self.suggest("--chmod ug-s", "setuid and setgid can't be set in DST");
        }
        self.add_options_for_times(found);
        if self.is_lost(Subject::Symlinks) {
            self.suggest("--no-links", "DST has no symlinks: they are left out");
        }
        if self.is_lost(Subject::HardLinks) {
            self.suggest("--no-hard-links", "DST has no hard links: each name gets a file of its own");
        }
        if self.is_lost(Subject::Fifos) {
            self.suggest("--no-specials", "DST has no FIFOs: FIFOs and sockets are left out");
        }
        if self.is_lost(Subject::Devices) {
            self.suggest("--no-devices", "DST has no devices: they are left out");
        }
        if found.refusal(Subject::Replace).is_some() {
            let why = "a finished file can't take the place of an old one: a kill leaves half a file";
            self.suggest("--no-atomic", why);
            self.suggest("--inplace", why);
        }
    }

    fn add_option_for_attributes(&mut self, destination: &Place) {
        let attributes = [Subject::UserAttributes, Subject::TrustedAttributes, Subject::Capabilities];
        let attributes: Vec<_> = attributes.into_iter().filter(|subject| self.is_lost(*subject)).collect();
        if !attributes.is_empty() {
            let also = match destination.findings.get(Subject::UserAttributes) {
                Some(Found::Yes) => "this also leaves out attributes that DST could hold",
                _ => "it leaves out all attributes",
            };
            let why = format!("files with {} would be errors; {also}", labels(&attributes));
            self.suggest("--no-xattrs", why);
        }
        if self.is_lost(Subject::Acls) {
            let more = match destination.may_be_ntfs() {
                true => "; mount NTFS with permissions,acl to keep ACLs",
                false => "",
            };
            self.suggest(
                "--no-acls",
                format!("files with ACLs would be errors; it leaves out all ACLs{more}"),
            );
        }
    }

    fn add_options_for_times(&mut self, found: &Findings) {
        if self.is_lost(Subject::Times) {
            let why = "times can't be set in DST: each run copies everything again, unless -c or --size-only compares";
            self.suggest("--no-times", why);
            return;
        }
        if self.is_lost(Subject::DirectoryTimes) {
            self.suggest("--omit-dir-times", "times of directories can't be set in DST");
        }
        if let Some(step) = found.refusal(Subject::TimeStep) {
            let why = format!("DST keeps times in steps of {step}: without it the next run copies again");
            self.suggest("--modify-window 2", why);
        }
    }
}

/// What the source can have, and the destination can't hold. What is not known of a source it can have.
fn lost(source: &Findings, destination: &Findings) -> Vec<Subject> {
    let is_lost =
        |subject: &Subject| destination.refusal(*subject).is_some() && source.refusal(*subject).is_none();
    KEPT.into_iter().filter(is_lost).collect()
}

/// Attributes that SRC's kind of file system can have, and that are larger than all that DST takes.
fn shorter_attributes(source: &Place, destination: &Place) -> Option<Subject> {
    let had =
        source.findings.refusal(Subject::UserAttributes).is_none() && source.number != destination.number;
    let largest = largest_attribute(&source.kind).filter(|_| had)?;
    let Some(Found::Bytes(held)) = destination.findings.get(Subject::AttributeSize) else { return None };
    (*held < largest).then_some(Subject::AttributeSize)
}

/// What is to be known of large attributes.
fn about_attributes(source: Option<&Place>, destination: &Place) -> Option<String> {
    let is_lost = source.is_none_or(|source| shorter_attributes(source, destination).is_some());
    match destination.findings.get(Subject::AttributeSize) {
        Some(Found::Bytes(held)) if is_lost && *held < 64 << 10 => Some(format!(
            "DST holds attributes of {held} bytes at most: a larger one is an error that says \"No space left on device\", \
             and its file is copied without it"
        )),
        _ => None,
    }
}

fn about_machine(machine: &Machine) -> Vec<String> {
    let mut notes = Vec::new();
    if machine.is_old() {
        notes.push(format!("Linux {} is older than 5.15, for which ringsync is made", machine.kernel));
    }
    if let Some(limit) = machine.open_files.1.filter(|limit| *limit < FEW_FILES) {
        notes.push(format!("only {limit} files may be open at once: raise the limit (ulimit -n)"));
    }
    if !machine.lacks.is_empty() {
        notes.push(format!("root lacks {}: what needs them is an error", machine.lacks.join(", ")));
    }
    if machine.users.is_some() && machine.user == 0 {
        notes.push(
            "root of a user namespace gives files only to users and groups that are mapped into it (owners of others \
             show as 65534): other owners are left, without an error; --chown gives one that is mapped"
                .into(),
        );
    }
    notes
}

/// What no option changes.
fn about_destination(lost: &[Subject], found: &Findings) -> Vec<String> {
    let mut notes = Vec::new();
    let is_lost = |subject| lost.contains(&subject);
    if let Some(Found::Nanoseconds(step @ 2..)) = found.get(Subject::TimeStep) {
        notes.push(format!(
            "DST keeps times in steps of {}: sync takes such times for the same",
            length(*step)
        ));
    }
    if is_lost(Subject::TimeRange) {
        notes.push(format!(
            "years of times: DST holds {}; a file with another gets the nearest, which is an error",
            found.refusal(Subject::TimeRange).unwrap_or_default()
        ));
    }
    if is_lost(Subject::TimesKept) {
        notes.push("times in DST change by themselves: a next run mends such times".into());
    }
    if is_lost(Subject::Case) || is_lost(Subject::UnicodeForms) {
        notes.push(
            "names of SRC that are one name in DST: the first is copied, the others are errors; rename them"
                .into(),
        );
    }
    let names: Vec<_> = NAMES.into_iter().filter(|subject| is_lost(*subject)).collect();
    if !names.is_empty() {
        let names = labels(&names);
        notes.push(format!(
            "{names}: files of such names are errors; rename them, or leave them out by --exclude"
        ));
    }
    if found.refusal(Subject::NamesListed).is_some() {
        notes.push("DST lists names otherwise than they were written: --delete keeps them".into());
    }
    if found.refusal(Subject::Holes).is_some() {
        notes.push("DST has no holes: sparse files take all of their size".into());
    }
    let syncs: Vec<_> = [Subject::SyncFile, Subject::SyncDirectory, Subject::SyncAll]
        .into_iter()
        .filter(|subject| found.refusal(*subject).is_some())
        .collect();
    if !syncs.is_empty() {
        notes.push(format!("{} can't be done in DST: --fsync is an error there", labels(&syncs)));
    }
    notes
}

fn about_places(source: Option<&Place>, destination: &Place) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(source) = source {
        let is_one = source.number == destination.number;
        let clones = destination.findings.get(Subject::Clones) == Some(&Found::Yes);
        notes.push(match (is_one, clones) {
            (true, true) => {
                "SRC and DST are on one file system: files are cloned, which takes no room".into()
            }
            (true, false) => {
                "SRC and DST are on one file system, which has no clones: files are copied".into()
            }
            (false, _) => "SRC and DST are on two file systems: files are copied, not cloned".into(),
        });
    }
    for (name, place) in source.map(|source| ("SRC", source)).into_iter().chain([("DST", destination)]) {
        if place.is_remote() {
            let kind = &place.kind;
            notes.push(format!("{name} is on {kind}: if its server or program may hang, give --timeout 5m"));
        }
    }
    notes
}

fn labels(subjects: &[Subject]) -> String {
    let labels: Vec<&str> = subjects.iter().map(|subject| subject.label()).collect();
    labels.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no() -> Found {
        Found::No("it can't".into())
    }

    fn findings(list: &[(Subject, Found)]) -> Findings {
        let mut findings = Findings::default();
        list.iter().for_each(|(subject, found)| findings.add(*subject, found.clone()));
        findings
    }

    /// The options for a destination that was found so, and a source of which that is known.
    fn options(source: &[(Subject, Found)], destination: &[(Subject, Found)]) -> Vec<String> {
        let place = |list: &[_]| Place { findings: findings(list), ..Place::default() };
        let advice = Advice::of(&Machine::default(), Some(&place(source)), Some(&place(destination)));
        advice.options.into_iter().map(|suggestion| suggestion.option).collect()
    }

    #[test]
    fn the_table_of_options() {
        use Subject::*;
        for (found, wanted) in [
            (vec![], &[][..]),
            (vec![(UserAttributes, Found::Yes), (TimeStep, Found::Nanoseconds(1))], &[]),
            (vec![(UserAttributes, no())], &["--no-xattrs"]),
            (vec![(Acls, no())], &["--no-acls"]),
            (vec![(UserAttributes, no()), (Acls, no()), (Capabilities, no())], &["--no-xattrs", "--no-acls"]),
            (vec![(Owners, no())], &["--no-owner", "--no-group"]),
            (vec![(Owners, Found::Untried("no root".into()))], &[]),
            (vec![(Modes, no()), (SetId, no())], &["--no-perms"]),
            (vec![(SetId, no())], &["--chmod ug-s"]),
            (vec![(Times, no()), (DirectoryTimes, no())], &["--no-times"]),
            (vec![(DirectoryTimes, no())], &["--omit-dir-times"]),
            (vec![(TimeStep, Found::Nanoseconds(2_000_000_000))], &[]),
            (vec![(TimeStep, no())], &["--modify-window 2"]),
            (vec![(TimeRange, no()), (Case, no()), (Characters, no())], &[]),
            (vec![(Symlinks, no()), (HardLinks, no())], &["--no-links", "--no-hard-links"]),
            (vec![(Fifos, no())], &["--no-specials"]),
            (vec![(Devices, no())], &["--no-devices"]),
            (vec![(Replace, no())], &["--no-atomic", "--inplace"]),
            (vec![(NamelessFiles, no()), (Clones, no()), (Holes, no()), (SyncFile, no())], &[]),
        ] {
            assert_eq!(options(&[], &found), wanted, "{found:?}");
        }
    }

    #[test]
    fn what_the_source_does_not_have_is_not_lost() {
        use Subject::*;
        for (had, found, is_lost) in [
            (vec![(Acls, no())], (Acls, no()), false),
            (vec![(Acls, Found::Yes)], (Acls, no()), true),
            (vec![], (Acls, no()), true),
            (vec![], (Acls, Found::Yes), false),
            (vec![], (TimeStep, Found::Nanoseconds(100)), false),
            (vec![], (Clones, no()), false),
        ] {
            let lost = lost(&findings(&had), &findings(std::slice::from_ref(&found)));
            assert_eq!(!lost.is_empty(), is_lost, "{had:?}, {found:?}");
            assert_eq!(
                !options(&had, std::slice::from_ref(&found)).is_empty(),
                is_lost,
                "{had:?}, {found:?}"
            );
        }
    }

    #[test]
    fn places_have_advice_of_their_own() {
        let place =
            |missing, number, kind: &str| Place { missing, number, kind: kind.into(), ..Place::default() };
        let advice = |source: &Place, destination: &Place| {
            Advice::of(&Machine::default(), Some(source), Some(destination))
        };
        let far = advice(&place(0, 1, "ext4"), &place(2, 2, "nfs4"));
        assert_eq!(far.options[0].option, "--mkpath");
        assert!(
            far.notes[0].contains("two file systems") && far.notes[1].contains("DST is on nfs4"),
            "{far:?}"
        );
        let near = advice(&place(0, 1, "ext4"), &place(1, 1, "ext4"));
        assert!(near.options.is_empty() && near.notes[0].contains("no clones"), "{near:?}");
    }

    #[test]
    fn large_attributes_are_lost_where_others_have_larger_ones() {
        let place = |kind: &str, number, held| {
            let findings = findings(&[(Subject::AttributeSize, Found::Bytes(held))]);
            Place { kind: kind.into(), number, findings, ..Place::default() }
        };
        for (kind, number, held, is_lost) in [
            ("xfs", 1, 4036, true),
            ("xfs", 1, 64 << 10, false),
            ("ext4", 1, 4036, false),
            ("ext4", 1, 964, true),
            ("ext4", 2, 964, false),
            ("fuse", 1, 964, false),
        ] {
            let source = Place { kind: kind.into(), number, ..Place::default() };
            let advice = Advice::of(&Machine::default(), Some(&source), Some(&place("ext4", 2, held)));
            assert_eq!(advice.lost.contains(&Subject::AttributeSize), is_lost, "{kind} {held}");
            assert_eq!(
                advice.notes.iter().any(|note| note.contains("No space left")),
                is_lost,
                "{kind} {held}"
            );
        }
        let advice = Advice::of(&Machine::default(), None, Some(&place("ext4", 2, 964)));
        assert!(advice.lost.is_empty() && advice.notes[0].contains("964 bytes"), "{advice:?}");
    }

    #[test]
    fn the_machine_has_advice_of_its_own() {
        let machine = Machine {
            kernel: "5.4.0".into(),
            no_ring: Some("forbidden".into()),
            open_files: (Some(256), Some(256)),
            lacks: vec!["CAP_MKNOD (devices)"],
            users: Some(vec![]),
            ..Machine::default()
        };
        let advice = Advice::of(&machine, None, None);
        assert_eq!(advice.options[0].option, "--engine threads");
        for (note, text) in
            advice.notes.iter().zip(["older than 5.15", "only 256", "CAP_MKNOD", "user namespace"])
        {
            assert!(note.contains(text), "{note}");
        }
        assert_eq!(Advice::of(&Machine::default(), None, None), Advice::default());
    }
}
