//! Several sources, each to be put into one directory, DIR, under its own name. They are looked at once, grouped by the
//! directories that they lie in, and refused before anything is written where two have one name, or where what is read
//! would be written to.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::files::named::Named;
use crate::io::path::open_directory as open_beneath;
use crate::roots::backup_place::{found_in, refuse_backups_where_source_is};
use crate::roots::overlap::{Location, manifest_of, mounts, place, refuse_manifest};
use crate::roots::{self, Root, Roots, join, make_directories, nearest_existing, open_around, open_named};
use crate::select::list::ListedName;
use crate::stat::{Inode, Stat, stat_open};
use crate::text::Escaped;

/// The mode of a directory that nothing else is known of, less the umask.
const ORDINARY: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

const HOLD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory that sources lie in. It is opened where it is needed: there may be more than descriptors.
#[derive(Debug)]
pub(crate) struct Parent {
    /// As the user named it.
    pub(crate) path: PathBuf,
    /// Where a relative path starts.
    start: Arc<OwnedFd>,
    /// Below this no symlink is followed.
    within: Option<PathBuf>,
    inode: Inode,
    /// Those of the sources in it.
    pub(crate) names: Arc<ListedName>,
}

impl Parent {
    /// Holds it. It must be the one that was looked at when the run began.
    pub(crate) fn open(&self) -> Result<OwnedFd, Cause> {
        let fd = hold(&self.start, self.within.as_deref(), &self.path)?;
        if stat_open(&fd)?.inode == self.inode { Ok(fd) } else { Err(Cause::DirectoryReplaced) }
    }
}

/// What is put into one directory.
#[derive(Debug)]
pub(crate) struct Several {
    pub(crate) parents: Vec<Arc<Parent>>,
    /// Those that can't be had, and why.
    pub(crate) unusable: Vec<(PathBuf, Errno)>,
    named: ByName,
}

/// Each source as the user named it, by the name it gets.
type ByName = BTreeMap<OsString, PathBuf>;
/// The names in each directory that sources lie in, as the user named it.
type ByParent = Vec<(PathBuf, Vec<CString>)>;

impl Several {
    /// Whether a source gets a name in DIR.
    pub(crate) fn has(&self, name: &CStr) -> bool {
        self.named.contains_key(OsStr::from_bytes(name.to_bytes()))
    }

    /// The names in DIR.
    pub(crate) fn names(&self) -> impl Iterator<Item = &CStr> + Clone {
        self.parents.iter().flat_map(|parent| parent.names.children.iter()).map(|(name, _)| name.as_c_str())
    }

    /// Where the source lies that gets this name in DIR.
    pub(crate) fn parent_of(&self, name: &OsStr) -> Option<&Arc<Parent>> {
        let has = |parent: &&Arc<Parent>| {
            parent.names.children.iter().any(|(child, _)| child.as_bytes() == name.as_bytes())
        };
        self.parents.iter().find(has)
    }

    /// Where what lies at `below` in DIR comes from, as the user would name it.
    pub(crate) fn source_path(&self, below: &Path) -> Option<PathBuf> {
        let mut names = below.components();
        let named = self.named.get(names.next()?.as_os_str())?;
        Some(join(named, names.as_path()))
    }
}

/// Looks at the sources, and opens, or makes, the directory they are for.
pub(crate) fn open(config: &Config, sources: &[PathBuf]) -> Result<Roots> {
    refuse_options(config)?;
    let (named, by_parent) = group(sources)?;
    let (directory, missing) = open_target(config)?;
    let into = CopyInto::new(config, &directory, &missing, &named)?;
    let (mut parents, mut unusable) = (Vec::new(), Vec::new());
    let start = (start(sources)?, config.within.as_deref());
    for (path, names) in by_parent {
        if let Some(parent) = into.look_at(path, names, start.clone(), &mut unusable)? {
            parents.push(Arc::new(parent));
        }
    }
    into.refuse_manifest_in_the_way(&named)?;
    refuse_backups_where_source_is(config, &config.destination, &directory, &missing, |way| {
        found_in_one(&named, way)
    })?;
    let (destination, fresh) = match missing.as_os_str().is_empty() {
        true => (directory, false),
        // It is the user's own, and not mirrored: an ordinary directory.
        false => make_directories(config, directory, &missing, (ORDINARY, ORDINARY))?,
    };
    let source = open_around(Path::new("/"), Operation::UseSource)?;
    let several = Some(Several { parents, unusable, named });
    Ok(Roots { source, destination, single: None, several, fresh, nested: false })
}

/// What one of the sources has at a path in DIR.
fn found_in_one(named: &ByName, way: &Path) -> Option<PathBuf> {
    let mut names = way.components();
    let source = named.get(names.next()?.as_os_str())?;
    match names.as_path() {
        below if below.as_os_str().is_empty() => Some(source.clone()),
        below => found_in(&open_around(source, Operation::UseSource).ok()?, below),
    }
}

/// What has no meaning for several sources.
fn refuse_options(config: &Config) -> Result<()> {
    let why = if config.select.paths.is_some() {
        "a list of paths is for one source"
    } else if config.sources.as_ref().is_some_and(Vec::is_empty) {
        "there is no source to put into it"
    } else {
        return Ok(());
    };
    Err(Error::new(Operation::UseDestination, &config.destination, Cause::Refused(why.into())))
}

/// The sources by their own names, and these by the directories that they lie in, in the order in which they come up.
fn group(sources: &[PathBuf]) -> Result<(ByName, ByParent)> {
    let (mut named, mut by_parent) = (ByName::new(), ByParent::new());
    let mut places = HashMap::new();
    for source in sources {
        let (parent, name) = split(source)?;
        let path = if source.parent() == Some(Path::new("")) { name.into() } else { parent.join(name) };
        let c_name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL);
        let c_name = c_name.at(Operation::UseSource, || &path)?;
        if let Some(other) = named.insert(name.to_os_string(), path) {
            return Err(refusal(
                source,
                match named.get(name) {
                    Some(path) if *path == other => "it is named twice".into(),
                    _ => format!("{} has the same name", Escaped::path(&other)),
                },
            ));
        }
        let index = *places.entry(parent.clone()).or_insert_with(|| {
            by_parent.push((parent, Vec::new()));
            by_parent.len() - 1
        });
        by_parent[index].1.push(c_name);
    }
    Ok((named, by_parent))
}

/// The directory that a source lies in, and its name there. A slash at its end changes nothing.
fn split(source: &Path) -> Result<(PathBuf, &OsStr)> {
    let bytes = source.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let last = bytes[..end].rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name = source.file_name().filter(|_| !matches!(last, b"" | b"." | b".."));
    let Some(name) = name else {
        let why = match bytes {
            b"" => "it is empty",
            _ => "it has no name of its own; to copy what it holds, use sync, or name its entries",
        };
        return Err(refusal(source, why.into()));
    };
    match source.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Ok((parent.to_path_buf(), name)),
        _ => Ok((PathBuf::from("."), name)),
    }
}

/// Opens the directory to copy into, or the nearest one above it that exists; then with what is missing.
fn open_target(config: &Config) -> Result<(Root, PathBuf)> {
    let path = &config.destination;
    match roots::open_into(path, config) {
        Err(error) if error.errno() == Some(Errno::NOENT) => {
            let (existing, missing) = nearest_existing(path)?;
            if !config.make_parents {
                return Err(Error::new(Operation::UseDestination, path, Cause::Missing("it")));
            }
            Ok((open_named(&existing, config)?, missing))
        }
        opened => Ok((opened?, PathBuf::new())),
    }
}

/// Holds a directory. The dot makes the kernel mount what it mounts on demand.
fn hold(start: &OwnedFd, within: Option<&Path>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let Some(top) = within else {
        return rustix::fs::openat(start, path.join("."), HOLD, Mode::empty());
    };
    let below = path.strip_prefix(top).map_err(|_| Errno::XDEV)?;
    let top = rustix::fs::openat(start, top, HOLD | OFlags::NOFOLLOW, Mode::empty())?;
    open_beneath(&top, below.as_os_str().as_bytes())
}

/// Where the sources' paths start. Absolute ones need no working directory, which may be one that can't be opened.
fn start(sources: &[PathBuf]) -> Result<Arc<OwnedFd>> {
    let start = if sources.iter().all(|source| source.is_absolute()) { "/" } else { "." };
    rustix::fs::open(start, HOLD, Mode::empty()).map(Arc::new).at(Operation::UseSource, || start)
}

/// The directory to copy into, and all that a source must not be in the way of.
struct CopyInto<'a> {
    path: &'a Path,
    named: &'a ByName,
    /// `None` while it does not exist.
    fd: Option<Arc<OwnedFd>>,
    inode: Option<Inode>,
    /// `None` without /proc: then only what has the same inode is found.
    place: Option<Location>,
    mounts: Vec<Location>,
    manifest: Option<Manifest<'a>>,
}

/// The manifest that is to be written, and where.
struct Manifest<'a> {
    path: &'a Path,
    at: Named,
    inode: Inode,
    place: Option<Location>,
}

impl<'a> CopyInto<'a> {
    fn new(config: &'a Config, directory: &Root, missing: &Path, named: &'a ByName) -> Result<Self> {
        let path = config.destination.as_path();
        let mounts = mounts();
        let place = directory.fd.as_ref().and_then(|fd| place(fd, &mounts));
        let place =
            place.map(|place| if missing.as_os_str().is_empty() { place } else { place.join(missing) });
        let fd = directory.fd.clone().filter(|_| missing.as_os_str().is_empty());
        let stat = fd.as_ref().map(stat_open).transpose().at(Operation::UseDestination, || path)?;
        let manifest = manifest_of(config)?.map(|(path, at)| Manifest::new(path, at, &mounts)).transpose()?;
        Ok(CopyInto { path, named, fd, inode: stat.map(|stat| stat.inode), place, mounts, manifest })
    }

    /// Looks at the sources in one directory. `None`: none of them can be had.
    fn look_at(
        &self,
        path: PathBuf,
        names: Vec<CString>,
        (start, within): (Arc<OwnedFd>, Option<&Path>),
        unusable: &mut Vec<(PathBuf, Errno)>,
    ) -> Result<Option<Parent>> {
        let mut miss = |name: &CString, errno| {
            let named = self.named.get(OsStr::from_bytes(name.to_bytes()));
            unusable.push((named.cloned().unwrap_or_default(), errno));
        };
        let held = hold(&start, within, &path).and_then(|fd| Ok((stat_open(&fd)?.inode, fd)));
        let (inode, fd) = match held {
            Ok(held) => held,
            Err(errno) => {
                names.iter().for_each(|name| miss(name, errno));
                return Ok(None);
            }
        };
        let mut children = Vec::with_capacity(names.len());
        let around = (place(&fd, &self.mounts), inode);
        for name in names {
            match rustix::fs::statx(&fd, &name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS) {
                Ok(stat) => {
                    self.refuse_overlap(&fd, &around, &name, &Stat::from(&stat))?;
                    children.push((name, Arc::new(ListedName { named: true, children: Vec::new() })));
                }
                Err(errno) => miss(&name, errno),
            }
        }
        children.sort_by(|(one, _), (other, _)| one.cmp(other));
        let names = Arc::new(ListedName { named: false, children });
        let parent = Parent { path, start, within: within.map(Path::to_path_buf), inode, names };
        Ok((!parent.names.children.is_empty()).then_some(parent))
    }

    /// Refuses a source that the run would write to, or that holds DIR. `around` is the directory it lies in.
    fn refuse_overlap(
        &self,
        fd: &OwnedFd,
        around: &(Option<Location>, Inode),
        name: &CString,
        stat: &Stat,
    ) -> Result<()> {
        let own = OsStr::from_bytes(name.to_bytes());
        let path = self.named.get(own).cloned().unwrap_or_default();
        let into = Escaped::path(self.path);
        if Some(stat.inode) == self.inode {
            return Err(refusal(&path, format!("it is the directory to copy into, {into}")));
        }
        if Some(around.1) == self.inode {
            return Err(refusal(&path, format!("it lies in the directory to copy into, {into}, already")));
        }
        let directory = match stat.kind {
            Kind::Directory => rustix::fs::openat(fd, name, HOLD | OFlags::NOFOLLOW, Mode::empty()).ok(),
            _ => None,
        };
        let at = match &directory {
            Some(directory) => place(directory, &self.mounts),
            None => around.0.as_ref().map(|place| place.join(own)),
        };
        if let Some(manifest) = &self.manifest {
            let inside = directory.is_some() && manifest.is_in(at.as_ref(), &self.mounts);
            if inside || (manifest.inode == around.1 && manifest.at.name == own) {
                let why = format!("it is, or lies in, the source {}", Escaped::path(&path));
                return Err(refuse_manifest(manifest.path, &why));
            }
        }
        let (Some(at), Some(tree)) = (at, &self.place) else { return Ok(()) };
        if directory.is_some() && at.has(tree, &self.mounts) {
            return Err(refusal(&path, format!("it holds the directory to copy into, {into}")));
        }
        if let Some((first, source)) = self.written_at(&at, name, tree, directory.is_some()) {
            let (taken, source) = (self.path.join(first), Escaped::path(source));
            let why = format!("it lies where {source} is to be copied to, {}", Escaped::path(&taken));
            return Err(refusal(&path, why));
        }
        Ok(())
    }

    /// The source, and the name it gets in DIR, that would be written where another one of this `name` lies.
    fn written_at(
        &self,
        at: &Location,
        name: &CString,
        tree: &Location,
        is_directory: bool,
    ) -> Option<(&OsString, &PathBuf)> {
        let taken = if is_directory { self.place_of(name) } else { None };
        if taken.is_some_and(|taken| at.has(&taken, &self.mounts) || taken.has(at, &self.mounts)) {
            return self.named.get_key_value(OsStr::from_bytes(name.to_bytes()));
        }
        let way = tree.way_to(at, &self.mounts)?;
        self.named.get_key_value(way.components().next()?.as_os_str())
    }

    /// Where a directory lies that has the name already: something may be mounted there.
    fn place_of(&self, name: &CString) -> Option<Location> {
        let fd = rustix::fs::openat(self.fd.as_ref()?, name, HOLD | OFlags::NOFOLLOW, Mode::empty()).ok()?;
        place(&fd, &self.mounts)
    }

    /// Refuses a manifest in DIR that would take the place of something that is copied.
    fn refuse_manifest_in_the_way(&self, named: &ByName) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let (Some(tree), Some(at)) = (&self.place, &manifest.place) else { return Ok(()) };
        let Some(way) = tree.way_to(at, &self.mounts) else { return Ok(()) };
        let below = way.join(&manifest.at.name);
        let mut names = below.components();
        let source = names.next().and_then(|first| named.get(first.as_os_str()));
        if let Some(source) =
            source.filter(|source| fs::symlink_metadata(join(source, names.as_path())).is_ok())
        {
            let why = format!("{} has a file of this name, which DIR is to get", Escaped::path(source));
            return Err(refuse_manifest(manifest.path, &why));
        }
        Ok(())
    }
}

impl<'a> Manifest<'a> {
    fn new(path: &'a Path, at: Named, mounts: &[Location]) -> Result<Self> {
        let inode = stat_open(&at.directory).at(Operation::WriteManifest, || path)?.inode;
        let place = place(&at.directory, mounts);
        Ok(Manifest { path, at, inode, place })
    }

    fn is_in(&self, tree: Option<&Location>, mounts: &[Location]) -> bool {
        tree.zip(self.place.as_ref()).is_some_and(|(tree, place)| tree.has(place, mounts))
    }
}

fn refusal(source: &Path, why: String) -> Error {
    Error::new(Operation::UseSource, source, Cause::Refused(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_name_or_is_refused() {
        let table = [
            ("a", ".", "a"),
            ("a/", ".", "a"),
            ("./a", ".", "a"),
            ("a/b//", "a", "b"),
            ("/a", "/", "a"),
            ("//a/./b/", "//a", "b"),
            ("../a", "..", "a"),
            ("a/../b", "a/..", "b"),
            ("...", ".", "..."),
        ];
        for (source, parent, name) in table {
            let found = split(Path::new(source)).unwrap();
            assert_eq!(found, (parent.into(), name.as_ref()), "{source}");
        }
        for source in ["", ".", "..", "/", "//", "./", "../", "a/.", "a/..", "a/./", "a/..//", "/."] {
            let error = split(Path::new(source)).unwrap_err();
            assert_eq!(error.operation, Operation::UseSource, "{source}");
        }
    }

    #[test]
    fn a_directory_that_takes_another_one_s_place_is_not_opened() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["a/x", "b/x"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::create_dir(at("dst")).unwrap();
        let roots = open(&Config::copy([at("a/x")], at("dst")), &[at("a/x")]).unwrap();
        let parent = roots.several.unwrap().parents.remove(0);
        parent.open().unwrap();
        fs::rename(at("a"), at("moved")).unwrap();
        assert!(matches!(parent.open(), Err(Cause::Io(_))));
        std::os::unix::fs::symlink("b", at("a")).unwrap();
        assert!(matches!(parent.open(), Err(Cause::DirectoryReplaced)));
        fs::remove_file(at("a")).unwrap();
        std::os::unix::fs::symlink("moved", at("a")).unwrap();
        parent.open().unwrap();
    }

    #[test]
    fn no_symlink_leads_out_of_the_directory_that_sources_lie_in() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["tree/a/x", "outside/x", "dst"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        std::os::unix::fs::symlink("../outside", at("tree/way")).unwrap();
        std::os::unix::fs::symlink("tree", at("again")).unwrap();
        let sources = |within: Option<&str>, name: &str| {
            let mut config = Config::copy([at(name)], at("dst"));
            config.within = within.map(at);
            open(&config, &[at(name)]).unwrap().several.unwrap()
        };
        assert_eq!(sources(None, "tree/way/x").parents.len(), 1);
        for (within, name) in [("tree", "tree/way/x"), ("again", "again/a/x"), ("tree", "outside/x")] {
            let refused = sources(Some(within), name);
            assert!(refused.parents.is_empty() && refused.unusable.len() == 1, "{name}");
        }
        let held = sources(Some("tree"), "tree/a/x").parents.remove(0);
        held.open().unwrap();
        fs::rename(at("tree/a"), at("outside/a")).unwrap();
        std::os::unix::fs::symlink("../outside/a", at("tree/a")).unwrap();
        held.open().unwrap_err();
    }

    #[test]
    fn what_lies_below_a_source_is_named_by_it() {
        let (named, by_parent) =
            group(&["x/one".into(), "two/".into(), "./x/three".into(), "four".into()]).unwrap();
        assert_eq!(by_parent.len(), 3, "{by_parent:?}");
        let several = Several { parents: Vec::new(), unusable: Vec::new(), named };
        let path = |below: &str| several.source_path(Path::new(below));
        assert_eq!(path("one"), Some("x/one".into()));
        assert_eq!(path("two/a/b"), Some("two/a/b".into()));
        assert_eq!(path("three/a"), Some("./x/three/a".into()));
        assert_eq!((path(""), path("five")), (None, None));
    }
}
