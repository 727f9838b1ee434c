//! The report for programs: one JSON object, which docs/json.schema.json describes.

use base64::Engine as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::doctor::Diagnosis;
use crate::doctor::finding::{Finding, Found};
use crate::doctor::machine::{Ids, Machine};
use crate::doctor::place::Place;
use crate::doctor::report;

/// The whole report, in one line.
pub(super) fn json(diagnosis: &Diagnosis) -> String {
    let advice = &diagnosis.advice;
    let options: Vec<Value> = advice
        .options
        .iter()
        .map(|suggestion| json!({"option": suggestion.option, "why": suggestion.why}))
        .collect();
    let mut object = json!({
        "event": "doctor",
        "version": env!("CARGO_PKG_VERSION"),
        "machine": machine(&diagnosis.machine),
        "lost": advice.lost,
        "options": options,
        "notes": advice.notes,
        "command": report::command(diagnosis),
        "exit_code": diagnosis.outcome.exit_code(),
    });
    for (name, found) in [("source", &diagnosis.source), ("destination", &diagnosis.destination)] {
        if let Some(found) = found {
            object[name] = place(found);
        }
    }
    format!("{object}\n")
}

fn machine(machine: &Machine) -> Value {
    let ids = |ids: &Option<Vec<Ids>>| {
        let ranges = ids.as_ref().map(|ids| ids.iter().map(|ids| json!([ids.first, ids.count])).collect());
        ranges.map_or(Value::Null, Value::Array)
    };
    json!({
        "kernel": machine.kernel,
        "io_uring": machine.no_ring.is_none(),
        "io_uring_refusal": machine.no_ring,
        "io_uring_disabled": machine.ring_disabled,
        "open_files": machine.open_files.0,
        "open_files_limit": machine.open_files.1,
        "locked_memory": machine.locked_memory,
        "user": machine.user,
        "group": machine.group,
        "lacks": machine.lacks,
        "users": ids(&machine.users),
        "groups": ids(&machine.groups),
    })
}

fn place(place: &Place) -> Value {
    let mut object = json!({
        "missing": place.missing,
        "kind": place.kind,
        "device": place.device,
        "mount_options": place.options,
        "free_bytes": place.free,
        "free_files": place.inodes,
        "findings": place.findings.0.iter().map(finding).collect::<Vec<_>>(),
    });
    add_path(&mut object, "path", &place.path);
    add_path(&mut object, "used", &place.used);
    object
}

/// A path, and its bytes too where it is not text.
fn add_path(object: &mut Value, name: &str, path: &Path) {
    object[name] = path.to_string_lossy().into();
    if path.to_str().is_none() {
        let bytes = base64::engine::general_purpose::STANDARD.encode(path.as_os_str().as_bytes());
        object[format!("{name}_bytes")] = bytes.into();
    }
}

fn finding(finding: &Finding) -> Value {
    let mut object = Map::new();
    object.insert("what".into(), json!(finding.subject));
    let (answer, more) = match &finding.found {
        Found::Yes => ("yes", None),
        Found::No(why) => ("no", Some(("detail", json!(why)))),
        Found::Nanoseconds(step) => ("figure", Some(("nanoseconds", json!(step)))),
        Found::Bytes(size) => ("figure", Some(("bytes", json!(size)))),
        Found::Text(text) => ("figure", Some(("detail", json!(text)))),
        Found::Untried(why) => ("untried", Some(("detail", json!(why)))),
    };
    object.insert("answer".into(), answer.into());
    object.extend(more.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object)
}
