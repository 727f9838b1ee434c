//! What an entry keeps under rsync's own command line: letter by letter what rsync keeps.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::FileType;

use crate::rsync::{Told, both};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, xattr};
use crate::support::user::{ALICE, give_tree, program_of_alice};
use crate::support::{program, run, scratch, tool};

tests![
    each_letter_keeps_its_own: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
    without_p_modes_are_those_of_rsync: [Need::Root, Need::Tool("rsync")],
    a_default_acl_takes_the_place_of_the_umask: [Need::Tool("rsync"), Need::Tool("setfacl")],
    owners_are_mapped_as_by_rsync: [Need::Root, Need::Tool("rsync")],
    what_is_left_out_is_said: [Need::Root, Need::Tool("rsync")],
    a_user_maps_to_nobody_else: [Need::Root],
    an_unknown_name_is_told_and_left,
    nobody_gains_where_rsync_gives: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
];

/// Entries of all types with all that an entry can have, and some that are there already.
fn plant(home: &Path) {
    let at = |name: &str| home.join(name);
    for name in ["src/plain", "src/dir/owned", "src/program", "src/acl", "dst/plain", "dst/dir/owned"] {
        file(at(name), format!("{} of its own", &name[4..]));
    }
    symlink("plain", at("src/link")).unwrap();
    node(at("src/fifo"), FileType::Fifo, (0, 0));
    node(at("src/socket"), FileType::Socket, (0, 0));
    node(at("src/device"), FileType::CharacterDevice, (1, 3));
    for (name, id) in [("src/dir/owned", 12), ("src/dir", 34), ("src/fifo", 2)] {
        chown(at(name), Some(id), Some(id + 1)).unwrap();
    }
    lchown(at("src/link"), Some(7), Some(8)).unwrap();
    for (name, bits) in [
        ("src/plain", 0o640),
        ("src/dir", 0o2751),
        ("src/program", 0o755),
        ("dst/dir", 0o751),
        ("dst/dir/owned", 0o604),
    ] {
        mode(at(name), bits);
    }
    xattr(at("src/dir/owned"), "user.name", b"value");
    xattr(at("src/dir"), "trusted.name", b"value");
    xattr(at("dst/plain"), "user.there", b"value");
    tool("setfacl", &["-m", "u:7:rw,g::rw,m::rw", at("src/acl").to_str().unwrap()]);
    tool("setfacl", &["-d", "-m", "u:7:rwx", at("src/dir").to_str().unwrap()]);
}

fn each_letter_keeps_its_own() {
    for letters in
        ["-ro", "-rg", "-rog", "-rpo", "-rpg", "-rA", "-rpX", "-rAX", "-rlt", "-rltJ", "-rltOJ", "-rlo"]
    {
        both(plant, &[letters, "src/", "dst"], Told::Nothing);
    }
    // Where -X mends attributes without -p, rsync gives SRC's mode too.
    both(plant, &["-rX", "src/dir/owned", "new"], Told::Nothing);
    for more in [
        "--no-o",
        "--no-g",
        "--no-p",
        "--no-l",
        "--no-D",
        "--no-devices",
        "--no-specials",
        "-A",
        "-X",
        "-J",
        "-O",
    ] {
        both(plant, &["-a", more, "src/", "dst"], Told::Nothing);
        both(plant, &["-a", more, "src/", "new"], Told::Nothing);
    }
    both(plant, &["-rl", "--devices", "src/", "new"], Told::Nothing);
    both(plant, &["-rl", "--specials", "src/", "new"], Told::Nothing);
}

fn without_p_modes_are_those_of_rsync() {
    let plant = |home: &Path| {
        let (of_source, there) = ([0o4755, 0o644, 0o600, 0o711, 0o666], [0o640, 0o711, 0o755, 0]);
        for source in of_source {
            for bits in there {
                let name = format!("{source:o}-{bits:o}");
                file(home.join("src").join(&name), "the source's");
                mode(home.join("src").join(&name), source);
                if bits > 0 {
                    file(home.join("dst").join(&name), "as it is there");
                    mode(home.join("dst").join(&name), bits);
                }
            }
        }
        for (name, bits) in [("src/dir", 0o1777), ("src/both", 0o700), ("dst/both", 0o2775)] {
            fs::create_dir(home.join(name)).unwrap();
            mode(home.join(name), bits);
        }
        fs::create_dir(home.join("setgid")).unwrap();
        mode(home.join("setgid"), 0o2755);
    };
    for letters in ["-r", "-rt", "-rE", "-rtE", "-rtog", "-rtEI", "-rEp"] {
        both(plant, &[letters, "src/", "dst"], Told::Nothing);
        both(plant, &[letters, "src", "setgid/deeper/"], Told::Nothing);
    }
    // The letter of -i, of files whose contents are there.
    let same = |home: &Path| {
        plant(home);
        for entry in fs::read_dir(home.join("src")).unwrap().map(|entry| entry.unwrap()) {
            let there = home.join("dst").join(entry.file_name());
            if there.is_file() {
                fs::write(there, "the source's").unwrap();
            }
        }
    };
    both(same, &["-rtEi", "src/", "dst"], Told::Lines);
    both(same, &["-rti", "src/", "dst"], Told::Lines);
}

fn a_default_acl_takes_the_place_of_the_umask() {
    for acl in ["u::7,g::7,o:5", "u::7,g::5,o:0", "u::7,u:0:7,g::7,m:5,o:0"] {
        let plant = |home: &Path| {
            for (name, bits) in [("src/file", 0o666), ("src/program", 0o777), ("src/dir/file", 0o640)] {
                file(home.join(name), name);
                mode(home.join(name), bits);
            }
            fs::create_dir(home.join("around")).unwrap();
            tool("setfacl", &["-d", "-m", acl, home.join("around").to_str().unwrap()]);
        };
        both(plant, &["-rt", "src", "around"], Told::Nothing);
        both(plant, &["-rt", "src/", "around/to/"], Told::Nothing);
        both(plant, &["-t", "src/file", "around/other"], Told::Nothing);
    }
}

fn owners_are_mapped_as_by_rsync() {
    for words in [
        "-a --usermap=12:77,*:78",
        "-a --usermap=0-12:77",
        "-a --usermap=root:77,bin:78",
        "-a --usermap=b*:77,:78",
        "-a --usermap=[a-c]?n:77",
        "-a --groupmap=13:77,root:78",
        "-a --groupmap=*:daemon --usermap=*:bin",
        "-a --numeric-ids --usermap=root:77,:78,*:79",
        "-a --chown=77:78",
        "-a --chown=:78 --usermap=12:0",
        "-a --chown=77 --groupmap=13:0",
        "-a --chown=77:78 --no-o",
        "-a --chown=77:78 --no-g",
        "--no-o -rl --usermap=12:77",
        "-rp --chown=bin:daemon",
        "-a --chown=:",
        "-a --usermap=12:nosuchuser,12:77",
        "-a --usermap=12",
        "-a --usermap=12:",
        "-a --usermap=12x:3",
        "-a --usermap=",
        "-a --usermap=1:2 --usermap=1:3",
        "-a --chown=1 --chown=2",
        "-a --chown=1 --usermap=1:2",
        "-a --chown=1 --chown=:2",
    ] {
        let words: Vec<&str> = words.split(' ').chain(["src/", "dst"]).collect();
        both(plant, &words, Told::Nothing);
    }
}

fn what_is_left_out_is_said() {
    for words in
        ["-rt", "-rlt", "-rltD --no-devices", "-rltD --no-specials", "-rtn", "-rtq", "-rt --ignore-existing"]
    {
        let words: Vec<&str> = words.split(' ').chain(["src/", "dst"]).collect();
        both(plant, &words, Told::Lines);
    }
}

fn a_user_maps_to_nobody_else() {
    let home = scratch();
    mode(home.path(), 0o777);
    file(home.path().join("src/file"), "x");
    give_tree(&home.path().join("src"), 4711);
    for option in ["--usermap=*:0", "--groupmap=*:0", "--chown=0:0"] {
        let mut command = program_of_alice();
        command.args(["rsync", "-a", option]).arg(home.path().join("src/")).arg(home.path().join(option));
        run(command).exits(0);
        let stat = fs::metadata(home.path().join(option).join("file")).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (ALICE, ALICE), "{option}");
    }
}

fn an_unknown_name_is_told_and_left() {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    let mut command = Command::new(program());
    command.args(["rsync", "-r", "--usermap=7:no such user", "src/", "dst"]).current_dir(home.path());
    let ran = run(command).exits(0);
    assert!(ran.err.contains("--usermap: there is no user no such user"), "{}", ran.err);
    assert!(home.path().join("dst/file").exists());
}

/// Where rsync gives somebody more than the source does: docs/from-rsync.md.
fn nobody_gains_where_rsync_gives() {
    let found = |plant: &dyn Fn(&Path), letters: &str, program: &mut Command| {
        let home = scratch();
        for root in ["src", "dst"] {
            file(home.path().join(root).join("file"), "x");
            modified(home.path().join(root).join("file"), 1_000_000, 0);
        }
        plant(home.path());
        program.args([letters, "src/", "dst"]).current_dir(home.path());
        let code = run(std::mem::replace(program, Command::new("true"))).code;
        assert_eq!(code, Some(0));
        fs::metadata(home.path().join("dst/file")).unwrap().mode() & 0o7777
    };
    type Plant = fn(&Path);
    let table: [(&str, Plant, &str, u32, u32); 4] = [
        (
            "the mask of an ACL that is not kept",
            |home| {
                tool("setfacl", &["-m", "u:7:rw,g::-,m::rw", home.join("src/file").to_str().unwrap()]);
            },
            "-a",
            0o664,
            0o604,
        ),
        (
            "a mode that is left alone, of another owner",
            |home| {
                mode(home.join("dst/file"), 0o666);
                chown(home.join("src/file"), Some(7), None).unwrap();
            },
            "-rto",
            0o666,
            0o644,
        ),
        (
            "setuid of an owner who is not kept",
            |home| {
                chown(home.join("src/file"), Some(7), None).unwrap();
                mode(home.join("src/file"), 0o4755);
            },
            "-rtp",
            0o4755,
            0o755,
        ),
        (
            "setuid of a file that nobody could run",
            |home| {
                mode(home.join("src/file"), 0o755);
                mode(home.join("dst/file"), 0o4644);
            },
            "-rtE",
            0o4755,
            0o755,
        ),
    ];
    for (what, plant, letters, theirs, ours) in table {
        let mut ringsync = Command::new(program());
        ringsync.arg("rsync");
        assert_eq!(found(&plant, letters, &mut Command::new("rsync")), theirs, "{what}, rsync");
        assert_eq!(found(&plant, letters, &mut ringsync), ours, "{what}");
    }
}
