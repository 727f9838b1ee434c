//! The itemised form of a difference, rsync's `YXcstpoguax path`: what would be done (Y), to what type (X), and a letter
//! for each thing that differs. See rsync(1), `--itemize-changes`.
//!
//! Y is `>` for a file whose contents are to be copied, `c` for one that has them from a tree of an earlier run and for another
//! entry that is to be made or changed, `h` for
//! one that is to be a hard link (or already is one, and changes with the name it is linked to), `.` where only metadata
//! differ. X is `f`, `d`, `L`, `D` for a device, `S` for a FIFO or a socket. The letters stand for contents, size, time,
//! permissions, owner, group, access time (never), ACL and extended attributes; all of them are `+` for what is new.

use std::path::Path;

use crate::event::{Action, EntryEvent, Kind, PointsTo};
use crate::text::Escaped;

/// The eleven letters.
pub fn letters(event: &EntryEvent) -> String {
    let (kind, changes) = (event.kind, &event.changes);
    let what = match kind {
        Kind::File => 'f',
        Kind::Directory => 'd',
        Kind::Symlink => 'L',
        Kind::CharDevice | Kind::BlockDevice => 'D',
        Kind::Fifo | Kind::Socket => 'S',
    };
    let doing = match event.action {
        Action::Deleted => return "*deleting  ".into(),
        Action::Linked => 'h',
        Action::Unchanged if event.follows => 'h',
        Action::Created | Action::Updated if kind == Kind::File && !is_local(event) => '>',
        Action::Created | Action::Updated => 'c',
        Action::Metadata | Action::Unchanged | Action::Failed | Action::Skipped | Action::Vanished => '.',
    };
    let mut text = String::from_iter([doing, what]);
    if changes.new {
        return text + "+++++++++";
    }
    if changes.is_empty() && matches!(doing, 'h' | 'c' | '.') {
        return text + "         ";
    }
    let letters = [
        (changes.contents, 'c'),
        (changes.size, 's'),
        (changes.times, 't'),
        (changes.mode, 'p'),
        (changes.owner, 'o'),
        (changes.group, 'g'),
        (false, 'u'),
        (changes.acl, 'a'),
        (changes.xattrs, 'x'),
    ];
    text.extend(letters.map(|(differs, letter)| if differs { letter } else { '.' }));
    text
}

/// Whether a file's contents come from an earlier tree.
fn is_local(event: &EntryEvent) -> bool {
    event.reused.is_some_and(|reused| reused.as_it_is)
}

/// Whether an entry gets a line: it differs, or is right and `unchanged` asks for that too. What is the same in a tree of
/// `--link-dest` and its like does not differ: neither a link to it, nor its copy, nor a directory.
pub fn wanted(event: &EntryEvent, unchanged: bool) -> bool {
    let is_reference = event.changes.is_empty()
        && match event.action {
            Action::Linked => !event.follows,
            Action::Created => event.kind != Kind::File || is_local(event),
            _ => false,
        };
    if is_reference {
        return unchanged;
    }
    event.action.is_change() || unchanged && event.action == Action::Unchanged
}

/// The letters, the path, and where it points to. Control characters are escaped.
pub fn line(directory: &Path, event: &EntryEvent) -> String {
    format!("{} {}{}", letters(event), name(directory, event), arrow(event))
}

/// The path below the roots; a directory's ends in a slash.
pub fn name(directory: &Path, event: &EntryEvent) -> String {
    let path = event.path(directory);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
    let slash = if event.kind == Kind::Directory { "/" } else { "" };
    format!("{}{slash}", Escaped::path(path))
}

/// Where it leads.
pub fn arrow(event: &EntryEvent) -> String {
    match &event.points_to {
        Some(PointsTo::Target(path)) => format!(" -> {}", Escaped::path(path)),
        Some(PointsTo::Name(path)) => format!(" => {}", Escaped::path(path)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Changes;

    #[test]
    fn letters_are_those_of_rsync() {
        const NONE: Changes = Changes::NONE;
        let all = Changes {
            contents: true,
            size: true,
            times: true,
            mode: true,
            owner: true,
            group: true,
            acl: true,
            xattrs: true,
            ..NONE
        };
        let table = [
            (Action::Created, Kind::File, Changes::NEW, ">f+++++++++"),
            (Action::Updated, Kind::File, Changes { size: true, times: true, ..NONE }, ">f.st......"),
            (Action::Updated, Kind::File, Changes { contents: true, ..NONE }, ">fc........"),
            (Action::Updated, Kind::File, NONE, ">f........."),
            (Action::Metadata, Kind::Directory, Changes { times: true, ..NONE }, ".d..t......"),
            (Action::Metadata, Kind::File, Changes { owner: true, group: true, ..NONE }, ".f....og..."),
            (Action::Metadata, Kind::Fifo, Changes { mode: true, ..NONE }, ".S...p....."),
            (Action::Metadata, Kind::File, Changes { acl: true, xattrs: true, ..NONE }, ".f.......ax"),
            (Action::Metadata, Kind::File, all, ".fcstpog.ax"),
            (Action::Created, Kind::Directory, Changes::NEW, "cd+++++++++"),
            (Action::Updated, Kind::Symlink, Changes { contents: true, ..NONE }, "cLc........"),
            (Action::Updated, Kind::BlockDevice, Changes { contents: true, ..NONE }, "cDc........"),
            (Action::Created, Kind::Directory, Changes { times: true, ..NONE }, "cd..t......"),
            (Action::Created, Kind::Directory, NONE, "cd         "),
            (Action::Created, Kind::Socket, Changes::NEW, "cS+++++++++"),
            (Action::Linked, Kind::File, Changes::NEW, "hf+++++++++"),
            (Action::Linked, Kind::File, NONE, "hf         "),
            (Action::Linked, Kind::Symlink, Changes { times: true, ..NONE }, "hL..t......"),
            (Action::Unchanged, Kind::File, NONE, ".f         "),
            (Action::Deleted, Kind::Directory, NONE, "*deleting  "),
        ];
        for (action, kind, changes, expected) in table {
            let event = EntryEvent::changed(kind, action, changes);
            assert_eq!(letters(&event), expected, "{action:?} {kind:?} {changes:?}");
        }
        let unchanged = EntryEvent::changed(Kind::Symlink, Action::Unchanged, NONE);
        assert_eq!(letters(&EntryEvent { follows: true, ..unchanged }), "hL         ");
    }
}
