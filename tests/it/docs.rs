//! The documents say what the program does: every option is described, and every option of rsync accounted for.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::needs::{Need, tests};
use crate::support::{program, run, source_root, tool};

tests![
    every_option_of_rsync_is_accounted_for: [Need::Tool("rsync")],
    what_is_called_the_same_is_accepted,
    what_is_not_there_is_refused_with_advice,
    every_option_is_described,
    links_lead_somewhere,
];

const TABLE: &str = include_str!("../../docs/from-rsync.md");

/// What the table says of each option: the second column.
fn table() -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for line in TABLE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        for option in cells[1].split(", ") {
            let option = option.trim_matches('`').to_owned();
            assert!(table.insert(option, cells[2].to_owned()).is_none(), "twice: {line}");
        }
    }
    assert!(table.len() > 190, "{}", table.len());
    table
}

/// The options that a line of rsync's own help is about: `--compress-choice=STR    choose … (aka --zc)`.
fn options_of_rsync() -> Vec<String> {
    let help = tool("rsync", &["--help"]);
    let from = help.split("\nOptions\n").nth(1).unwrap_or(&help);
    let mut options = Vec::new();
    for line in from.lines().filter(|line| line.starts_with('-')) {
        let (names, text) = line.split_once("  ").expect("names, and what they mean");
        options.extend(names.split(", ").map(|name| {
            let name = name.split(['=', ' ', '[']).next().unwrap_or(name);
            name.to_owned()
        }));
        let alias = text.split_once("(aka ").or_else(|| text.split_once("aka ")).map(|(_, alias)| alias);
        options.extend(alias.and_then(|alias| alias.split(')').next()).map(String::from));
    }
    assert!(options.len() > 150, "{options:?}");
    options
}

fn every_option_of_rsync_is_accounted_for() {
    let table = table();
    let missing: Vec<String> = options_of_rsync().into_iter().filter(|o| !table.contains_key(o)).collect();
    // -h means two things there.
    assert!(missing.is_empty(), "not in docs/from-rsync.md: {missing:?}");
}

/// What `ringsync sync` says to an option without anything else.
fn said_to(option: &str) -> String {
    let mut command = Command::new(program());
    command.args(["sync", option]);
    let ran = run(command);
    ran.out + &ran.err
}

/// The options with one of these words in the second column.
fn called<'a>(table: &'a BTreeMap<String, String>, words: &[&str]) -> Vec<&'a str> {
    let called: Vec<&str> = table
        .iter()
        .filter(|(option, word)| words.contains(&word.as_str()) && *option != "--no-OPTION")
        .map(|(option, _)| option.as_str())
        .collect();
    assert!(called.len() > 25, "{words:?}: {called:?}");
    called
}

fn what_is_called_the_same_is_accepted() {
    for option in called(&table(), &["same"]) {
        let said = said_to(option);
        let first = said.lines().next().unwrap_or_default();
        // What is missing is SRC, DST, or the option's value; --help needs none of them.
        let accepted = ["Make DST hold", "error: the following required", "error: a value is required"];
        assert!(accepted.iter().any(|text| first.starts_with(text)), "{option}: {said}");
    }
}

fn what_is_not_there_is_refused_with_advice() {
    let table = table();
    let mut words: Vec<&str> = table.values().map(String::as_str).filter(|word| *word != "same").collect();
    words.sort_unstable();
    words.dedup();
    for option in called(&table, &words) {
        let said = said_to(option);
        let advice = match table[option].as_str() {
            "always" => "ringsync always does what it stands for",
            "network" => "both trees are on this machine",
            "no" => "there is no ",
            other => other.trim_matches('`'),
        };
        let line = said.lines().next().unwrap_or_default();
        assert!(
            line.starts_with("error: ") && line.contains(advice) && line.contains(option),
            "{option}: {said}"
        );
    }
}

/// README.md and what lies in docs/.
fn documents() -> Vec<(String, String)> {
    let root = &source_root();
    let in_docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let all = in_docs.chain(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)));
    let markdown = all.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    markdown
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn every_option_is_described() {
    let documents = documents();
    let text: String = documents.iter().map(|(_, text)| text.as_str()).collect();
    for command in ["sync", "check", "verify"] {
        let options = super::comfort::long_options(command);
        assert!(options.len() > 5, "{options:?}");
        for option in options {
            let described = [format!("`{option}`"), format!("`{option} ")];
            assert!(described.iter().any(|words| text.contains(words)), "{option} of {command}");
        }
    }
}

fn links_lead_somewhere() {
    let root = &source_root();
    let documents = documents();
    let anchors = |name: &str| -> Vec<String> {
        let text = &documents.iter().find(|(other, _)| other == name).expect("a document").1;
        let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
        headings
            .map(|heading| heading.to_lowercase().replace(' ', "-").replace([',', '.', '`'], ""))
            .collect()
    };
    let mut links = 0;
    for (name, text) in &documents {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let directory = root.join(name).parent().expect("a directory").to_path_buf();
            let target = if file.is_empty() { root.join(name) } else { directory.join(file) };
            let target = target.canonicalize().unwrap_or_else(|error| panic!("{name}: {link}: {error}"));
            if !anchor.is_empty() {
                let target = target.strip_prefix(root.canonicalize().unwrap()).unwrap().to_string_lossy();
                assert!(anchors(&target).iter().any(|it| it == anchor), "{name}: {link}");
            }
        }
    }
    assert!(links > 8, "{links}");
}
