//! `--out-format`: a line for each entry, composed as rsync's escapes ask for it (rsyncd.conf(5), "log format").
//!
//! | escape | becomes |
//! | --- | --- |
//! | `%i` | the eleven letters |
//! | `%n` | the path below the roots, a directory's with a slash |
//! | `%L` | ` -> TARGET` of a symlink, ` => NAME` of a hard link, or nothing |
//! | `%f` | the path as SRC names it, without its first slash |
//! | `%l`, `%b` | the source's size, and the bytes copied |
//! | `%M`, `%t` | the source's modification time, and the time now |
//! | `%B`, `%U`, `%G` | the source's permissions, user and group |
//! | `%o` | `send`, or `del.` for what only the destination has |
//! | `%p` | the process |
//! | `%%` | `%` |
//!
//! A number after the `%` is a width to fill from the left, a negative one from the right.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::report::clock::Clock;
use ringsync::Escaped;
use ringsync::event::{Action, EntryEvent, Kind, itemize};

/// What lines for entries look like.
#[derive(Debug, Clone)]
pub struct Format {
    pieces: Vec<Piece>,
    source: PathBuf,
    clock: Clock,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What stands for an escape, and how wide it is at least; `left` fills up after it.
    Escape {
        letter: char,
        width: usize,
        left: bool,
    },
}

/// An escape that has no meaning here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown escape {}", Escaped::path(Path::new(.0)))]
pub struct UnknownEscape(String);

/// All escapes but `%%`.
const ESCAPES: &str = "inLflbMtBUGop";
/// Wider is no column. It also keeps a slip of the finger from filling the memory.
const WIDEST: usize = 1000;

impl FromStr for Format {
    type Err = UnknownEscape;

    fn from_str(text: &str) -> Result<Self, UnknownEscape> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            pieces.push(Piece::Text(before.into()));
            let (piece, length) = escape(after)?;
            pieces.push(piece);
            rest = &after[length..];
        }
        pieces.push(Piece::Text(rest.into()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Format { pieces, source: PathBuf::new(), clock: Clock::new() })
    }
}

/// The escape that `text`, which follows a `%`, begins with, and its length in bytes.
fn escape(text: &str) -> Result<(Piece, usize), UnknownEscape> {
    let is_width = |c: char| c == '-' || c.is_ascii_digit();
    let end = text.find(|c| !is_width(c)).unwrap_or(text.len());
    let letter = text[end..].chars().next();
    let length = end + letter.map_or(0, char::len_utf8);
    let unknown = || UnknownEscape(format!("%{}", &text[..length]));
    let digits = text[..end].strip_prefix('-');
    let (left, digits) = (digits.is_some(), digits.unwrap_or(&text[..end]));
    let width = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    match (letter, width) {
        (Some('%'), Some(0)) if end == 0 => Ok((Piece::Text("%".into()), length)),
        (Some(letter), Some(width)) if ESCAPES.contains(letter) && width <= WIDEST => {
            Ok((Piece::Escape { letter, width, left }, length))
        }
        _ => Err(unknown()),
    }
}

impl Format {
    /// The same for a run from `source`, which `%f` names.
    pub fn of(self, source: &Path) -> Self {
        Format { source: source.to_path_buf(), ..self }
    }

    fn has(&self, wanted: char) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Escape { letter, .. } if *letter == wanted))
    }

    /// The line for an entry, if it gets one. Where the format does not tell what was changed, metadata that was mended
    /// is passed over, but for a directory's, as rsync has it; where it does, `unchanged` asks for all entries.
    pub(crate) fn line(&self, directory: &Path, event: &EntryEvent, unchanged: bool) -> Option<String> {
        let itemized = self.has('i');
        match event.action {
            Action::Deleted if !itemized && !self.has('o') => {
                return Some(format!("deleting {}", itemize::name(directory, event)));
            }
            Action::Failed | Action::Skipped | Action::Vanished => return None,
            Action::Unchanged if !(itemized && unchanged) => return None,
            Action::Metadata if !itemized && event.kind != Kind::Directory => return None,
            _ => {}
        }
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line += text,
                Piece::Escape { letter, width, left } => {
                    let text = self.value(*letter, directory, event);
                    line += &if *left { format!("{text:<width$}") } else { format!("{text:>width$}") };
                }
            }
        }
        Some(line)
    }

    fn value(&self, letter: char, directory: &Path, event: &EntryEvent) -> String {
        let of_source = |value: &dyn Fn(&ringsync::event::Attributes) -> String| {
            event.source.as_ref().map_or_else(String::new, value)
        };
        match letter {
            'i' => itemize::letters(event),
            'n' => itemize::name(directory, event),
            'L' => itemize::arrow(event),
            'f' => self.long_name(directory, event),
            'l' => event.source.map_or(0, |source| source.size).to_string(),
            'b' => event.bytes.to_string(),
            'M' => of_source(&|source| self.clock.of_file(source.modified.0)),
            't' => self.clock.now(),
            'B' => of_source(&|source| permissions(source.mode)),
            'U' => of_source(&|source| source.uid.to_string()),
            'G' => of_source(&|source| source.gid.to_string()),
            'o' => if event.action == Action::Deleted { "del." } else { "send" }.into(),
            _ => std::process::id().to_string(),
        }
    }

    /// The path as SRC names it. The root is `SRC/.`.
    fn long_name(&self, directory: &Path, event: &EntryEvent) -> String {
        let path = event.path(directory);
        let below = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
        let name = Escaped::path(&self.source.join(below)).to_string();
        name.strip_prefix('/').map_or(name.clone(), String::from)
    }
}

/// As ls(1) shows them: `rwxr-sr-t`.
pub(crate) fn permissions(mode: u32) -> String {
    let mut text = String::new();
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringsync::event::Changes;

    fn file(action: Action) -> EntryEvent {
        EntryEvent::changed(Kind::File, action, Changes::NEW).named(c"a\nb".into())
    }

    #[test]
    fn lines_are_composed() {
        let of = |format: &str| {
            let format = Format::from_str(format).unwrap().of(Path::new("/src"));
            format.line(Path::new("dir"), &file(Action::Created), false).unwrap()
        };
        assert_eq!(of("%i %n%L"), ">f+++++++++ dir/a\\nb");
        assert_eq!(of("100%% %o|%6l|%-4b|%f"), "100% send|     0|0   |src/dir/a\\nb");
        assert_eq!(of("plain"), "plain");
    }

    #[test]
    fn an_unknown_escape_is_named() {
        let error = |format: &str| Format::from_str(format).err().map(|error| error.to_string());
        for (format, escape) in
            [("%n %Z", "%Z"), ("%", "%"), ("%5%", "%5%"), ("%9999n", "%9999n"), ("%ä", "%ä")]
        {
            assert_eq!(error(format), Some(format!("unknown escape {escape}")), "{format}");
        }
        assert_eq!(error("%--5n"), Some("unknown escape %--5n".into()));
        assert_eq!(error("%i%%%n%-5L"), None);
    }

    #[test]
    fn without_letters_only_what_is_new_is_told() {
        let told = |format: &str, action, unchanged| {
            Format::from_str(format).unwrap().line(Path::new(""), &file(action), unchanged).is_some()
        };
        for (action, plain, itemized) in [
            (Action::Created, true, true),
            (Action::Linked, true, true),
            (Action::Metadata, false, true),
            (Action::Unchanged, false, false),
            (Action::Failed, false, false),
        ] {
            assert_eq!(
                (told("%n", action, false), told("%i", action, false)),
                (plain, itemized),
                "{action:?}"
            );
        }
        assert!(told("%i", Action::Unchanged, true) && !told("%n", Action::Unchanged, true));
    }

    #[test]
    fn permissions_are_those_of_ls() {
        for (mode, text) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o2745, "rwxr-Sr-x"),
            (0o1777, "rwxrwxrwt"),
            (0o7000, "--S--S--T"),
        ] {
            assert_eq!(permissions(mode), text);
        }
    }
}
