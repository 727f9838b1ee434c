//! `--chown USER:GROUP`: names looked up in the system's database of users, which the engine never sees.

use nix::unistd::{Group, User};

use ringsync::{Escaped, Owner};

/// Reads `USER`, `USER:GROUP`, `:GROUP` or `USER:`. Digits alone are a number, as with rsync.
///
/// # Errors
/// When a name is unknown, when there is none, and when this process may not give files to whom they stand for.
pub(crate) fn parse_owner(text: &str) -> Result<Owner, String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() && group.is_empty() {
        return Err("it names neither a user nor a group".into());
    }
    let (user, group) = (self::user(user)?, self::group(group)?);
    let owner = Owner::default().with(|owner| (owner.user, owner.group) = (user, group));
    owner.refusal().map_or(Ok(owner), Err)
}

/// The number of a user.
pub(crate) fn user(name: &str) -> Result<Option<u32>, String> {
    id(name, "user", |name| User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())))
}

/// The number of a group.
pub(crate) fn group(name: &str) -> Result<Option<u32>, String> {
    id(name, "group", |name| Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())))
}

/// The number of a user or a group; `None` if none is given.
fn id(
    name: &str,
    what: &str,
    look_up: impl FnOnce(&str) -> nix::Result<Option<u32>>,
) -> Result<Option<u32>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let shown = Escaped::name(name.as_ref());
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        // chown(2) takes the highest number for "leave it".
        let number = name.parse().ok().filter(|&number| number != u32::MAX);
        return number.map(Some).ok_or_else(|| format!("{shown} is too large for the number of a {what}"));
    }
    match look_up(name) {
        Ok(Some(id)) => Ok(Some(id)),
        Ok(None) => Err(format!("there is no {what} {shown}")),
        Err(errno) => Err(format!("look up {what} {shown}: {}", errno.desc())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        let root = rustix::process::geteuid().is_root();
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owner =
            |user, group| Ok(Owner::default().with(|owner| (owner.user, owner.group) = (user, group)));
        assert_eq!(parse_owner(&format!("{}", own.0)), owner(Some(own.0), None));
        assert_eq!(parse_owner(&format!("{}:", own.0)), owner(Some(own.0), None));
        assert_eq!(parse_owner(&format!(":{:05}", own.1)), owner(None, Some(own.1)));
        assert_eq!(parse_owner(&format!("{}:{}", own.0, own.1)), owner(Some(own.0), Some(own.1)));
        if root {
            assert_eq!(parse_owner("root:root"), owner(Some(0), Some(0)));
            assert_eq!(parse_owner("4294967294"), owner(Some(u32::MAX - 1), None));
        } else {
            assert!(parse_owner("root").is_err_and(|why| why.contains("only root")));
        }
        for (text, why) in [
            ("", "neither"),
            (":", "neither"),
            ("no such user", "there is no user no such user"),
            (":no\tsuch", "there is no group no\\tsuch"),
            ("0:1:2", "there is no group 1:2"),
            ("-1", "there is no user -1"),
            ("4294967295", "too large for the number of a user"),
            (":99999999999", "too large for the number of a group"),
        ] {
            let found = parse_owner(text);
            assert!(found.as_ref().is_err_and(|found| found.contains(why)), "{text}: {found:?}");
        }
    }
}
