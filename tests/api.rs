//! The library by its public interface alone: needs no feature, no program and no privilege.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::error::Error as _;
use std::fs;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringsync::event::{Action, EntryEvent, Missing, Mode, Reporter, Silent, Stall, Start, Summary, Totals};
use ringsync::verify::{Manifest, VerifyStart};
use ringsync::{
    Cause, Config, Delete, DeleteLimit, Engine, Error, Hashing, Incomplete, Kind, Operation, Outcome,
    Selection, Setting, Stop, VerifyConfig, manifest,
};

/// A place to work in, with files of a source.
fn place(files: &[&str]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for file in files {
        let path = home.path().join("src").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    home
}

/// The mirror of that source, which leaves no key in the user's home.
fn mirror(home: &Path) -> Config {
    Config::new(home.join("src"), home.join("dst")).with(|config| config.state = None)
}

fn sync(config: &Config) -> Summary {
    ringsync::sync(config, &mut Silent, &Stop::default()).unwrap()
}

/// Collects what it is told.
#[derive(Default)]
struct Collector {
    entries: Vec<(PathBuf, Action)>,
    finished: Option<Outcome>,
    /// Raised after the first entry, if there is one.
    stop: Option<Stop>,
}

impl Reporter for Collector {
    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        self.entries.push((event.path(directory), event.action));
        if let Some(stop) = &self.stop {
            stop.stop();
        }
    }

    fn finish(&mut self, summary: &Summary) {
        self.finished = Some(summary.outcome);
    }
}

#[test]
fn a_mirror_holds_what_the_source_holds_and_the_reporter_is_told() {
    let home = place(&["a", "sub/b"]);
    fs::create_dir_all(home.path().join("dst")).unwrap();
    fs::write(home.path().join("dst/a"), "old").unwrap();
    fs::write(home.path().join("dst/extra"), "old").unwrap();
    let config = mirror(home.path()).with(|config| {
        config.delete = Some(Delete::default().with(|delete| delete.limit = Some(DeleteLimit::Entries(1))));
    });
    let mut collector = Collector::default();
    let summary = ringsync::sync(&config, &mut collector, &Stop::default()).unwrap();
    assert_eq!(collector.finished, Some(Outcome::Done));
    assert!(summary.errors.is_empty());
    collector.entries.retain(|(path, _)| !path.as_os_str().is_empty());
    collector.entries.sort_by(|one, other| one.0.cmp(&other.0));
    let told = [
        ("a", Action::Updated),
        ("extra", Action::Deleted),
        ("sub", Action::Created),
        ("sub/b", Action::Created),
    ];
    assert_eq!(collector.entries, told.map(|(path, action)| (PathBuf::from(path), action)));
    assert_eq!(fs::read(home.path().join("dst/sub/b")).unwrap(), b"sub/b");
    assert_eq!(summary.into_result().unwrap().count(Action::Created), 2);
}

#[test]
fn a_check_tells_differences_as_its_result() {
    let home = place(&["a"]);
    sync(&mirror(home.path())).into_result().unwrap();
    let check =
        || ringsync::check(&mirror(home.path()), &mut Silent, &Stop::default()).unwrap().into_result();
    check().unwrap();
    fs::write(home.path().join("src/b"), "b").unwrap();
    let different = check().unwrap_err();
    assert_eq!((different.outcome, different.count), (Outcome::Different, 0));
    assert_eq!(different.to_string(), "different");
    assert_eq!((different.totals.found, different.totals.count(Action::Created)), (3, 1));
}

#[test]
fn a_manifest_is_written_read_and_verified() {
    let home = place(&["a", "sub/b"]);
    let sums = home.path().join("sums");
    sync(&mirror(home.path()).with(|config| {
        config.hashing = Some(Hashing::default().with(|hashing| hashing.manifest = Some(sums.clone())))
    }))
    .into_result()
    .unwrap();
    let lines = manifest::Reader::new(BufReader::new(fs::File::open(&sums).unwrap()));
    let entries: Vec<_> = lines.map(|line| line.unwrap().1.unwrap()).collect();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.hash == blake3::hash(entry.path.to_str().unwrap().as_bytes())));

    let again = home.path().join("again");
    let mut writer = manifest::Writer::create(&again).unwrap();
    entries.iter().for_each(|entry| writer.add(&entry.path, &entry.hash).unwrap());
    writer.finish().unwrap();
    assert_eq!(fs::read(&again).unwrap(), fs::read(&sums).unwrap());

    let config = VerifyConfig::new(Manifest::File(again))
        .with(|config| (config.directory, config.strict) = (Some(home.path().join("dst")), true));
    let verify = || ringsync::verify(&config, &mut Silent, &Stop::default()).unwrap().into_result();
    assert_eq!(verify().unwrap().right, 2);
    fs::write(home.path().join("dst/sub/b"), "other").unwrap();
    assert_eq!(verify().unwrap_err().to_string(), "failed (1 error)");
    fs::remove_file(home.path().join("dst/a")).unwrap();
    let wrong = verify().unwrap_err();
    assert_eq!((wrong.outcome, wrong.count, wrong.errors.len()), (Outcome::Failed, 2, 1));
    assert_eq!(wrong.errors[0].path, Path::new("a"));
    assert_eq!((wrong.totals.missing, wrong.totals.wrong), (1, 1));
}

#[test]
fn a_reporter_can_be_tested_and_passed_on() {
    fn tell(mut reporter: impl Reporter) {
        reporter.start(&Start::new(Engine::Threads, Mode::Sync));
        reporter.stall(&Stall::new(0, Operation::ReadSource, Duration::from_secs(1)));
        reporter.entry(Path::new("dir"), &EntryEvent::done(Kind::File, Action::Created).named(c"a".into()));
        reporter.finish(&Summary::new(Outcome::Done, Totals::default()));
    }
    let mut collector = Collector::default();
    tell(&mut collector);
    assert_eq!(collector.entries, [(PathBuf::from("dir/a"), Action::Created)]);
    assert_eq!(collector.finished, Some(Outcome::Done));
    let mut boxed: Box<dyn Reporter + '_> = Box::new(&mut collector);
    tell(&mut boxed);
    tell(boxed);
    assert_eq!(collector.entries.len(), 3);
    assert_eq!(EntryEvent::done(Kind::File, Action::Created).named(c"a".into()).name(), "a");
    assert_eq!(format!("{:9}|{}", Action::Created, Outcome::BrokenOff), "created  |broken-off");
    assert!(!Missing::new("old").has_others && VerifyStart::new(Engine::Uring).notices.is_empty());
}

#[test]
fn rules_can_be_written_in_the_one_expression() {
    let home = place(&["a", "b.tmp"]);
    let config = mirror(home.path()).try_with(|config| config.select.exclude("*.tmp".as_ref())).unwrap();
    sync(&config).into_result().unwrap();
    assert!(home.path().join("dst/a").exists() && !home.path().join("dst/b.tmp").exists());
    let refused = Selection::default().try_with(|select| select.filter("no rule".as_ref())).unwrap_err();
    assert_eq!(refused.operation, Operation::UseRule);
}

#[test]
fn a_stop_ends_a_run() {
    let home = place(&["a"]);
    let stop = Stop::default();
    let mut collector = Collector { stop: Some(stop.clone()), ..Collector::default() };
    let summary = ringsync::sync(&mirror(home.path()), &mut collector, &stop).unwrap();
    assert_eq!(summary.into_result().unwrap_err().outcome, Outcome::Interrupted);
    assert_eq!(collector.finished, Some(Outcome::Interrupted));
}

#[test]
fn the_first_errors_of_a_run_are_kept() {
    let names: Vec<String> = (0..Incomplete::KEPT + 4).map(|number| format!("file{number}")).collect();
    let home = place(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        fs::create_dir_all(home.path().join("dst").join(name).join("in the way")).unwrap();
    }
    let failed = sync(&mirror(home.path())).into_result().unwrap_err();
    assert_eq!((failed.outcome, failed.count), (Outcome::Failed, names.len() as u64));
    assert_eq!(failed.errors.len(), Incomplete::KEPT);
    let text = failed.to_string();
    assert!(text.starts_with(&format!("failed: {}", failed.errors[0])), "{text}");
    assert!(text.ends_with(&format!(" (and {} more errors)", names.len() - 1)), "{text}");
    assert_eq!(failed.source().unwrap().to_string(), failed.errors[0].to_string());
}

#[test]
fn an_error_leads_to_its_causes() {
    let home = tempfile::tempdir().unwrap();
    let error = ringsync::sync(&mirror(home.path()), &mut Silent, &Stop::default()).unwrap_err();
    let cause: &io::Error = error.source().unwrap().downcast_ref().unwrap();
    assert_eq!(cause.kind(), io::ErrorKind::NotFound);
    let inner = Error::new(Operation::ListDestination, "b", io::Error::from(io::ErrorKind::PermissionDenied));
    let outer = Error::new(Operation::Delete, "a", Cause::Uncounted(Box::new(inner)));
    let inner: &Error = outer.source().unwrap().downcast_ref().unwrap();
    assert!(outer.to_string().ends_with(&inner.to_string()));
    assert!(inner.source().unwrap().is::<io::Error>());
}

#[test]
fn messages_name_what_the_caller_calls_a_setting() {
    let home = place(&["a"]);
    let config = mirror(home.path()).with(|config| config.destination = home.path().join("no/dst"));
    let error = ringsync::sync(&config, &mut Silent, &Stop::default()).unwrap_err();
    let ends = |text: &str, end: &str| assert!(text.ends_with(end), "{text}");
    ends(&error.to_string(), "its parent directory does not exist (make_parents makes it)");
    let names = |setting| match setting {
        Setting::MakeParents => "the box \"Make folders\"",
        other => other.field(),
    };
    ends(&error.told(names), "its parent directory does not exist (the box \"Make folders\" makes it)");
}
