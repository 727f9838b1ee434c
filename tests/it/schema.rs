//! `docs/json.schema.json` holds: every line of `--json` is what it says, whatever happens, and it describes every property.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use jsonschema::Validator;
use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::support::changed::{changed_trees, link};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, node, noise};
use crate::support::user::as_alice;
use crate::support::{ENGINES, Ran, program, run, scratch, sync_with};

tests![
    a_sync_is_as_described: [Need::Root, Need::Tool("setfacl")],
    a_check_is_as_described: [Need::Root, Need::Tool("setfacl")],
    a_verification_is_as_described,
    errors_are_as_described: [Need::Root, Need::Tool("setpriv")],
    what_is_not_described_is_refused,
    every_property_has_a_description,
];

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/json.schema.json")).unwrap()
}

pub fn validator() -> Validator {
    jsonschema::draft202012::meta::validate(&schema()).expect("a schema of draft 2020-12");
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// Requires that each line fits.
#[track_caller]
pub fn assert_lines_described(lines: &[serde_json::Value]) {
    let validator = validator();
    for line in lines {
        let errors: Vec<String> = validator.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:#?}");
    }
}

/// Requires that each line fits, and that these are among them: a property and one of its values.
#[track_caller]
pub fn assert_described(ran: &Ran, wanted: &[(&str, &str)]) {
    let lines = ran.json();
    assert_lines_described(&lines);
    for (property, value) in wanted {
        assert!(lines.iter().any(|line| line[*property] == *value), "no {property} {value}: {lines:#?}");
    }
    assert_eq!((&lines[0]["event"], &ran.summary()["event"]), (&json!("start"), &json!("summary")));
}

fn a_sync_is_as_described() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        file(source.join(OsStr::from_bytes(b"caf\xe9")), "x");
        symlink(OsStr::from_bytes(b"\xff"), source.join("to bytes")).unwrap();
        let odd = source.join(OsStr::from_bytes(b"\xfe"));
        file(&odd, "x");
        (0..4).for_each(|index| link(&odd, source.join(OsStr::from_bytes(&[0xf0 + index]))));
        let dry = sync_with(engine, &["--json", "-n"], &source, &destination).exits(23);
        assert_described(&dry, &[("action", "updated"), ("action", "failed")]);
        let ran = sync_with(engine, &["--json", "-vv", "--fsync"], &source, &destination).exits(23);
        let actions = ["created", "updated", "metadata", "linked", "unchanged", "failed"];
        assert_described(&ran, &actions.map(|action| ("action", action)));
        assert_described(&ran, &[("path_bytes", "Y2Fm6Q=="), ("target_bytes", "/w=="), ("target", "target")]);
        assert!(ran.json().iter().any(|line| line["linked_to_bytes"].is_string()), "{ran:?}");
        assert!(ran.json().iter().any(|line| line["durable"] == true), "{ran:?}");
        let fresh = home.path().join("fresh");
        let ran = sync_with(engine, &["--json", "--stats", "--no-devices", "--no-specials"], &source, &fresh)
            .exits(0);
        assert_described(&ran, &[("action", "skipped"), ("itemized", ">f+++++++++"), ("type", "directory")]);
    }
}

fn a_check_is_as_described() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        let mut command = Command::new(program());
        command.args(["check", "-c", "--json", "--engine", engine]).arg(&source).arg(&destination);
        let wanted = [("itemized", "*deleting  "), ("action", "linked"), ("outcome", "different")];
        assert_described(&run(command).exits(23), &wanted);
    }
}

fn a_verification_is_as_described() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let tree = home.path().join("tree");
        for name in ["right", "wrong", "missing", "unreadable"] {
            file(tree.join(name), name);
        }
        file(tree.join(OsStr::from_bytes(b"\xff")), "x");
        let sums = home.path().join("sums");
        let manifest = format!("--manifest={}", sums.display());
        sync_with(engine, &[&manifest], &tree, &home.path().join("copy")).exits(0);
        let mut lines = fs::read(&sums).unwrap();
        lines.extend_from_slice(b"no line of a manifest\n");
        fs::write(&sums, lines).unwrap();
        file(tree.join("wrong"), "else");
        file(tree.join("extra"), "");
        for name in ["missing", "unreadable"] {
            fs::remove_file(tree.join(name)).unwrap();
        }
        node(tree.join("unreadable"), FileType::Fifo, (0, 0));
        let mut command = Command::new(program());
        command.args(["verify", "--json", "--strict", "--engine", engine]).arg(&sums).arg(&tree);
        let results = ["ok", "mismatch", "missing", "failed", "extra"].map(|result| ("result", result));
        let ran = run(command).exits(23);
        assert_described(&ran, &results);
        assert_described(&ran, &[("event", "malformed"), ("path_bytes", "/w==")]);
    }
}

fn errors_are_as_described() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("open/file"), noise(1, 10));
    file(source.join("closed/file"), "x");
    crate::support::tree::mode(home.path(), 0o777);
    crate::support::tree::mode(source.join("closed"), 0);
    let sync = |options: &[&str], to: &Path| as_alice(&[&["sync", "--json"], options].concat(), &source, to);
    let ran = sync(&[], &destination).exits(23);
    assert_described(&ran, &[("event", "error")]);
    assert!(ran.json().iter().any(|line| line["error"]["errno"] == 13), "{ran:?}");
}

fn what_is_not_described_is_refused() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let ran = sync_with("auto", &["--json"], &source, &destination).exits(0);
    let validator = validator();
    for line in ran.json() {
        let properties: Vec<String> = line.as_object().unwrap().keys().cloned().collect();
        for property in properties.iter().filter(|name| !["size", "notice"].contains(&name.as_str())) {
            let mut less = line.clone();
            less.as_object_mut().unwrap().remove(property);
            assert!(!validator.is_valid(&less), "without {property}: {line}");
            let mut other = line.clone();
            other[property] = json!([]);
            assert!(!validator.is_valid(&other), "with an odd {property}: {line}");
        }
        let mut more = line.clone();
        more["more"] = json!(1);
        assert!(!validator.is_valid(&more), "{line}");
    }
}

fn every_property_has_a_description() {
    let schema = schema();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        for (property, value) in definition["properties"].as_object().unwrap() {
            let described = value["description"].is_string() || value["$ref"] == "#/$defs/error";
            assert!(described, "{name}: {property}");
        }
    }
    let actions = schema["$defs"]["file"]["properties"]["action"]["enum"].as_array().unwrap();
    for action in ringsync::event::Action::ALL {
        assert!(actions.contains(&json!(action.name())), "{action:?}");
    }
}
