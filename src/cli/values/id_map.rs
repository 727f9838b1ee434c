//! `--usermap`, `--groupmap`: pairs FROM:TO, of which the first one that fits is taken. The names that numbers of the source
//! have are looked up in the system's databases, each once, and those that are mapped to when the option is read.

use std::ops::RangeInclusive;

use nix::unistd::{Gid, Group, Uid, User};

use crate::cli::values::owner;
use ringsync::{Escaped, IdMap, NamePattern, Owner};

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
    Wild(NamePattern),
    /// Anybody.
    All,
}

/// Whose numbers are mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    Users,
    Groups,
}

impl Whose {
    /// The number that a name, or a number, stands for; `None`: there is no text.
    fn look_up(self, name: &str) -> Result<Option<u32>, String> {
        match self {
            Whose::Users => owner::user(name),
            Whose::Groups => owner::group(name),
        }
    }

    /// The name that a number has, or an empty one.
    fn name(self, id: u32) -> String {
        let name = match self {
            Whose::Users => User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name),
            Whose::Groups => Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name),
        };
        name.unwrap_or_default()
    }

    /// Why this process may not give files to this one, if it may not.
    fn refusal(self, id: u32) -> Option<String> {
        let owner = Owner::default().with(|owner| match self {
            Whose::Users => owner.user = Some(id),
            Whose::Groups => owner.group = Some(id),
        });
        owner.refusal()
    }
}

/// Reads a map of users.
///
/// # Errors
/// When a pair can't be understood, a name is unknown, or this process may not give files to whom they stand for.
pub(crate) fn parse_users(text: &str) -> Result<IdMap, String> {
    parse(text, Whose::Users)
}

/// Reads a map of groups.
///
/// # Errors
/// As for users.
pub(crate) fn parse_groups(text: &str) -> Result<IdMap, String> {
    parse(text, Whose::Groups)
}

fn parse(text: &str, whose: Whose) -> Result<IdMap, String> {
    let pairs = pairs(text, |name| whose.look_up(name), Err)?;
    match pairs.iter().find_map(|pair| whose.refusal(pair.to)) {
        Some(why) => Err(why),
        None => Ok(IdMap::new(move |id| map(&pairs, id, |id| whose.name(id)))),
    }
}

/// Reads a map as rsync does: of an unknown name it `tell`s, and goes on without the pair. Numbers have names only if they are
/// `named`.
///
/// # Errors
/// When a pair can't be understood.
pub(crate) fn read_as_rsync(
    text: &str,
    whose: Whose,
    named: bool,
    tell: impl Fn(String),
) -> Result<IdMap, String> {
    let unknown = |why| {
        tell(why);
        Ok(())
    };
    let pairs = pairs(text, |name| whose.look_up(name), unknown)?;
    let name = move |id| if named { whose.name(id) } else { String::new() };
    Ok(IdMap::new(move |id| map(&pairs, id, name)))
}

/// The pairs. What is to be done about one whose target `look_up` does not know, `unknown` says.
fn pairs(
    text: &str,
    look_up: impl Fn(&str) -> Result<Option<u32>, String>,
    unknown: impl Fn(String) -> Result<(), String>,
) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    for text in text.split(',') {
        let shown = Escaped::name(text.as_ref());
        let (from, to) = text.split_once(':').ok_or_else(|| format!("{shown} has no colon: FROM:TO"))?;
        let from = from_of(from).map_err(|why| format!("{}: {why}", Escaped::name(from.as_ref())))?;
        match look_up(to) {
            Ok(Some(to)) => pairs.push(Pair { from, to }),
            Ok(None) => return Err(format!("{shown} has nothing after its colon: FROM:TO")),
            Err(why) => unknown(why)?,
        }
    }
    Ok(pairs)
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
    match text {
        "*" => Ok(From::All), // who has no name too
        _ if !text.contains(['*', '?', '[']) => Ok(From::Name(text.into())),
        _ => match NamePattern::new(text) {
            Some(pattern) => Ok(From::Wild(pattern)),
            None => Err("no name can match it: a [ has no ], or nothing follows a backslash".into()),
        },
    }
}

/// Whom the first pair that fits maps a number to.
fn map(pairs: &[Pair], id: u32, name: impl Fn(u32) -> String) -> u32 {
    let mut known = None;
    let mut fits = |from: &From| match from {
        From::Numbers(numbers) => numbers.contains(&id),
        From::All => true,
        From::Name(one) => *known.get_or_insert_with(|| name(id)) == *one,
        From::Wild(pattern) => pattern.matches(known.get_or_insert_with(|| name(id)).as_bytes()),
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
        pairs(text, look_up, Err)
    }

    #[test]
    fn the_first_pair_that_fits_is_taken() {
        let name = |id| match id {
            0 => "root".to_owned(),
            7 => "wayne".to_owned(),
            8 => "wanda".to_owned(),
            _ => String::new(),
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
            ("[a:1", "a [ has no ]"),
        ] {
            let found = read(text).err().unwrap_or_default();
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
