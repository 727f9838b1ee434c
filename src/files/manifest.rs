//! Writing manifests: one line by a pure function, a file as a whole or not at all.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{BufWriter, Seek, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use blake3::Hash;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::content::manifest::LINE_LIMIT;
use crate::content::manifest::format::{format_line, format_mark};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::files::named::{self, Named};
use crate::files::trees::Trees;
use crate::io::close;
use crate::io::rename::{Taken, link_nameless, take_place};
use crate::io::temporary::{TemporaryNames, lock};
use crate::stat::Stat;

/// Writes a manifest. Its file has its name only when it is whole: until [`finish`](Writer::finish) whatever had the
/// name before stays, and a writer that is dropped leaves nothing.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    directory: OwnedFd,
    name: CString,
    file: BufWriter<File>,
    /// The file's name meanwhile, where the file system has no nameless files.
    temporary: Option<CString>,
    names: TemporaryNames,
}

impl Writer {
    /// Begins the manifest that shall be at `path`, which may be a symlink to where it shall be, if that is root's or the
    /// caller's own.
    ///
    /// # Errors
    /// When no file can be made there, or something that is no regular file has the name.
    pub fn create(path: &Path) -> Result<Self> {
        Writer::create_for(path, &Trees::none(), TemporaryNames::of_this_run()?)
    }

    /// The same for a run: in its trees no symlink is followed, nobody may read it who may not read SRC, and a later run
    /// may know its temporary name.
    pub(crate) fn create_for(path: &Path, trees: &Trees, names: TemporaryNames) -> Result<Self> {
        let at = || path;
        let place = named::find(path, trees, Operation::WriteManifest)?;
        require_place(&place).at(Operation::WriteManifest, at)?;
        let Named { directory, name, .. } = place;
        let name =
            CString::new(name.as_bytes()).map_err(|_| Errno::INVAL).at(Operation::WriteManifest, at)?;
        let (fd, temporary) = create_in(&directory, trees, &names).at(Operation::WriteManifest, at)?;
        let file = BufWriter::new(File::from(fd));
        Ok(Writer { path: path.to_path_buf(), directory, name, file, temporary, names })
    }

    /// Adds a line. It is buffered: what goes wrong may show with a later one.
    ///
    /// # Errors
    /// When the line can't be written, or not so that it could be read again: it would be longer than [`LINE_LIMIT`],
    /// or the path is empty or has a NUL in it.
    pub fn add(&mut self, path: &Path, hash: &Hash) -> Result<()> {
        let bytes = path.as_os_str().as_bytes();
        let line = format_line(path, hash);
        if bytes.is_empty() || bytes.contains(&0) || line.len() > LINE_LIMIT + 1 {
            let cause = Cause::Refused("no manifest can hold this path".into());
            return Err(Error::new(Operation::WriteManifest, path, cause));
        }
        self.file.write_all(&line).at(Operation::WriteManifest, || &self.path)
    }

    /// Marks the file at `path`, whose line comes next: its contents may be a mixture.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn mark_changing(&mut self, path: &Path) -> Result<()> {
        self.file.write_all(&format_mark(path)).at(Operation::WriteManifest, || &self.path)
    }

    /// Flushes the manifest to the disk and gives it its name.
    ///
    /// # Errors
    /// When it can't be written or named. What had the name before is then still there.
    pub fn finish(mut self) -> Result<()> {
        let at = Operation::WriteManifest;
        self.file.flush().at(at, || &self.path)?;
        self.file.get_ref().sync_all().at(at, || &self.path)?;
        close::ask_if_it_may_tell(self.file.get_ref()).at(at, || &self.path)?;
        let temporary = match self.temporary.take() {
            Some(temporary) => temporary,
            None => self.name_temporarily().at(at, || &self.path)?,
        };
        take_place((&self.directory, &temporary), (&self.directory, &self.name), Taken::Entry)
            .at(at, || &self.path)?;
        // A directory that may be written to and not read can't be flushed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, c".", flags, Mode::empty()).and_then(rustix::fs::fsync) {
            Err(Errno::ACCESS | Errno::INVAL) => Ok(()),
            flushed => flushed.at(at, || &self.path),
        }
    }

    fn name_temporarily(&mut self) -> std::io::Result<CString> {
        let temporary = self.names.new_name(&self.directory)?;
        if link_nameless(self.file.get_ref(), &self.directory, &temporary).is_err() {
            self.copy_to(&temporary)?; // where it can't be linked
        }
        Ok(temporary)
    }

    /// Copies what has no name to a file that has one.
    fn copy_to(&mut self, temporary: &CStr) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.directory, temporary, flags, Mode::RUSR | Mode::WUSR)?;
        lock(&fd);
        let (mut old, mut new) = (self.file.get_ref(), File::from(fd));
        let copied = old.rewind().and_then(|()| std::io::copy(&mut old, &mut new)).and_then(|_| {
            new.set_permissions(old.metadata()?.permissions())?;
            new.sync_all()
        });
        if copied.is_err() {
            rustix::fs::unlinkat(&self.directory, temporary, AtFlags::empty()).ok();
        }
        self.file = BufWriter::new(new);
        copied
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            rustix::fs::unlinkat(&self.directory, temporary, AtFlags::empty()).ok();
        }
    }
}

/// Refuses what a manifest must not take the place of.
fn require_place(place: &Named) -> Result<(), Cause> {
    match rustix::fs::statx(&place.directory, &place.name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS) {
        Ok(stat) => match Stat::from(&stat).kind {
            Kind::File => Ok(()),
            Kind::Directory => Err(Errno::ISDIR.into()),
            Kind::Symlink => Err(Cause::Refused("it is a symlink that has no file to lead to".into())),
            _ => Err(Cause::Refused("it is a device, FIFO or socket".into())),
        },
        // A symlink to nowhere shows no place to make one.
        Err(Errno::NOENT) if !place.linked => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the file: nameless, or under a temporary name where the file system can't do that.
fn create_in(
    directory: &OwnedFd,
    trees: &Trees,
    names: &TemporaryNames,
) -> rustix::io::Result<(OwnedFd, Option<CString>)> {
    // To be read as well, where it must be copied.
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let make =
        |name: &CStr, flags: OFlags| trees.create(|mode| rustix::fs::openat(directory, name, flags, mode));
    let (fd, temporary) = match make(c".", flags | OFlags::TMPFILE) {
        Ok(fd) => (fd, None),
        // The answers of file systems, and of kernels, that don't know O_TMPFILE (open(2)).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
            let temporary = names.new_name(directory)?;
            let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            (make(&temporary, flags)?, Some(temporary))
        }
        Err(errno) => return Err(errno),
    };
    // So that no mirror that runs at the same time takes it for litter.
    lock(&fd);
    Ok((fd, temporary))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_manifest_has_its_name_only_when_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("sums");
        fs::write(&path, "old").unwrap();
        let mut writer = Writer::create(&path).unwrap();
        writer.add(Path::new("a\nb"), &blake3::hash(b"x")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        writer.finish().unwrap();
        let line = format_line(Path::new("a\nb"), &blake3::hash(b"x"));
        assert_eq!(fs::read(&path).unwrap(), line);
        assert_eq!(names(home.path()), ["sums"]);
        fs::write(home.path().join("ordinary"), "").unwrap();
        let mode = |name: &str| fs::metadata(home.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("sums"), mode("ordinary"));
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("sums");
        let mut writer = Writer::create(&path).unwrap();
        writer.add(Path::new("a"), &blake3::hash(b"x")).unwrap();
        drop(writer);
        assert!(names(home.path()).is_empty());
        // Without nameless files.
        let mut writer = Writer::create(&path).unwrap();
        writer.temporary = Some(writer.name_temporarily().unwrap());
        assert_eq!(names(home.path()).len(), 1);
        drop(writer);
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_symlink_followed() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        symlink("fifo", at("to-fifo")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        for name in ["directory", "fifo", "to-fifo", "dangling", "missing/sums", "directory/.."] {
            let error = Writer::create(&at(name)).unwrap_err();
            assert!(error.to_string().starts_with("write manifest "), "{error}");
        }
        fs::write(at("directory/file"), "old").unwrap();
        symlink("directory/file", at("link")).unwrap();
        let before = fs::metadata(at("link")).unwrap().ino();
        Writer::create(&at("link")).unwrap().finish().unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_ne!(fs::metadata(at("link")).unwrap().ino(), before);
        assert_eq!(fs::read(at("directory/file")).unwrap(), b"");
    }

    #[test]
    fn a_path_that_could_not_be_read_again_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&home.path().join("sums")).unwrap();
        let hash = blake3::hash(b"");
        for path in ["", "a\0b", &"x".repeat(LINE_LIMIT - 65)] {
            assert!(writer.add(Path::new(path), &hash).is_err());
        }
        writer.add(Path::new(&"x".repeat(LINE_LIMIT - 66)), &hash).unwrap();
    }
}
