//! `--chmod`: changes of permission bits, read from their notation and applied to the source's modes.
//!
//! An option is a list of items with commas between them. An item begins with `D` if it is for directories, with `F` if
//! it is for everything else, with neither if it is for all. The rest is a mode in octal digits, or `[ugoa]*[-+=]` and
//! then either letters of `rwxXst` or one of `u`, `g`, `o`, whose bits are taken over. The meaning is chmod(1)'s as rsync
//! has it, which is its own in these points: `X` asks whether the source can be executed, before any item; without `u`
//! and `g`, `s` is setuid; `=` with letters clears setuid or setgid, for the classes named, only if it also sets one of
//! `s` and `t`.

use std::str::FromStr;

use crate::event::Kind;
use crate::text::Escaped;

/// Changes of permission bits, applied one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chmod(Vec<Item>);

/// An item that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no change of permissions", Escaped::name(.0.as_ref()))]
pub struct InvalidChmod(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    only: Option<Only>,
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Directories,
    Others,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// All twelve bits.
    Octal(u32),
    Symbolic {
        who: Who,
        operator: Operator,
        what: What,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Assign,
}

/// The classes of users that an item is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Who {
    /// Their permission bits, 0 if none is named: then it is all of them, less what the umask takes.
    named: u32,
}

/// The bits that an item adds, removes or assigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Letters {
        /// `rwx` as three bits.
        permissions: u32,
        /// `X`
        execute_if: bool,
        /// `s`
        set_id: bool,
        /// `t`
        sticky: bool,
    },
    /// What a class has; the number of bits to its right.
    Class(u32),
}

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

impl Chmod {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the changes of another one after these.
    pub fn extend(&mut self, other: &Chmod) {
        self.0.extend_from_slice(&other.0);
    }

    /// The mode of an entry that has `mode` in the source. Symlinks have none to change.
    pub(crate) fn apply(&self, mode: u32, kind: Kind, umask: u32) -> u32 {
        if kind == Kind::Symlink {
            return mode;
        }
        let is_directory = kind == Kind::Directory;
        let executable = is_directory || mode & 0o111 != 0;
        let items = self.0.iter().filter(|item| item.is_for(is_directory));
        items.fold(mode, |mode, item| item.change.apply(mode, executable, umask))
    }

    /// The bits of setuid and setgid that every file gets, whether its source has them or not.
    pub(crate) fn gives_files(&self) -> u32 {
        self.apply(0, Kind::File, 0) & (SETUID | SETGID)
    }
}

impl Item {
    fn is_for(&self, is_directory: bool) -> bool {
        self.only.is_none_or(|only| (only == Only::Directories) == is_directory)
    }
}

impl Change {
    fn apply(self, mode: u32, executable: bool, umask: u32) -> u32 {
        let (who, operator, what) = match self {
            Change::Octal(mode) => return mode,
            Change::Symbolic { who, operator, what } => (who, operator, what),
        };
        let (permissions, special) = match what {
            What::Letters { permissions, execute_if, set_id, sticky } => {
                let execute = u32::from(execute_if && executable);
                let set_id = if set_id { who.set_id() } else { 0 };
                (permissions | execute, set_id | if sticky { STICKY } else { 0 })
            }
            What::Class(shift) => (mode >> shift & 7, 0),
        };
        let bits = ((permissions * 0o111) & who.permissions(umask)) | special;
        match operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Assign => mode & !who.cleared(what, special) | bits,
        }
    }
}

impl Who {
    fn add(&mut self, letter: char) -> bool {
        self.named |= match letter {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return false,
        };
        true
    }

    /// The permission bits of the classes.
    fn classes(self) -> u32 {
        if self.named == 0 { 0o777 } else { self.named }
    }

    /// The permission bits that an item can set.
    fn permissions(self, umask: u32) -> u32 {
        if self.named == 0 { 0o777 & !umask } else { self.named }
    }

    /// Setuid and setgid of the classes that are named.
    fn named_set_id(self) -> u32 {
        let (user, group) = (self.named & 0o700 != 0, self.named & 0o070 != 0);
        (if user { SETUID } else { 0 }) | (if group { SETGID } else { 0 })
    }

    /// What `s` stands for.
    fn set_id(self) -> u32 {
        match self.named_set_id() {
            0 => SETUID,
            bits => bits,
        }
    }

    /// What `=` clears before it sets bits, `special` among them.
    fn cleared(self, what: What, special: u32) -> u32 {
        let classes = self.classes();
        classes
            | match what {
                What::Letters { .. } if special == 0 => 0,
                What::Letters { .. } => self.named_set_id(),
                What::Class(_) => {
                    let all = Who { named: classes };
                    all.named_set_id() | if classes & 0o007 != 0 { STICKY } else { 0 }
                }
            }
    }
}

impl FromStr for Chmod {
    type Err = InvalidChmod;

    fn from_str(text: &str) -> Result<Self, InvalidChmod> {
        let invalid = |item: &str| InvalidChmod(item.to_owned());
        let items = text.split(',').map(|item| parse_item(item).ok_or_else(|| invalid(item)));
        items.collect::<Result<_, _>>().map(Chmod)
    }
}

fn parse_item(text: &str) -> Option<Item> {
    let (only, rest) = match text.as_bytes().first()? {
        b'D' => (Some(Only::Directories), &text[1..]),
        b'F' => (Some(Only::Others), &text[1..]),
        _ => (None, text),
    };
    let is_octal = !rest.is_empty() && rest.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let change = if is_octal { parse_octal(rest)? } else { parse_symbolic(rest)? };
    Some(Item { only, change })
}

fn parse_octal(digits: &str) -> Option<Change> {
    let mode = u32::from_str_radix(digits, 8).ok()?;
    (mode <= 0o7777).then_some(Change::Octal(mode))
}

fn parse_symbolic(text: &str) -> Option<Change> {
    let mut who = Who::default();
    let rest = text.trim_start_matches(|letter| who.add(letter));
    let mut letters = rest.chars();
    let operator = match letters.next()? {
        '+' => Operator::Add,
        '-' => Operator::Remove,
        '=' => Operator::Assign,
        _ => return None,
    };
    let what = match letters.as_str() {
        "u" => What::Class(6),
        "g" => What::Class(3),
        "o" => What::Class(0),
        letters => parse_letters(letters)?,
    };
    Some(Change::Symbolic { who, operator, what })
}

fn parse_letters(letters: &str) -> Option<What> {
    let (mut permissions, mut execute_if, mut set_id, mut sticky) = (0, false, false, false);
    for letter in letters.chars() {
        match letter {
            'r' => permissions |= 4,
            'w' => permissions |= 2,
            'x' => permissions |= 1,
            'X' => execute_if = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(What::Letters { permissions, execute_if, set_id, sticky })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rsync makes of a directory with 1750, a file with 2644 and one with 4755, its umask being 022.
    const TABLE: [(&str, [u32; 3]); 41] = [
        ("u+w", [0o1750, 0o2644, 0o4755]),
        ("go-rwx", [0o1700, 0o2600, 0o4700]),
        ("a=r", [0o1444, 0o2444, 0o4444]),
        ("+x", [0o1751, 0o2755, 0o4755]),
        ("-w", [0o1550, 0o2444, 0o4555]),
        ("=rw", [0o1644, 0o2644, 0o4644]),
        ("+X", [0o1751, 0o2644, 0o4755]),
        ("a-x,+X", [0o1751, 0o2644, 0o4755]),
        ("u+x,g+X", [0o1750, 0o2744, 0o4755]),
        ("D755", [0o755, 0o2644, 0o4755]),
        ("D2775,F664", [0o2775, 0o664, 0o664]),
        ("00644", [0o644, 0o644, 0o644]),
        ("7777", [0o7777, 0o7777, 0o7777]),
        ("Dg+s,ug+w,Fo-w,+X", [0o3771, 0o2664, 0o4775]),
        ("u+s", [0o5750, 0o6644, 0o4755]),
        ("g+s", [0o3750, 0o2644, 0o6755]),
        ("+s", [0o5750, 0o6644, 0o4755]),
        ("o+s", [0o5750, 0o6644, 0o4755]),
        ("a+s", [0o7750, 0o6644, 0o6755]),
        ("u=s", [0o5050, 0o6044, 0o4055]),
        ("u=t", [0o1050, 0o3044, 0o1055]),
        ("g=t", [0o1700, 0o1604, 0o5705]),
        ("a=s", [0o7000, 0o6000, 0o6000]),
        ("=s", [0o5000, 0o6000, 0o4000]),
        ("o=s", [0o5750, 0o6640, 0o4750]),
        ("-s", [0o1750, 0o2644, 0o755]),
        ("a-st", [0o750, 0o644, 0o755]),
        ("o+t", [0o1750, 0o3644, 0o5755]),
        ("g=u", [0o1770, 0o664, 0o4775]),
        ("o=g", [0o755, 0o2644, 0o4755]),
        ("u=o", [0o1050, 0o2444, 0o555]),
        ("a=u", [0o777, 0o666, 0o777]),
        ("=u", [0o755, 0o644, 0o755]),
        ("g-o", [0o1750, 0o2604, 0o4705]),
        ("+u", [0o1755, 0o2644, 0o4755]),
        ("-u", [0o1000, 0o2000, 0o4000]),
        ("g=u,u=o", [0o1070, 0o464, 0o575]),
        ("u=", [0o1050, 0o2044, 0o4055]),
        ("=", [0o1000, 0o2000, 0o4000]),
        ("u+", [0o1750, 0o2644, 0o4755]),
        ("ugoa+rwxrwx", [0o1777, 0o2777, 0o4777]),
    ];

    #[test]
    fn modes_become_what_rsync_makes_of_them() {
        for (text, expected) in TABLE {
            let chmod: Chmod = text.parse().unwrap();
            let modes = [(Kind::Directory, 0o1750), (Kind::File, 0o2644), (Kind::File, 0o4755)];
            let found = modes.map(|(kind, mode)| chmod.apply(mode, kind, 0o022));
            let octal = |modes: [u32; 3]| modes.map(|mode| format!("{mode:04o}"));
            assert_eq!(octal(found), octal(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_directory_counts_as_a_file_and_a_symlink_stays() {
        let chmod: Chmod = "D700,F600".parse().unwrap();
        assert_eq!(chmod.apply(0o640, Kind::Fifo, 0), 0o600);
        assert_eq!(chmod.apply(0o777, Kind::Symlink, 0), 0o777);
    }

    #[test]
    fn without_a_class_the_umask_keeps_its_bits() {
        let of = |text: &str, umask| text.parse::<Chmod>().unwrap().apply(0o640, Kind::File, umask);
        assert_eq!((of("+w", 0o077), of("+w", 0o002), of("a+w", 0o077)), (0o640, 0o660, 0o662));
        assert_eq!((of("=rw", 0o027), of("=u", 0o027)), (0o640, 0o640));
    }

    #[test]
    fn options_add_up() {
        let mut chmod: Chmod = "go=".parse().unwrap();
        chmod.extend(&"g=u".parse().unwrap());
        assert_eq!(chmod.apply(0o755, Kind::File, 0), 0o770);
        assert_eq!(chmod.gives_files(), 0);
        chmod.extend(&"Dg+s,Fu+s".parse().unwrap());
        assert_eq!(chmod.gives_files(), SETUID);
    }

    #[test]
    fn the_item_that_can_not_be_read_is_named() {
        for (text, item) in [
            ("", ""),
            ("u+w,", ""),
            ("u+w,,g+w", ""),
            ("8", "8"),
            ("77777", "77777"),
            ("99999999999", "99999999999"),
            ("D", "D"),
            ("DF+x", "DF+x"),
            ("d+x", "d+x"),
            ("u", "u"),
            ("u+w,u+q,g+w", "u+q"),
            ("q+r", "q+r"),
            ("rw", "rw"),
            ("u755", "u755"),
            ("644u", "644u"),
            ("u+g-w", "u+g-w"),
            ("u=go", "u=go"),
            ("g=a", "g=a"),
            ("g=ur", "g=ur"),
            ("u+w ", "u+w "),
            ("ü+w", "ü+w"),
        ] {
            assert_eq!(text.parse::<Chmod>(), Err(InvalidChmod(item.into())), "{text}");
        }
        let error = InvalidChmod("a\n".into());
        assert_eq!(error.to_string(), "'a\\n' is no change of permissions");
    }
}
