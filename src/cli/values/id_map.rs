//! `--usermap`, `--groupmap`: pairs FROM:TO, of which the first one that fits is taken. The names that numbers of the source
//! have are looked up in the system's databases, each once, and those that are mapped to when the option is read.

use std::ops::RangeInclusive;

use nix::unistd::{Gid, Group, Uid, User};

use crate::cli::values::owner;
use crate::cli::values::wild::{is_wild, matches, mistake};
use ringsync::{Escaped, IdMap, Owner};

/// One pair.
struct Pair {
    from: From,
    to: u32,
}

/// Whom a pair is for.
enum From {
    Numbers(RangeInclusive<u32>),
    /// A name; an empty one is that of numbers without a name.
    Name(String),
    /// A name, by a pattern.
    Wild(String),
}

/// Reads a map of users.
///
/// # Errors
/// When a pair can't be understood, a name is unknown, or this process may not give files to whom they stand for.
pub(crate) fn parse_users(text: &str) -> Result<IdMap, String> {
    let owner_of = |user| Owner::default().with(|owner| owner.user = Some(user));
    let pairs = pairs(text, owner::user, owner_of)?;
    let name = |id| User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name);
    Ok(IdMap::new(move |id| map(&pairs, id, name)))
}

/// Reads a map of groups.
///
/// # Errors
/// As for users.
pub(crate) fn parse_groups(text: &str) -> Result<IdMap, String> {
    let owner_of = |group| Owner::default().with(|owner| owner.group = Some(group));
    let pairs = pairs(text, owner::group, owner_of)?;
    let name = |id| Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name);
    Ok(IdMap::new(move |id| map(&pairs, id, name)))
}

fn pairs(
    text: &str,
    look_up: impl Fn(&str) -> Result<Option<u32>, String>,
    owner_of: impl Fn(u32) -> Owner,
) -> Result<Vec<Pair>, String> {
    let pair = |text: &str| {
        let shown = Escaped::name(text.as_ref());
        let (from, to) = text.split_once(':').ok_or_else(|| format!("{shown} has no colon: FROM:TO"))?;
        let to = look_up(to)?.ok_or_else(|| format!("{shown} has nothing after its colon: FROM:TO"))?;
        let from = from_of(from).map_err(|why| format!("{}: {why}", Escaped::name(from.as_ref())))?;
        owner_of(to).refusal().map_or(Ok(Pair { from, to }), Err)
    };
    text.split(',').map(pair).collect()
}

fn from_of(text: &str) -> Result<From, String> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|&number| digits && number != u32::MAX)
        };
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        return match (number(low), number(high)) {
            (Some(low), Some(high)) if low <= high => Ok(From::Numbers(low..=high)),
            (Some(_), Some(_)) => Err("the first number of a range is the lower one".into()),
            _ => Err("what begins with a digit is a number, or a range as 100-199".into()),
        };
    }
    match mistake(text) {
        Some(why) if is_wild(text) => Err(why.into()),
        _ if is_wild(text) => Ok(From::Wild(text.into())),
        _ => Ok(From::Name(text.into())),
    }
}

/// Whom the first pair that fits maps a number to.
fn map(pairs: &[Pair], id: u32, name: impl Fn(u32) -> Option<String>) -> u32 {
    let mut known = None;
    let mut fits = |from: &From| match from {
        From::Numbers(numbers) => numbers.contains(&id),
        From::Wild(pattern) if pattern == "*" => true,
        From::Name(one) => *known.get_or_insert_with(|| name(id).unwrap_or_default()) == *one,
        From::Wild(pattern) => {
            matches(pattern, known.get_or_insert_with(|| name(id).unwrap_or_default()).as_bytes())
        }
    };
    pairs.iter().find(|pair| fits(&pair.from)).map_or(id, |pair| pair.to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Pair>, String> {
        let look_up = |name: &str| match name {
            "" => Ok(None),
            "admin" => Ok(Some(500)),
            number => number.parse().map(Some).map_err(|_| format!("there is no user {number}")),
        };
        pairs(text, look_up, |_| Owner::default())
    }

    #[test]
    fn the_first_pair_that_fits_is_taken() {
        let name = |id| match id {
            0 => Some("root".to_owned()),
            7 => Some("wayne".to_owned()),
            8 => Some("wanda".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("0-5:99,wayne:admin,*:1", [99, 500, 1, 1]),
            ("*:1,wayne:2", [1, 1, 1, 1]),
            (":3", [0, 7, 8, 3]),
            ("w*:4,9:5", [0, 4, 4, 5]),
            ("wa?da:6,root:2", [2, 7, 6, 9]),
            ("7:8,8:7", [0, 8, 7, 9]),
            ("w[!b]nda:1", [0, 7, 1, 9]),
        ] {
            let pairs = read(text).unwrap();
            assert_eq!([0, 7, 8, 9].map(|id| map(&pairs, id, name)), expected, "{text}");
        }
    }

    #[test]
    fn what_can_not_be_understood_is_refused() {
        for (text, why) in [
            ("", "has no colon"),
            ("a", "has no colon"),
            ("a:1,", "has no colon"),
            ("a:", "nothing after its colon"),
            ("a:nobody at all", "there is no user"),
            ("1x:1", "a number, or a range"),
            ("1-2-3:1", "a number, or a range"),
            ("1-:1", "a number, or a range"),
            ("4294967295:1", "a number, or a range"),
            ("9-1:1", "the lower one"),
            ("[a:1", "has no ]"),
        ] {
            let found = read(text).err().unwrap_or_default();
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
