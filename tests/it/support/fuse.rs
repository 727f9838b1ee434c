//! A file system in memory that misbehaves when it is told to: it gives less than it was asked for, fails, lies about
//! holes, or never answers. Mounted through FUSE, without `O_TMPFILE` and extended attributes, and gone when dropped,
//! also after a failure and with requests that it never answered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use super::scratch;

/// Nothing is cached: each look asks this file system.
const ANSWERS_LAST: Duration = Duration::ZERO;
/// Less than a hanging program is given.
const LONGEST_STALL: Duration = Duration::from_secs(100);

/// What the kernel may ask that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Getattr,
    /// By what the file or directory is called at that moment.
    Setattr,
    Setxattr,
    /// Once it is spoiled for anybody, the others have no attributes.
    Listxattr,
    /// By the new name.
    Rename,
    Link,
    Fsync,
    Fsyncdir,
    Open,
    Read,
    Readdir,
    /// What close(2) asks for each descriptor.
    Flush,
    /// Known by how the bytes start: a file may have a temporary name while it is written.
    Write,
}

/// How it goes wrong.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// The answer is an error.
    Fail(i32),
    /// At most this number of bytes is given or taken at once.
    Short(usize),
    /// Somebody else changes the file just before it is read.
    Change(fn(&mut Vec<u8>)),
    /// The same, and sets its time back.
    Sneak(fn(&mut Vec<u8>)),
    /// Somebody else gives the file this mode just before it is read, and writes nothing.
    Mode(u16),
    /// The bytes rot on the disk just before they are read: no time tells.
    Rot(fn(&mut Vec<u8>)),
    /// The answer is right, and takes so long.
    Late(Duration),
    /// There is no answer until [`Fuse::release`].
    Stall,
}

/// What becomes of metadata that is set: no error tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// All files have this mode.
    Mode(u16),
    /// Everything belongs to this user, and to the group of this number.
    Owner(u32),
    /// Times are whole seconds, those of changes as well.
    Seconds,
    /// Times of modifications are whole microseconds, those of changes are finer.
    Microseconds,
    /// Times are whole numbers of two seconds, as on FAT.
    TwoSeconds,
    /// Bytes are taken only up to the end of a file, and no file is given the size it has, or a larger one, without them.
    InOrder,
    /// Times are cut to this second.
    Until(u64),
    /// The time of the modification is set only together with that of the last access.
    TimesTogether,
    /// Files that were written have the time of that when they are closed.
    TimesAtClose,
    /// Files have the time of the last write, whatever is set.
    NoTimes,
}

/// What goes wrong with whom. An empty subject is everybody.
#[derive(Debug)]
struct Rule {
    call: Call,
    subject: &'static str,
    effect: Effect,
    /// Calls that still go well.
    skip: usize,
    left: usize,
    fired: usize,
}

/// Which names are one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folding {
    Nothing,
    /// Those that differ in case, and all are listed in lower case.
    Lower,
    /// Those that differ in case, form or what they end in.
    Kept,
    /// Those that differ in underscores, as nobody expects.
    Underscores,
}

impl Folding {
    fn are_one(self, one: &OsStr, other: &OsStr) -> bool {
        let folded = |name: &OsStr| {
            let name = name.to_string_lossy().to_lowercase();
            name.trim_end_matches(['.', ' ']).replace("e\u{301}", "\u{e9}").replace("u\u{308}", "\u{fc}")
        };
        match self {
            Folding::Nothing => one == other,
            Folding::Lower => one.eq_ignore_ascii_case(other),
            Folding::Kept => folded(one) == folded(other),
            Folding::Underscores => {
                one.to_string_lossy().replace('_', "") == other.to_string_lossy().replace('_', "")
            }
        }
    }
}

/// Two files that are shown with one inode number.
#[derive(Clone, Copy)]
struct OneNumber {
    first: &'static str,
    second: &'static str,
    alike: bool,
}

/// A change that comes after a file was read.
#[derive(Clone, Copy)]
struct LateChange {
    /// Reads to come before it.
    reads: usize,
    name: &'static str,
    change: fn(&mut Vec<u8>),
    mode: u16,
}

/// The mounted file system.
pub struct Fuse {
    point: PathBuf,
    memory: Memory,
    session: Option<BackgroundSession>,
    // Dropped last: it holds the mount point.
    _home: tempfile::TempDir,
}

impl Fuse {
    pub fn new() -> Fuse {
        Fuse::mount(false)
    }

    /// One whose direct reads and writes the kernel may answer in the background, as most file systems allow.
    pub fn asynchronous() -> Fuse {
        Fuse::mount(true)
    }

    fn mount(asynchronous: bool) -> Fuse {
        let home = scratch();
        let point = home.path().join("mnt");
        std::fs::create_dir(&point).expect("a mount point");
        let memory = Memory { state: Arc::new(Mutex::new(State::new())), asynchronous };
        let session = fuser::spawn_mount(memory.clone(), &point, &Config::default()).expect("a FUSE mount");
        Fuse { point, memory, session: Some(session), _home: home }
    }

    pub fn path(&self) -> &Path {
        &self.point
    }

    /// From now on `call` goes wrong for `subject`, this number of `times`.
    pub fn spoil(&self, call: Call, subject: &'static str, effect: Effect, times: usize) {
        if matches!(effect, Effect::Stall) {
            self.release_in_the_end();
        }
        self.memory.state().rules.push(Rule { call, subject, effect, skip: 0, left: times, fired: 0 });
    }

    /// The next `call`, a read or a listing, for `subject` is answered as ever, but not before [`Fuse::release`].
    pub fn hold(&self, call: Call, subject: &'static str) {
        assert!(matches!(call, Call::Read | Call::Readdir));
        self.release_in_the_end();
        self.memory.state().holds.push((call, subject));
    }

    /// How many calls are held.
    pub fn held(&self) -> usize {
        self.memory.state().stalled.len()
    }

    /// When a file of this name has been read as often as this, somebody writes other bytes to it and gives it this mode.
    pub fn change_after(&self, reads: usize, name: &'static str, change: fn(&mut Vec<u8>), mode: u16) {
        self.memory.state().late_change = Some(LateChange { reads, name, change, mode });
    }

    /// Answers what is held, and goes on to hold what comes to that.
    pub fn let_on(&self) {
        let stalled = std::mem::take(&mut self.memory.state().stalled);
        stalled.into_iter().for_each(|answer| answer());
    }

    /// From now on `call` goes wrong for everybody, always, but so many times before.
    pub fn spoil_after(&self, skip: usize, call: Call, effect: Effect) {
        let rule = Rule { call, subject: "", effect, skip, left: usize::MAX, fired: 0 };
        self.memory.state().rules.push(rule);
    }

    /// From now on the kernel keeps the pages of files that it has read, as of a network's.
    pub fn keep_pages(&self) {
        self.memory.state().keeps_pages = true;
    }

    /// From now on names are found in either case, and listed in lower case, as on a disk from elsewhere.
    pub fn fold_names(&self) {
        self.memory.state().folding = Folding::Lower;
    }

    /// From now on names are found in either case, in either form of some letters, and with dots and blanks at their end, and
    /// listed as they were made.
    pub fn take_names_for_one(&self) {
        self.memory.state().folding = Folding::Kept;
    }

    /// From now on names are found with and without their underscores, and listed as they were made.
    pub fn take_names_without_underscores_for_one(&self) {
        self.memory.state().folding = Folding::Underscores;
    }

    /// From now on no name can be made that Windows does not take.
    pub fn refuse_names(&self) {
        self.memory.state().picky = true;
    }

    /// How many bytes were written so far.
    pub fn written(&self) -> usize {
        self.memory.state().written
    }

    /// From now on a look at the file `second` shows the inode number of `first`, and two links for both; if they are `alike`,
    /// all else that `first` has as well.
    pub fn give_one_number(&self, first: &'static str, second: &'static str, alike: bool) {
        self.memory.state().one_number = Some(OneNumber { first, second, alike });
    }

    /// From now on metadata becomes something else.
    pub fn get_into(&self, habit: Habit) {
        self.memory.state().habits.push(habit);
    }

    /// From now on the file system says that these bytes of all files of this name are a hole.
    pub fn pretend_hole(&self, name: &'static str, hole: Range<u64>) {
        self.memory.state().holes.insert(OsString::from(name), hole);
    }

    /// A process that waits for an answer can't even be killed: a test that hangs must come to its end all the same.
    fn release_in_the_end(&self) {
        let state = Arc::downgrade(&self.memory.state);
        std::thread::spawn(move || {
            std::thread::sleep(LONGEST_STALL);
            if let Some(state) = state.upgrade() {
                release(state);
            }
        });
    }

    /// How often `call` went wrong so far.
    pub fn spoiled(&self, call: Call) -> usize {
        self.memory.state().rules.iter().filter(|rule| rule.call == call).map(|rule| rule.fired).sum()
    }

    /// Nothing goes wrong any more, and what was never answered fails now.
    pub fn release(&self) {
        release(self.memory.state.clone());
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.release();
        // By force, so that whoever still waits for an answer hears that there will be none.
        let status = Command::new("umount").args(["--force", "--lazy"]).arg(&self.point).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.point.display());
        }
        drop(self.session.take());
    }
}

struct Node {
    attr: FileAttr,
    /// The name it got last.
    name: OsString,
    body: Body,
}

enum Body {
    File(Vec<u8>),
    Directory(BTreeMap<OsString, INodeNo>),
    Symlink(PathBuf),
}

struct State {
    nodes: HashMap<INodeNo, Node>,
    rules: Vec<Rule>,
    holes: HashMap<OsString, Range<u64>>,
    habits: Vec<Habit>,
    /// Files that were written since they were opened.
    dirty: HashSet<INodeNo>,
    /// The kernel keeps what it has read of a file.
    keeps_pages: bool,
    folding: Folding,
    picky: bool,
    written: usize,
    one_number: Option<OneNumber>,
    late_change: Option<LateChange>,
    /// What is to be held back.
    holds: Vec<(Call, &'static str)>,
    /// Answers that are held back.
    stalled: Vec<Box<dyn FnOnce() + Send>>,
}

fn release(state: Arc<Mutex<State>>) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.rules.clear();
    state.holds.clear();
    state.holes.clear();
    let stalled = std::mem::take(&mut state.stalled);
    drop(state);
    stalled.into_iter().for_each(|answer| answer());
}

type Answer<T> = Result<T, Errno>;

impl State {
    fn new() -> State {
        let root = Node {
            attr: attributes(INodeNo::ROOT, FileType::Directory, 0o755, (0, 0)),
            name: OsString::new(),
            body: Body::Directory(BTreeMap::new()),
        };
        State {
            nodes: HashMap::from([(INodeNo::ROOT, root)]),
            rules: Vec::new(),
            habits: Vec::new(),
            dirty: HashSet::new(),
            keeps_pages: false,
            folding: Folding::Nothing,
            picky: false,
            written: 0,
            one_number: None,
            late_change: None,
            holes: HashMap::new(),
            holds: Vec::new(),
            stalled: Vec::new(),
        }
    }

    fn node(&mut self, ino: INodeNo) -> Answer<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(Errno::ENOENT)
    }

    fn entries(&mut self, ino: INodeNo) -> Answer<&mut BTreeMap<OsString, INodeNo>> {
        match &mut self.node(ino)?.body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn contents(&mut self, ino: INodeNo) -> Answer<&mut Vec<u8>> {
        match &mut self.node(ino)?.body {
            Body::File(bytes) => Ok(bytes),
            _ => Err(Errno::EISDIR),
        }
    }

    /// Changes a file that has been read as often as that takes.
    fn count_read(&mut self, ino: INodeNo) {
        let name = self.nodes.get(&ino).map(|node| node.name.clone()).unwrap_or_default();
        let Some(late) = self.late_change.as_mut().filter(|late| name == late.name) else { return };
        late.reads -= 1;
        if late.reads > 0 {
            return;
        }
        let LateChange { change, mode, .. } = *late;
        self.late_change = None;
        if let Ok(bytes) = self.contents(ino) {
            change(bytes);
            self.touch(ino);
        }
        if let Ok(node) = self.node(ino) {
            node.attr.perm = mode;
        }
    }

    fn child(&mut self, parent: INodeNo, name: &OsStr) -> Answer<INodeNo> {
        let kept = self.kept_name(parent, name)?;
        self.entries(parent)?.get(&kept).copied().ok_or(Errno::ENOENT)
    }

    /// What the entry that is found under a name is called.
    fn kept_name(&mut self, parent: INodeNo, name: &OsStr) -> Answer<OsString> {
        let folding = self.folding;
        let entries = self.entries(parent)?;
        if entries.contains_key(name) {
            return Ok(name.into());
        }
        let found = entries.keys().find(|other| folding.are_one(other, name));
        found.cloned().ok_or(Errno::ENOENT)
    }

    /// Whether a name may be made.
    fn admit(&self, name: &OsStr) -> Answer<()> {
        let name = name.as_bytes();
        let is_strange = |byte: &u8| *byte < 32 || b":*?\"<>|\\".contains(byte);
        let is_refused = name.iter().any(is_strange) || name.ends_with(b".") || name.ends_with(b" ");
        if self.picky && is_refused { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// What stat(2) shows.
    fn attr(&mut self, ino: INodeNo) -> Answer<FileAttr> {
        let node = self.nodes.get(&ino).ok_or(Errno::ENOENT)?;
        let mut attr = node.attr;
        if let Body::File(bytes) = &node.body {
            let hole = self.holes.get(&node.name).map_or(0, |hole| hole.end - hole.start);
            attr.size = bytes.len() as u64;
            attr.blocks = attr.size.saturating_sub(hole).div_ceil(512);
        }
        Ok(attr)
    }

    /// What a look at a file shows, whose number may be made up.
    fn shown(&mut self, ino: INodeNo) -> Answer<FileAttr> {
        let own = self.attr(ino)?;
        let Some(OneNumber { first, second, alike }) = self.one_number else { return Ok(own) };
        let name = self.node(ino)?.name.clone();
        if name != first && name != second {
            return Ok(own);
        }
        let numbers = self.nodes.iter().filter(|(_, node)| node.name == first).map(|(number, _)| *number);
        let Some(number) = numbers.min() else { return Ok(own) };
        let shown = if alike { self.attr(number)? } else { own };
        Ok(FileAttr { ino: number, nlink: 2, ..shown })
    }

    fn make(
        &mut self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        mode: u32,
        body: Body,
    ) -> Answer<FileAttr> {
        self.admit(name)?;
        if self.child(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let ino = INodeNo(self.nodes.len() as u64 + 1); // none ever goes: the kernel may still hold it
        let kind = match body {
            Body::File(_) => FileType::RegularFile,
            Body::Directory(_) => FileType::Directory,
            Body::Symlink(_) => FileType::Symlink,
        };
        let attr = attributes(ino, kind, mode as u16 & 0o7777, (request.uid(), request.gid()));
        self.nodes.insert(ino, Node { attr, name: name.into(), body });
        self.entries(parent)?.insert(name.into(), ino);
        self.touch(parent);
        Ok(attr)
    }

    fn remove(&mut self, parent: INodeNo, name: &OsStr) -> Answer<()> {
        let ino = self.child(parent, name)?;
        if self.entries(ino).is_ok_and(|entries| !entries.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        let kept = self.kept_name(parent, name)?;
        self.entries(parent)?.remove(&kept);
        let node = self.node(ino)?;
        node.attr.nlink = node.attr.nlink.saturating_sub(1);
        self.touch(parent);
        Ok(())
    }

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Answer<()> {
        self.admit(to.1)?;
        let (ino, kept) = (self.child(from.0, from.1)?, self.kept_name(from.0, from.1)?);
        if self.child(to.0, to.1) != Ok(ino) {
            match self.remove(to.0, to.1) {
                Err(errno) if errno.code() != libc::ENOENT => return Err(errno),
                _ => {}
            }
        }
        self.entries(from.0)?.remove(&kept);
        self.entries(to.0)?.insert(to.1.into(), ino);
        self.node(ino)?.name = to.1.into();
        self.touch(from.0);
        self.touch(to.0);
        Ok(())
    }

    fn link(&mut self, ino: INodeNo, to: (INodeNo, &OsStr)) -> Answer<FileAttr> {
        self.admit(to.1)?;
        if self.child(to.0, to.1).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.entries(to.0)?.insert(to.1.into(), ino);
        let node = self.node(ino)?;
        node.attr.nlink += 1;
        node.name = to.1.into();
        self.touch(to.0);
        self.attr(ino)
    }

    fn touch(&mut self, ino: INodeNo) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.attr.mtime = SystemTime::now();
            node.attr.ctime = node.attr.mtime;
        }
    }

    /// Makes of an inode's metadata what this file system does.
    fn get_used(&mut self, ino: INodeNo, before: SystemTime, alone: bool) {
        let habits = self.habits.clone();
        let Ok(Node { attr, .. }) = self.node(ino) else { return };
        for habit in habits {
            let cut = |time: SystemTime, seconds: u64| {
                UNIX_EPOCH + Duration::from_secs(seconds.min(since(time).as_secs()))
            };
            match habit {
                Habit::Mode(mode) => {
                    attr.perm = if attr.kind == FileType::RegularFile { mode } else { attr.perm };
                }
                Habit::Owner(id) => (attr.uid, attr.gid) = (id, id),
                Habit::Seconds => {
                    (attr.mtime, attr.ctime) = (cut(attr.mtime, u64::MAX), cut(attr.ctime, u64::MAX));
                }
                Habit::Microseconds => {
                    let (seconds, micros) = (since(attr.mtime).as_secs(), since(attr.mtime).subsec_micros());
                    attr.mtime = UNIX_EPOCH + Duration::new(seconds, micros * 1000);
                }
                Habit::TwoSeconds => {
                    (attr.mtime, attr.ctime) =
                        (cut(attr.mtime, since(attr.mtime).as_secs() & !1), cut(attr.ctime, u64::MAX));
                }
                Habit::Until(last) if since(attr.mtime).as_secs() > last => {
                    attr.mtime = cut(attr.mtime, last)
                }
                Habit::TimesTogether if alone => attr.mtime = before,
                Habit::NoTimes if attr.kind == FileType::RegularFile => attr.mtime = before,
                _ => {}
            }
        }
    }

    /// Whether this call is to be held back.
    fn is_held(&mut self, call: Call, ino: INodeNo) -> bool {
        let Some(name) = self.nodes.get(&ino).map(|node| node.name.clone()) else { return false };
        let held = self.holds.iter().position(|held| held.0 == call && name.as_bytes() == held.1.as_bytes());
        held.map(|held| self.holds.remove(held)).is_some()
    }

    /// What goes wrong with this call.
    fn effect(&mut self, call: Call, ino: INodeNo, data: &[u8]) -> Option<Effect> {
        let name = self.nodes.get(&ino)?.name.clone();
        let rule = self.rules.iter_mut().find(|rule| {
            let subject = rule.subject.as_bytes();
            let meant = match call {
                Call::Write | Call::Rename => data.starts_with(subject),
                _ => name.as_bytes() == subject,
            };
            rule.call == call && rule.left > 0 && (subject.is_empty() || meant)
        })?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.left -= 1;
        rule.fired += 1;
        Some(rule.effect)
    }
}

fn since(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn attributes(ino: INodeNo, kind: FileType, perm: u16, (uid, gid): (u32, u32)) -> FileAttr {
    let now = SystemTime::now();
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm,
        nlink: 1,
        uid,
        gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

#[derive(Clone)]
struct Memory {
    state: Arc<Mutex<State>>,
    /// Reads and writes past the page cache may be answered in the background.
    asynchronous: bool,
}

/// Answers with what a function of the state comes to.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $give:expr) => {
        match $result {
            Ok($value) => $give,
            Err(errno) => $reply.error(errno),
        }
    };
}

/// Gives way to what was told to go wrong; a limit on bytes is the value.
macro_rules! spoil {
    ($self:ident, $call:ident, $ino:ident, $data:expr, $reply:ident) => {{
        let mut state = $self.state();
        match state.effect(Call::$call, $ino, $data) {
            None => usize::MAX,
            Some(Effect::Short(limit)) => limit,
            Some(Effect::Fail(errno)) => return $reply.error(Errno::from_i32(errno)),
            Some(Effect::Change(change)) => {
                if let Ok(bytes) = state.contents($ino) {
                    change(bytes);
                    state.touch($ino);
                }
                usize::MAX
            }
            Some(Effect::Sneak(change)) => {
                if let Ok(bytes) = state.contents($ino) {
                    change(bytes);
                }
                if let Ok(node) = state.node($ino) {
                    node.attr.ctime = SystemTime::now();
                }
                usize::MAX
            }
            Some(Effect::Mode(mode)) => {
                if let Ok(node) = state.node($ino) {
                    (node.attr.perm, node.attr.ctime) = (mode, SystemTime::now());
                }
                usize::MAX
            }
            Some(Effect::Rot(rot)) => {
                if let Ok(bytes) = state.contents($ino) {
                    rot(bytes);
                }
                usize::MAX
            }
            Some(Effect::Late(time)) => {
                std::thread::sleep(time);
                usize::MAX
            }
            Some(Effect::Stall) => {
                return state.stalled.push(Box::new(move || $reply.error(Errno::EIO)));
            }
        }
    }};
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a read.
    fn give(&self, (ino, offset): (INodeNo, u64), size: usize, reply: ReplyData) {
        let mut state = self.state();
        let part = state.contents(ino).map(|bytes| {
            let rest = &bytes[(offset as usize).min(bytes.len())..];
            rest[..rest.len().min(size)].to_vec()
        });
        answer!(reply, part, part => {
            state.count_read(ino);
            reply.data(&part);
        })
    }

    /// Answers a listing.
    fn list(&self, ino: INodeNo, offset: u64, mut reply: ReplyDirectory) {
        let mut state = self.state();
        let lower = state.folding == Folding::Lower;
        let shown = |name: &OsString| if lower { name.to_ascii_lowercase() } else { name.clone() };
        let names: Vec<(OsString, INodeNo)> = match state.entries(ino) {
            Ok(entries) => entries.iter().map(|(name, ino)| (shown(name), *ino)).collect(),
            Err(errno) => return reply.error(errno),
        };
        let dots = [(OsString::from("."), ino), (OsString::from(".."), ino)];
        for (index, (name, ino)) in dots.into_iter().chain(names).enumerate().skip(offset as usize) {
            let Ok(kind) = state.node(ino).map(|node| node.attr.kind) else { continue };
            if reply.add(ino, index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    /// What is answered where nothing goes wrong: after ENOSYS the kernel does not ask again.
    fn without_attributes(&self, call: Call) -> Errno {
        let may_go_wrong = self.state().rules.iter().any(|rule| rule.call == call);
        if may_go_wrong { Errno::from_i32(libc::EOPNOTSUPP) } else { Errno::ENOSYS }
    }
}

impl Filesystem for Memory {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        if self.asynchronous {
            config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).expect("a kernel of this century");
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        let found = state.child(parent, name).and_then(|ino| state.attr(ino));
        answer!(reply, found, attr => reply.entry(&ANSWERS_LAST, &attr, Generation(0)))
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        spoil!(self, Getattr, ino, b"", reply);
        answer!(reply, self.state().shown(ino), attr => reply.attr(&ANSWERS_LAST, &attr))
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        spoil!(self, Setattr, ino, b"", reply);
        let mut state = self.state();
        let end = state.contents(ino).map_or(0, |bytes| bytes.len());
        let is_refused = |size: u64| size > 0 && size as usize >= end;
        if state.habits.contains(&Habit::InOrder) && size.is_some_and(is_refused) {
            reply.error(Errno::EPERM);
            return;
        }
        if let Some(size) = size
            && let Ok(bytes) = state.contents(ino)
        {
            bytes.resize(size as usize, 0);
            state.touch(ino);
        }
        let before = state.attr(ino).map_or(UNIX_EPOCH, |attr| attr.mtime);
        let alone = atime.is_none() && mtime.is_some();
        if let Ok(Node { attr, .. }) = state.node(ino) {
            attr.perm = mode.map_or(attr.perm, |mode| mode as u16 & 0o7777);
            attr.uid = uid.unwrap_or(attr.uid);
            attr.gid = gid.unwrap_or(attr.gid);
            attr.ctime = SystemTime::now();
            attr.mtime = match mtime {
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => attr.ctime,
                None => attr.mtime,
            };
        }
        state.get_used(ino, before, alone);
        answer!(reply, state.attr(ino), attr => reply.attr(&ANSWERS_LAST, &attr))
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match &self.state().node(ino).map(|node| &node.body) {
            Ok(Body::Symlink(target)) => reply.data(target.as_os_str().as_bytes()),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let made = self.state().make(req, (parent, name), mode, Body::Directory(BTreeMap::new()));
        answer!(reply, made, attr => reply.entry(&ANSWERS_LAST, &attr, Generation(0)))
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.state().make(req, (parent, name), 0o777, Body::Symlink(target.into()));
        answer!(reply, made, attr => reply.entry(&ANSWERS_LAST, &attr, Generation(0)))
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.state().remove(parent, name), () => reply.ok())
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.state().remove(parent, name), () => reply.ok())
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        spoil!(self, Rename, parent, newname.as_bytes(), reply);
        answer!(reply, self.state().rename((parent, name), (newparent, newname)), () => reply.ok())
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        spoil!(self, Link, ino, b"", reply);
        let linked = self.state().link(ino, (parent, name));
        answer!(reply, linked, attr => reply.entry(&ANSWERS_LAST, &attr, Generation(0)))
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        spoil!(self, Open, ino, b"", reply);
        let kept = self.state().keeps_pages;
        let flags = if kept { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::FOPEN_DIRECT_IO };
        reply.opened(FileHandle(0), flags);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.state();
        let made = state.make(req, (parent, name), mode, Body::File(Vec::new()));
        let made = made.and_then(|attr| {
            state.get_used(attr.ino, attr.mtime, false);
            state.attr(attr.ino)
        });
        let direct = FopenFlags::FOPEN_DIRECT_IO;
        answer!(reply, made, attr => {
            reply.created(&ANSWERS_LAST, &attr, Generation(0), FileHandle(0), direct);
        })
    }

    /// Past the page cache: there a short answer would be the end of the file.
    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let limit = spoil!(self, Read, ino, b"", reply);
        let memory = self.clone();
        let give = move || memory.give((ino, offset), limit.min(size as usize), reply);
        let mut state = self.state();
        if state.is_held(Call::Read, ino) {
            return state.stalled.push(Box::new(give));
        }
        drop(state);
        give();
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let limit = spoil!(self, Write, ino, data, reply);
        let data = &data[..data.len().min(limit)];
        let mut state = self.state();
        let end = state.contents(ino).map_or(0, |bytes| bytes.len());
        if state.habits.contains(&Habit::InOrder) && offset as usize > end {
            reply.error(Errno::EPERM);
            return;
        }
        answer!(reply, state.contents(ino), bytes => {
            let (start, end) = (offset as usize, offset as usize + data.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(data);
            state.written += data.len();
            state.touch(ino);
            state.get_used(ino, SystemTime::now(), false);
            state.dirty.insert(ino);
            reply.written(data.len() as u32);
        })
    }

    fn setxattr(&self, _: &Request, ino: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        spoil!(self, Setxattr, ino, b"", reply);
        reply.error(self.without_attributes(Call::Setxattr));
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, _: u32, reply: ReplyXattr) {
        spoil!(self, Listxattr, ino, b"", reply);
        reply.error(self.without_attributes(Call::Listxattr));
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        spoil!(self, Listxattr, ino, b"", reply);
        reply.error(self.without_attributes(Call::Listxattr));
    }

    fn flush(&self, _: &Request, ino: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        spoil!(self, Flush, ino, b"", reply);
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        if state.dirty.remove(&ino) && state.habits.contains(&Habit::TimesAtClose) {
            state.touch(ino);
        }
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        spoil!(self, Fsync, ino, b"", reply);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        spoil!(self, Fsyncdir, ino, b"", reply);
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, reply: ReplyDirectory) {
        spoil!(self, Readdir, ino, b"", reply);
        let memory = self.clone();
        let list = move || memory.list(ino, offset, reply);
        let mut state = self.state();
        if state.is_held(Call::Readdir, ino) {
            return state.stalled.push(Box::new(list));
        }
        drop(state);
        list();
    }

    fn lseek(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let mut state = self.state();
        let Ok(FileAttr { size, .. }) = state.attr(ino) else { return reply.error(Errno::ENOENT) };
        let name = state.nodes.get(&ino).map(|node| node.name.clone()).unwrap_or_default();
        let hole = state.holes.get(&name).cloned().unwrap_or(size..size);
        let at = offset as u64;
        let found = match whence {
            libc::SEEK_HOLE if at < hole.end => hole.start.max(at),
            libc::SEEK_HOLE => size,
            _ if hole.contains(&at) => hole.end,
            _ => at,
        };
        if at >= size || (whence == libc::SEEK_DATA && found >= size) {
            reply.error(Errno::ENXIO);
        } else {
            reply.offset(found as i64);
        }
    }
}
