//! The ring's operations, each typed and safe to call, and what else no library offers without it: the only file
//! with `unsafe` code.
//!
//! What the kernel writes to or reads from while an operation is in flight (names, buffers, stat records) is moved
//! into the operation. tokio-uring keeps it until the completion has arrived, also when the future is dropped
//! before that; descriptors are held the same backend, so that none is closed and its number reused meanwhile.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use io_uring::{cqueue, opcode, squeue, types};
use rustix::fs::{OFlags, ResolveFlags, Statx};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl, opcode as number};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use crate::io::buffer::Buffer;
use crate::stat::Stat;

/// Hands back the kernel's answer together with what the operation held.
struct Complete<D>(std::marker::PhantomData<D>);

impl<D: 'static> OneshotOutputTransform for Complete<D> {
    type Output = (rustix::io::Result<u32>, D);
    type StoredData = D;

    fn transform_oneshot_output(self, data: D, completion: cqueue::Entry) -> Self::Output {
        let result = completion.result();
        let result = u32::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
        (result, data)
    }
}

async fn submit<D: Unpin + 'static>(entry: squeue::Entry, data: D) -> (rustix::io::Result<u32>, D) {
    UnsubmittedOneshot::new(data, Complete(std::marker::PhantomData), entry).submit().await
}

/// openat(2) of a name in a held directory.
pub(crate) async fn open(directory: Arc<OwnedFd>, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let held = (directory, CString::from(name));
    let entry = opcode::OpenAt::new(types::Fd(held.0.as_raw_fd()), held.1.as_ptr())
        .flags(flags.bits() as i32)
        .build();
    let (result, _held) = submit(entry, held).await;
    // SAFETY: a successful openat returns a descriptor that is new and that nobody else knows of.
    result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// openat2(2) of a path from a held directory.
pub(crate) async fn open_path(
    directory: Arc<OwnedFd>,
    path: &CStr,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let how = types::OpenHow::new().flags(flags.bits().into()).resolve(resolve.bits());
    let held = (directory, CString::from(path), Box::new(how));
    let entry =
        opcode::OpenAt2::new(types::Fd(held.0.as_raw_fd()), held.1.as_ptr(), &raw const *held.2).build();
    let (result, _held) = submit(entry, held).await;
    // SAFETY: a successful openat2 returns a descriptor that is new and that nobody else knows of.
    result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// statx(2) of a name in a held directory, without following a symlink.
pub(crate) async fn stat(directory: Arc<OwnedFd>, name: &CStr) -> rustix::io::Result<Stat> {
    let mut held = (directory, CString::from(name), Box::new(MaybeUninit::<Statx>::zeroed()));
    let record = held.2.as_mut_ptr().cast::<types::statx>();
    let entry = opcode::Statx::new(types::Fd(held.0.as_raw_fd()), held.1.as_ptr(), record)
        .flags(libc::AT_SYMLINK_NOFOLLOW)
        .mask(Stat::FIELDS.bits())
        .build();
    let (result, held) = submit(entry, held).await;
    result?;
    // SAFETY: the kernel filled the record, of which every bit pattern, zeroes included, is a valid value.
    Ok(Stat::from(unsafe { held.2.assume_init_ref() }))
}

/// pread(2) of at most `length` bytes into the start of the buffer.
pub(crate) async fn read(
    file: Arc<OwnedFd>,
    mut buffer: Buffer,
    length: usize,
    offset: u64,
) -> (rustix::io::Result<usize>, Buffer) {
    let target = &mut buffer.bytes_mut()[..length];
    let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), target.as_mut_ptr(), length as u32)
        .offset(offset)
        .build();
    let (result, (_file, buffer)) = submit(entry, (file, buffer)).await;
    (result.map(|n| n as usize), buffer)
}

/// pwrite(2) of a part of the buffer.
pub(crate) async fn write(
    file: Arc<OwnedFd>,
    buffer: Buffer,
    part: Range<usize>,
    offset: u64,
) -> (rustix::io::Result<usize>, Buffer) {
    let source = &buffer.bytes()[part];
    let entry = opcode::Write::new(types::Fd(file.as_raw_fd()), source.as_ptr(), source.len() as u32)
        .offset(offset)
        .build();
    let (result, (_file, buffer)) = submit(entry, (file, buffer)).await;
    (result.map(|n| n as usize), buffer)
}

/// fsync(2).
pub(crate) async fn flush(file: Arc<OwnedFd>) -> rustix::io::Result<()> {
    let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd())).build();
    submit(entry, file).await.0.map(drop)
}

/// Nothing: it is done as soon as the ring has been seen to.
pub(super) async fn nothing() {
    // It has no result.
    submit(opcode::Nop::new().build(), ()).await.0.ok();
}

/// listxattrat(2), of a name in a held directory and without following a symlink: into `buffer`, returning the bytes
/// filled. New in Linux 6.13. Its number is the same on all architectures but those with an offset of their own, where
/// it is not called.
pub(crate) fn list_xattrs_at(
    directory: BorrowedFd<'_>,
    name: &CStr,
    buffer: &mut [u8],
) -> rustix::io::Result<usize> {
    const LISTXATTRAT: libc::c_long = 465;
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    let known = cfg!(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64",
        target_arch = "powerpc64",
        target_arch = "s390x",
        target_arch = "loongarch64",
    )) && cfg!(not(target_abi = "x32"));
    if !known || UNKNOWN.load(Ordering::Relaxed) {
        return Err(Errno::NOSYS);
    }
    // SAFETY: the kernel reads a string that ends in NUL and writes at most the buffer's length.
    let result = unsafe {
        libc::syscall(
            LISTXATTRAT,
            directory.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    usize::try_from(result).map_err(|_| {
        let errno = last_errno();
        if errno == Errno::NOSYS {
            UNKNOWN.store(true, Ordering::Relaxed);
        }
        errno
    })
}

/// Whether somebody has a file open to write to it, or has mapped it so (mmap(2)); `file` is open for reading alone. The kernel
/// tells it who asks for a lease (fcntl(2)), which is given back at once: who opens the file in this moment waits for it, and is
/// not told but by a signal that does nothing. Others' files take CAP_LEASE.
pub(crate) fn is_open_for_writing(file: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let ask = |command: libc::c_int, value: libc::c_int| {
        // SAFETY: both commands take a number, and look at no memory of ours.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, value) } {
            -1 => Err(last_errno()),
            _ => Ok(()),
        }
    };
    const SET_SIGNAL: libc::c_int = 10; // F_SETSIG, whose number is the same on all architectures
    ask(SET_SIGNAL, libc::SIGURG)?;
    match ask(libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => ask(libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Writes what the kernel keeps of a file to its disk, and waits for that (sync_file_range(2)). From then on the first store
/// through a mapping to each of its pages is one that the file system hears of.
pub(crate) fn write_out(file: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let all =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: numbers alone; no bytes stand for all up to the end.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, all) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)
}

/// What btrfs tells of the subvolume that a file lies in (`struct btrfs_ioctl_get_subvol_info_args`).
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct SubvolumeInfo {
    pub(super) id: u64,
    _name: [u8; 256],
    _above: [u64; 2],
    _generation: u64,
    _flags: u64,
    pub(super) uuid: [u8; 16],
    pub(super) parent: [u8; 16],
    pub(super) received: [u8; 16],
    /// Counts, times, and what is reserved.
    _rest: [u64; 20],
}

/// `BTRFS_IOC_GET_SUBVOL_INFO` (ioctl-btrfs), which takes no privilege. New in Linux 4.18.
pub(super) fn subvolume_info(file: BorrowedFd<'_>) -> rustix::io::Result<SubvolumeInfo> {
    const GET_SUBVOL_INFO: Opcode = number::read::<SubvolumeInfo>(0x94, 60);
    // SAFETY: the number has the size of the record, which the kernel fills whole if it knows the number, and of which every bit
    // pattern is a valid value.
    unsafe { ioctl(file, Getter::<GET_SUBVOL_INFO, SubvolumeInfo>::new()) }
}
