//! What the paths of a command line mean: what is copied under its own name, and what a trailing slash, or a dot, makes
//! the contents of; and what DST then is, a directory to copy into or the new name of one file.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::cli::values::local::is_remote;
use crate::report::lines::warn;
use crate::rsync::failure::{FILES, Failure, UNSUPPORTED, WRITING};
use crate::rsync::wishes::Follows;
use ringsync::{Config, Escaped};

/// One path that is to be copied.
#[derive(Debug)]
pub(super) struct Source {
    /// As the user wrote it, with a dot for what its contents are meant of.
    path: PathBuf,
    /// Not itself is copied, but what it holds.
    contents: bool,
    /// It is a symlink that stands for what it leads to.
    followed: bool,
    metadata: Metadata,
}

/// The sources that are there.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) found: Vec<Source>,
    /// Some are not there, which was told.
    pub(super) missing: bool,
}

impl Sources {
    /// Looks at the paths. What is not there is told, and the rest goes on.
    pub(super) fn look_at(paths: &[OsString], follow: &Follows) -> Result<Self, Failure> {
        refuse_remote(paths)?;
        let mut sources = Sources::default();
        let mut seen = BTreeSet::new();
        for path in paths {
            let (path, contents) = shape(path);
            let own = fs::symlink_metadata(&path);
            let is_link = own.as_ref().is_ok_and(|metadata| metadata.is_symlink());
            let followed = is_link && !contents && stands_for_it(&path, follow);
            match if contents || followed { fs::metadata(&path) } else { own } {
                // Named twice, it is copied once.
                Ok(metadata) => {
                    let name = if contents { None } else { path.file_name().map(OsStr::to_os_string) };
                    if seen.insert((metadata.dev(), metadata.ino(), name)) {
                        sources.found.push(Source { path, contents, followed, metadata });
                    }
                }
                Err(error) if followed && error.kind() == io::ErrorKind::NotFound => {
                    warn(format_args!("rsync: symlink has no referent: \"{}\"", full(&path)));
                    sources.missing = true;
                }
                Err(error) => {
                    warn(format_args!(
                        "rsync: [sender] link_stat \"{}\" failed: {}",
                        full(&path),
                        reason(&error)
                    ));
                    sources.missing = true;
                }
            }
        }
        Ok(sources)
    }

    /// Leaves out the directories, and returns what is to be said of them.
    pub(super) fn without_directories(&mut self) -> Vec<String> {
        let (directories, others) =
            std::mem::take(&mut self.found).into_iter().partition::<Vec<_>, _>(Source::is_directory);
        self.found = others;
        directories.iter().map(|source| format!("skipping directory {}", source.shown())).collect()
    }

    /// Where each of them goes in DST.
    fn places(&self) -> Vec<(PathBuf, PathBuf)> {
        let place = |source: &Source| match source.path.file_name().filter(|_| !source.contents) {
            Some(name) => (PathBuf::from(name), source.path.clone()),
            None => (PathBuf::new(), source.path.clone()),
        };
        self.found.iter().map(place).collect()
    }

    /// Whether they come to more than one entry of a list, or to one alone.
    fn are_several(&self) -> bool {
        match &self.found[..] {
            [] => false,
            [only] => only.is_directory() && !only.is_empty(),
            _ => true,
        }
    }
}

impl Source {
    fn is_directory(&self) -> bool {
        self.metadata.is_dir()
    }

    /// A directory that holds nothing, or can't be read.
    fn is_empty(&self) -> bool {
        fs::read_dir(&self.path).ok().and_then(|mut entries| entries.next()).is_none()
    }

    /// The name that it gets in DST, or a dot.
    fn shown(&self) -> String {
        match self.path.file_name().filter(|_| !self.contents) {
            Some(name) => Escaped::name(name).to_string(),
            None => ".".into(),
        }
    }
}

/// Whether a symlink that is named stands for what it leads to.
fn stands_for_it(path: &Path, follow: &Follows) -> bool {
    let leads_out = || {
        fs::read_link(path).is_ok_and(|target| {
            let mut names = target.components();
            names.any(|name| !matches!(name, Component::Normal(_) | Component::CurDir))
        })
    };
    follow.all
        || follow.directories && fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
        || follow.unsafe_ones && leads_out()
}

/// One run of the engine.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) config: Config,
    /// Names at the top of its source that another one has before it.
    pub(super) taken: Vec<OsString>,
}

impl Run {
    fn new(config: Config) -> Self {
        Run { config, taken: Vec::new() }
    }
}

/// What the engine is to do, one run after the other.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) runs: Vec<Run>,
    /// DST is a directory that is not there yet.
    pub(super) makes_directory: bool,
}

/// What the engine is to do with the sources.
pub(super) fn runs(sources: &Sources, destination: &OsStr, mkpath: bool) -> Result<Runs, Failure> {
    refuse_remote(std::slice::from_ref(&destination.to_os_string()))?;
    let destination = if destination.is_empty() { OsStr::new(".") } else { destination };
    let named_as_directory = destination.as_bytes().ends_with(b"/");
    let destination = Path::new(destination);
    let existing = match fs::metadata(destination) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let text =
                format!("ERROR: cannot stat destination \"{}\": {}", full(destination), reason(&error));
            return Err(Failure::new(text, FILES));
        }
    };
    let several = sources.are_several();
    match existing {
        Some(metadata) if metadata.is_dir() => {
            let runs = into_directory(sources, destination, false);
            return Ok(Runs { runs, makes_directory: false });
        }
        Some(_) if several => {
            let text = "ERROR: destination must be a directory when copying more than 1 file";
            return Err(Failure::new(text, FILES));
        }
        Some(_) if sources.found.first().is_some_and(Source::is_directory) => {
            let text = "ERROR: cannot overwrite non-directory with a directory";
            return Err(Failure::new(text, FILES));
        }
        Some(_) => {}
        None if several || named_as_directory => {
            refuse_missing_parent(destination, mkpath, WRITING)?;
            let runs = into_directory(sources, destination, true);
            return Ok(Runs { runs, makes_directory: true });
        }
        None => refuse_missing_parent(destination, mkpath, FILES)?,
    }
    // One file, or one empty directory, gets DST as its name.
    let one = |source: &Source| {
        let config = Config::new(&source.path, destination);
        Run::new(
            config.with(|config| (config.source_itself, config.make_parents) = (!source.followed, mkpath)),
        )
    };
    Ok(Runs { runs: sources.found.iter().map(one).collect(), makes_directory: false })
}

/// Each source that is named goes into the directory under its own name, and what is meant by its contents without it. Where
/// two have one path the first one counts, and so the last one is copied first. What is named is copied before contents, whose
/// directory then keeps its time.
pub(super) fn into_directory(sources: &Sources, directory: &Path, make: bool) -> Vec<Run> {
    let (mut named, mut contents) = (Vec::<(BTreeSet<&OsStr>, Vec<&Path>)>::new(), Vec::new());
    let mut taken = Vec::new();
    for source in &sources.found {
        let Some(name) = source.path.file_name().filter(|_| !source.contents) else {
            let config = Config::new(&source.path, directory);
            contents.push(Run { config, taken: taken.clone() });
            continue;
        };
        if !source.is_directory() {
            taken.push(name.to_os_string());
        }
        match named.last_mut().filter(|(names, _)| !names.contains(name)) {
            Some((names, paths)) => {
                names.insert(name);
                paths.push(&source.path);
            }
            None => named.push((BTreeSet::from([name]), vec![&source.path])),
        }
    }
    let named = named.into_iter().map(|(_, paths)| Run::new(Config::copy(paths, directory)));
    let mut runs: Vec<Run> = named.rev().chain(contents.into_iter().rev()).collect();
    if runs.len() > 1 {
        runs.iter_mut().for_each(|run| run.config.shared_with = sources.places());
    }
    runs.iter_mut().for_each(|run| run.config.make_parents = make);
    runs
}

/// The path, and whether its contents are meant: it ends in a slash or a dot.
fn shape(path: &OsStr) -> (PathBuf, bool) {
    let bytes = path.as_bytes();
    let last = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match last {
        b"" | b".." => (PathBuf::from(OsString::from_vec([bytes, b"/."].concat())).join(""), true),
        b"." => (PathBuf::from(path).join(""), true),
        _ => (PathBuf::from(path), false),
    }
}

/// What names another machine, or a daemon.
fn refuse_remote(paths: &[OsString]) -> Result<(), Failure> {
    match paths.iter().find(|path| is_remote(Path::new(path))) {
        None => Ok(()),
        Some(path) => {
            let text = format!(
                "{}: ringsync copies on this machine alone, and a colon before the first slash names another one",
                Escaped::path(Path::new(path))
            );
            Err(Failure::new(text, UNSUPPORTED))
        }
    }
}

fn refuse_missing_parent(destination: &Path, mkpath: bool, code: u8) -> Result<(), Failure> {
    let bare = destination.components().as_path();
    let parent = match bare.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => return Ok(()),
    };
    match fs::metadata(parent) {
        Err(error) if !mkpath => {
            let (what, path) = if code == WRITING { ("mkdir", bare) } else { ("change_dir#3", parent) };
            let text = format!("[Receiver] {what} \"{}\" failed: {}", full(path), reason(&error));
            Err(Failure::new(text, code))
        }
        _ => Ok(()),
    }
}

/// A path from the root of the file system, as rsync's messages have it.
fn full(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    Escaped::path(&path).to_string()
}

/// The kernel's words, and its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    match error.raw_os_error() {
        Some(number) => format!("{text} ({number})"),
        None => text,
    }
}
