//! What the library's messages call a setting, and the command line an option.

use ringsync::event::Notice;
use ringsync::{Error, Setting};

/// The option that stands for a setting.
pub(crate) fn option(setting: Setting) -> &'static str {
    match setting {
        Setting::MakeParents => "--mkpath",
        Setting::Exclude => "--exclude",
        Setting::OneFileSystem => "-x",
        Setting::Delete => "--delete",
        Setting::DeleteLimit => "--max-delete",
        Setting::AllowEmptySource => "--allow-empty-source",
        Setting::BackupDirectory => "--backup-dir",
        Setting::BackupSuffix => "--suffix",
        Setting::LinkDest => "--link-dest",
        Setting::Jobs => "--jobs",
        Setting::Threads => "--engine threads",
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
        let plain = Err::<(), _>(std::io::Error::from(Errno::NOSPC)).context("write it").unwrap_err();
        assert_eq!(chain(&plain), format!("{plain:#}"));
    }
}
