//! A tree and its mirror that differ in every way there is, one at a time.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::tree::{file, mode, modified, node, xattr};
use super::{sync_with, tool};

/// A tree in `home` and its mirror, all times in them alike.
pub fn mirror(home: &Path, build: impl FnOnce(&Path)) -> (PathBuf, PathBuf) {
    let (source, destination) = (home.join("src"), home.join("dst"));
    fs::create_dir(&source).unwrap();
    build(&source);
    for entry in walkdir::WalkDir::new(&source).contents_first(true) {
        modified(entry.unwrap().path(), 1_500_000_000, 123);
    }
    sync_with("auto", &[], &source, &destination).exits(0);
    (source, destination)
}

/// Puts the time back that a change of what a file holds has moved.
pub fn unmoved(path: impl AsRef<Path>) {
    modified(path, 1_500_000_000, 123);
}

/// Makes a hard link.
pub fn link(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    fs::hard_link(from, to).unwrap();
}

/// Makes files that hold their names.
pub fn files(root: &Path, names: &[&str]) {
    names.iter().for_each(|name| file(root.join(name), name));
}

/// A tree and its mirror, with every single change that there is.
pub fn changed_trees(home: &Path) -> (PathBuf, PathBuf) {
    let (source, destination) = mirror(home, build_source);
    change_files(&destination);
    change_others(&source, &destination);
    change_types(&source, &destination);
    change_links(&destination);
    for extra in ["extra", "extras/a", "extras/sub/b", "dir/extra"] {
        file(destination.join(extra), extra);
    }
    symlink("nowhere", destination.join("extra symlink")).unwrap();
    node(destination.join("extra fifo"), FileType::Fifo, (0, 0));
    node(destination.join("extra device"), FileType::CharacterDevice, (1, 3));
    fs::create_dir(destination.join("extra empty")).unwrap();
    unmoved(destination.join("dir"));
    (source, destination)
}

fn build_source(root: &Path) {
    files(root, &["same", "contents", "size", "time", "nanosecond", "mode", "owner", "group", "acl", "mask"]);
    files(
        root,
        &["xattr", "xattr gone", "xattr value", "setuid", "several", "missing", "dir/file", "gone/file"],
    );
    files(
        root,
        &["dirs/mode/f", "dirs/time/f", "dirs/owner/f", "dirs/acl/f", "dirs/default/f", "dirs/xattr/f"],
    );
    files(root, &["f to l", "f to p", "f to d", "f to full", "d to f/below", "d to l/below"]);
    file(root.join("empty"), "");
    file(root.join("gone/empty"), "");
    mode(root.join("setuid"), 0o4755);
    xattr(root.join("xattr gone"), "user.gone", b"1");
    xattr(root.join("xattr value"), "user.value", b"1");
    for name in ["target", "time", "owner", "same", "gone", "l to f"] {
        symlink("target", root.join(format!("link {name}"))).unwrap();
    }
    for name in ["time", "mode", "same", "gone", "to socket"] {
        node(root.join(format!("fifo {name}")), FileType::Fifo, (0, 0));
    }
    node(root.join("socket gone"), FileType::Socket, (0, 0));
    for name in ["same", "number", "gone", "owner"] {
        node(root.join(format!("device {name}")), FileType::CharacterDevice, (1, 3));
    }
    node(root.join("block gone"), FileType::BlockDevice, (7, 99));
    for group in ["same", "first gone", "last gone", "apart", "pairs", "all gone", "contents", "mode"] {
        let first = root.join(format!("h {group} 1"));
        file(&first, group);
        for further in ["h {} 2", "dir/h {} 3", "h {} 4"] {
            link(&first, root.join(further.replace("{}", group)));
        }
    }
    symlink("a", root.join("hl 1")).unwrap();
    link(root.join("hl 1"), root.join("hl 2"));
    symlink("b", root.join("hl apart 1")).unwrap();
    link(root.join("hl apart 1"), root.join("hl apart 2"));
    node(root.join("hp 1"), FileType::Fifo, (0, 0));
    link(root.join("hp 1"), root.join("hp 2"));
    link(root.join("same"), root.parent().unwrap().join("a name outside the tree"));
}

fn change_files(at: &Path) {
    file(at.join("contents"), "CONTENTS");
    unmoved(at.join("contents"));
    file(at.join("size"), "longer than it was");
    unmoved(at.join("size"));
    modified(at.join("time"), 1_600_000_000, 123);
    modified(at.join("nanosecond"), 1_500_000_000, 124);
    mode(at.join("mode"), 0o600);
    lchown(at.join("owner"), Some(7), None).unwrap();
    lchown(at.join("group"), None, Some(7)).unwrap();
    tool("setfacl", &["-m", "u:7:r", at.join("acl").to_str().unwrap()]);
    tool("setfacl", &["-m", "u:7:rwx", at.join("mask").to_str().unwrap()]);
    xattr(at.join("xattr"), "user.new", b"1");
    xattr(at.join("xattr value"), "user.value", b"2");
    rustix::fs::removexattr(at.join("xattr gone"), "user.gone").unwrap();
    mode(at.join("setuid"), 0o755);
    file(at.join("several"), "SEVERAL, and of another size");
    mode(at.join("several"), 0o600);
    lchown(at.join("several"), Some(7), Some(7)).unwrap();
    xattr(at.join("several"), "user.new", b"1");
    fs::remove_file(at.join("missing")).unwrap();
}

fn change_others(source: &Path, at: &Path) {
    fs::remove_dir_all(at.join("gone")).unwrap();
    mode(at.join("dirs/mode"), 0o700);
    modified(at.join("dirs/time"), 1_600_000_000, 123);
    lchown(at.join("dirs/owner"), Some(7), Some(7)).unwrap();
    tool("setfacl", &["-m", "u:7:r", at.join("dirs/acl").to_str().unwrap()]);
    tool("setfacl", &["-d", "-m", "u:7:r", source.join("dirs/default").to_str().unwrap()]);
    xattr(at.join("dirs/xattr"), "user.new", b"1");
    let again = |name: &str, make: &dyn Fn(&Path)| {
        fs::remove_file(at.join(name)).unwrap();
        make(&at.join(name));
        unmoved(at.join(name));
    };
    again("link target", &|path| symlink("elsewhere", path).unwrap());
    again("device number", &|path| node(path, FileType::CharacterDevice, (1, 5)));
    again("fifo to socket", &|path| node(path, FileType::Socket, (0, 0)));
    for name in ["link time", "fifo time"] {
        modified(at.join(name), 1_600_000_000, 123);
    }
    for name in ["link owner", "device owner"] {
        lchown(at.join(name), Some(7), None).unwrap();
    }
    mode(at.join("fifo mode"), 0o600);
    for name in ["link gone", "fifo gone", "socket gone", "device gone", "block gone"] {
        fs::remove_file(at.join(name)).unwrap();
    }
    modified(at, 1_600_000_000, 123);
}

fn change_types(source: &Path, at: &Path) {
    for name in ["f to l", "f to p", "f to d", "f to full", "link l to f"] {
        fs::remove_file(at.join(name)).unwrap();
    }
    symlink("target", at.join("f to l")).unwrap();
    node(at.join("f to p"), FileType::Fifo, (0, 0));
    fs::create_dir(at.join("f to d")).unwrap();
    file(at.join("f to full/sub/file"), "in the way");
    file(at.join("link l to f"), "in the way");
    for name in ["d to f", "d to l"] {
        fs::remove_dir_all(at.join(name)).unwrap();
    }
    file(at.join("d to f"), "in the way");
    symlink(source, at.join("d to l")).unwrap();
}

fn change_links(at: &Path) {
    let remove = |name: &str| fs::remove_file(at.join(name)).unwrap();
    let copy = |from: &str, to: &str| {
        remove(to);
        tool("cp", &["-a", at.join(from).to_str().unwrap(), at.join(to).to_str().unwrap()]);
    };
    remove("h first gone 1");
    remove("h last gone 4");
    remove("dir/h last gone 3");
    copy("h apart 1", "h apart 2");
    copy("h apart 1", "dir/h apart 3");
    copy("h pairs 1", "h pairs 2");
    remove("h pairs 4");
    link(at.join("h pairs 2"), at.join("h pairs 4"));
    for name in ["h all gone 1", "h all gone 2", "dir/h all gone 3", "h all gone 4"] {
        remove(name);
    }
    file(at.join("h contents 1"), "CONTENTS");
    unmoved(at.join("h contents 1"));
    mode(at.join("h mode 1"), 0o600);
    copy("hl apart 1", "hl apart 2");
    unmoved(at.join("dir"));
}
