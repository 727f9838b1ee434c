//! What the library's messages call a setting, and the command line an option.

use ringsync::event::Notice;
use ringsync::{Error, Setting};

/// The option that stands for a setting.
pub(crate) fn option(setting: Setting) -> &'static str {
    match setting {
        Setting::MakeParents => "--mkpath",
        Setting::Exclude | Setting::ExcludeRule => "--exclude",
        Setting::IncludeRule => "--include",
        Setting::FilterRule => "--filter",
        Setting::OneFileSystem => "-x",
        Setting::CrossSubvolumes => "--cross-subvolumes",
        Setting::Delete => "--delete",
        Setting::DeleteLimit => "--max-delete",
        Setting::NoDeleteLimit => "--max-delete 100%",
        Setting::AllowEmptySource => "--allow-empty-source",
        Setting::BackupDirectory => "--backup-dir",
        Setting::BackupSuffix => "--suffix",
        Setting::LinkDest => "--link-dest",
        Setting::CopyDest => "--copy-dest",
        Setting::CompareDest => "--compare-dest",
        Setting::Jobs => "--jobs",
        Setting::Threads => "--engine threads",
        Setting::NoOwner => "--no-owner",
        Setting::NoGroup => "--no-group",
        Setting::NoOwnerNoGroup => "--no-owner with --no-group",
        Setting::NoPermissions => "--no-perms",
        Setting::NoTimes => "--no-times",
        Setting::OmitDirectoryTimes => "--omit-dir-times",
        Setting::OmitLinkTimes => "--omit-link-times",
        Setting::NoAcls => "--no-acls",
        Setting::NoXattrs => "--no-xattrs",
        Setting::NoHardLinks => "--no-hard-links",
        Setting::NoSymlinks => "--no-links",
        Setting::NoSpecials => "--no-specials",
        Setting::NoDevices => "--no-devices",
        Setting::Flags => "--flags",
        Setting::Lock => "--lock",
        Setting::LockWait => "--wait",
        Setting::TakeChanging => "--take-changing",
        Setting::FollowUnsafe => "--copy-unsafe-links",
        Setting::InsecureLinks => "--insecure-links",
        other => other.field(),
    }
}

/// An error of the library.
pub(crate) fn told(error: &Error) -> String {
    error.told(option)
}

/// An error of the program, with what led to it. One of the library ends it: its message has its causes already.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut texts = Vec::new();
    for error in error.chain() {
        if let Some(error) = error.downcast_ref() {
            texts.push(told(error));
            break;
        }
        texts.push(error.to_string());
    }
    texts.join(": ")
}

/// What is not as it was hoped for, in one text.
pub(crate) fn notice(notices: &[Notice]) -> Option<String> {
    let texts: Vec<String> = notices.iter().map(|notice| notice.told(option)).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use ringsync::{Cause, Operation};
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_table_of_what_options_help() {
        let errno = |errno: Errno| Cause::NoRing(errno.into());
        let table = [
            (Cause::Missing("it"), "it does not exist (--mkpath makes it)"),
            (
                Cause::InsideSource { by_several_paths: true },
                "DST lies inside SRC, and would be copied into itself. Leave it out with --exclude, or with -x if it is on \
                 another file system. DST can be reached from SRC by several paths, because it is mounted twice: rules \
                 must leave out all of them",
            ),
            (
                Cause::EmptySource,
                "nothing is deleted, since the source is empty (--allow-empty-source deletes all the same)",
            ),
            (
                Cause::NothingShared { count: 1, shown: "a".into() },
                "nothing is written or deleted, since the only entry at its top that could be deleted is not in SRC (a): \
                 are these the right directories, in this order? (--max-delete 100% goes on all the same)",
            ),
            (Cause::TooManyDeletions(3), "nothing is deleted: it would be 3, more than --max-delete allows"),
            (
                Cause::KeepsChanging { times: 3, destination: "DST keeps what it had" },
                "it changed while it was being read, each of 3 times: DST keeps what it had (--take-changing takes what was read last)",
            ),
            (
                Cause::SetAside,
                "a run that was killed had set it aside (--delete removes it, with --backup-dir to the backups)",
            ),
            (
                Cause::NameTooLong,
                "its name is too long for the suffix, or a number, of a backup (--backup-dir without --suffix keeps names)",
            ),
            (
                Cause::BackupsInTheWay,
                "a directory that is not empty is in the way, and backups would stay in it (--backup-dir makes way)",
            ),
            (
                errno(Errno::PERM),
                "Operation not permitted (os error 1); io_uring is forbidden here: set the sysctl \
                 kernel.io_uring_disabled to 0, allow io_uring_setup in the container's seccomp profile, or use --engine \
                 threads",
            ),
            (
                errno(Errno::NOSYS),
                "Function not implemented (os error 38); this kernel has no io_uring (Linux 5.15 or newer has): use \
                 --engine threads",
            ),
            (
                errno(Errno::NOMEM),
                "Cannot allocate memory (os error 12); the ring's memory counts as locked: raise the limit (ulimit -l), \
                 lower --jobs, or use --engine threads",
            ),
            (errno(Errno::INVAL), "Invalid argument (os error 22); use --engine threads"),
        ];
        for (cause, text) in table {
            assert_eq!(cause.told(option), text);
            assert!(!cause.to_string().contains("--"), "{cause}");
        }
    }

    #[test]
    fn messages_name_options_where_the_library_names_fields() {
        let error = Error::new(Operation::UseDestination, "a/b", Cause::Missing("its directory"));
        assert_eq!(
            error.to_string(),
            "use destination a/b: its directory does not exist (make_parents makes it)"
        );
        assert_eq!(told(&error), "use destination a/b: its directory does not exist (--mkpath makes it)");
        let error = Error::new(Operation::UseReference, "old", Errno::NOTDIR);
        assert_eq!(told(&error), "use --link-dest old: Not a directory (os error 20)");
    }

    #[test]
    fn a_chain_tells_each_cause_once() {
        let failed = || Error::new(Operation::OpenSource, "a", Errno::ACCESS);
        let text = "open source a: Permission denied (os error 13)";
        assert_eq!(chain(&failed().into()), text);
        let above = Err::<(), _>(failed()).context("the run failed").unwrap_err();
        assert_eq!(chain(&above), format!("the run failed: {text}"));
        let inner = Err::<(), _>(Error::new(Operation::Verify, "a", Cause::Interrupted)).context("above");
        assert_eq!(chain(&inner.unwrap_err()), "above: verify a: interrupted");
        let plain = Err::<(), _>(std::io::Error::from(Errno::NOSPC)).context("write it").unwrap_err();
        assert_eq!(chain(&plain), format!("{plain:#}"));
    }
}
