//! The source has levels: imports run one way, circles of files stay small, and so do folders.
//!
//! The graph is taken from the source itself. What a file takes from another one is every path that begins at the crate's root,
//! at a module above or below, or at a name that was imported; a re-export is followed to the file that has the item. Unit tests
//! are left out. Methods are not seen: a file may call one that an `impl` block in a folder above gives to a type of its level.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree};

use crate::support::needs::tests;
use crate::support::source_root;

tests![imports_run_one_way, circles_are_small, folders_are_small, the_library_stands_without_the_program];

/// From the bottom up: a file imports only from its own level and those before it.
const LEVELS: [&str; 47] = [
    "text",
    "error",
    "stop",
    "options",
    "event",
    "stat",
    "plan",
    "io",
    "metadata",
    "content",
    "files",
    "select",
    "config",
    "roots",
    "walk",
    "engine/primitives",
    "engine/state",
    "engine/run",
    "engine/own",
    "engine/backup",
    "engine/directory",
    "engine/entry",
    "engine/delete",
    "engine/check",
    "engine/finish",
    "engine/workers",
    "engine/progress",
    "engine/refuse",
    "engine/setup",
    "engine/strangers",
    "engine/mod",
    "engine/stages",
    "verify",
    "store",
    "lib",
    "report",
    "signals",
    "supervisor",
    "exit",
    "bench",
    "doctor",
    "cli/values",
    "cli/args",
    "cli",
    "snapshot",
    "rsync",
    "main",
];
/// What belongs to the program alone.
const PROGRAM: [&str; 10] =
    ["report", "signals", "supervisor", "exit", "bench", "doctor", "cli", "snapshot", "rsync", "main"];
/// Files of one circle, at most.
const CIRCLE: usize = 8;
/// Files of a folder, at most.
const FOLDER: usize = 16;

/// The name of a module: its path from the crate's root. `main` is the root of the program, which has modules beside the
/// library's.
type Name = Vec<String>;

/// What one file says.
#[derive(Default)]
struct Source {
    file: String,
    /// What its imports call the names that they lead to.
    imported: BTreeMap<String, Name>,
    /// Paths to items, from the crate's root.
    taken: Vec<Name>,
}

struct Graph {
    sources: BTreeMap<Name, Source>,
    /// Each file, and those that it takes something from.
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of_source() -> Self {
        let root = source_root().join("src");
        let mut files = Vec::new();
        collect(&root, &mut files);
        let name = |path: &Path| {
            let path = path.strip_prefix(&root).expect("a file of the source").with_extension("");
            let mut name: Name = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if name.last().is_some_and(|last| last == "mod" || last == "lib") {
                name.pop();
            }
            name
        };
        let names: BTreeSet<Name> = files.iter().map(|path| name(path)).collect();
        let read = |path: &PathBuf| {
            let file = path.strip_prefix(&root).expect("a file of the source");
            let text = fs::read_to_string(path).expect("source");
            let mut reader = Reader { names: &names, at: name(path), source: Source::default() };
            reader.source.file = file.to_string_lossy().into_owned();
            reader.visit_file(&syn::parse_file(&text).expect("Rust"));
            (reader.at, reader.source)
        };
        let sources = files.iter().map(read).collect();
        let mut graph = Graph { sources, edges: BTreeMap::new() };
        for (name, source) in &graph.sources {
            let found = source.taken.iter().filter_map(|path| graph.home(path.clone()));
            let others = found.filter(|found| *found != name).map(|found| graph.sources[found].file.clone());
            graph.edges.insert(source.file.clone(), others.collect());
        }
        graph
    }

    /// The module that has the item at a path, wherever it is exported again. `None`: it is a module itself.
    fn home(&self, mut path: Name) -> Option<&Name> {
        for _ in 0..8 {
            let length = (0..=path.len()).rev().find(|&length| self.sources.contains_key(&path[..length]))?;
            let (module, rest) = path.split_at(length);
            let item = rest.first()?;
            let (name, source) = self.sources.get_key_value(module)?;
            match source.imported.get(item) {
                Some(next) if *next != path => path = [next, &rest[1..]].concat(),
                _ => return Some(name),
            }
        }
        None
    }

    /// Files that import each other in a circle, the largest circles first.
    fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|file| (file.as_str(), self.reached_from(file))).collect();
        let mut circles: Vec<BTreeSet<&str>> = Vec::new();
        for (file, others) in &reached {
            let circle: BTreeSet<&str> =
                others.iter().copied().filter(|other| reached[other].contains(file)).collect();
            if circle.len() > 1 && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    fn reached_from<'a>(&'a self, file: &'a str) -> BTreeSet<&'a str> {
        let (mut reached, mut waiting) = (BTreeSet::new(), vec![file]);
        while let Some(next) = waiting.pop() {
            waiting
                .extend(self.edges[next].iter().map(String::as_str).filter(|other| reached.insert(*other)));
        }
        reached
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a folder of the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Reads one file.
struct Reader<'a> {
    names: &'a BTreeSet<Name>,
    at: Name,
    source: Source,
}

impl Reader<'_> {
    /// A path from the crate's root. `None`: it leads out of the crate, or to what is in scope here.
    fn absolute(&self, path: &[String]) -> Option<Name> {
        let (first, rest) = path.split_first()?;
        let is_program = self.at.first().is_some_and(|first| PROGRAM.contains(&first.as_str()));
        let main = vec!["main".to_owned()];
        match first.as_str() {
            // The program's root is main.rs, whose items are few; its modules lie beside the library's.
            "crate" if is_program && rest.len() == 1 => Some([&main, rest].concat()),
            "crate" | "ringsync" => Some(rest.to_vec()),
            "self" => Some([&self.at, rest].concat()),
            "super" => {
                let above = path.iter().take_while(|part| *part == "super").count();
                let kept = self.at.len().saturating_sub(above);
                Some([&self.at[..kept], &path[above..]].concat())
            }
            _ => {
                let within = if self.at == main { Vec::new() } else { self.at.clone() };
                let child = [within.as_slice(), &path[..1]].concat();
                let imported = self.source.imported.get(first);
                imported
                    .cloned()
                    .or_else(|| self.names.contains(&child).then_some(child))
                    .map(|start| [&start, rest].concat())
            }
        }
    }

    fn import(&mut self, tree: &UseTree, path: &mut Name) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.import(&part.tree, path);
                path.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, path)),
            UseTree::Name(name) => self.import_as(&name.ident.to_string(), None, path),
            UseTree::Rename(name) => {
                self.import_as(&name.ident.to_string(), Some(name.rename.to_string()), path);
            }
            UseTree::Glob(_) => {
                let within = self.absolute(path);
                assert!(within.is_none(), "{}: nothing tells what a glob takes", self.source.file);
            }
        }
    }

    fn import_as(&mut self, name: &str, called: Option<String>, path: &[String]) {
        let mut path = path.to_vec();
        if name != "self" {
            path.push(name.to_owned());
        }
        let called = called.or_else(|| path.last().cloned()).unwrap_or_default();
        if let Some(absolute) = self.absolute(&path) {
            self.source.taken.push(absolute.clone());
            self.source.imported.insert(called, absolute);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast syn::File) {
        // All imports first: a path in the text may begin with what one brings.
        for item in &file.items {
            if let Item::Use(item) = item {
                self.import(&item.tree, &mut Vec::new());
            }
        }
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let is_test = |attribute: &Attribute| {
            attribute.path().is_ident("cfg") && attribute.meta.to_token_stream().to_string().contains("test")
        };
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, &mut Vec::new());
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let text = call.tokens.to_string();
        let tokens: Vec<&str> = text.split_whitespace().collect();
        for (start, _) in
            tokens.iter().enumerate().filter(|(_, token)| ["crate", "self", "super"].contains(token))
        {
            let rest = tokens[start..].chunks(2).take_while(|pair| pair.get(1) == Some(&"::")).count();
            let path: Name =
                tokens[start..].iter().step_by(2).take(rest + 1).map(ToString::to_string).collect();
            if rest > 0 {
                self.source.taken.extend(self.absolute(&path));
            }
        }
        visit::visit_macro(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Name = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1
            && let Some(absolute) = self.absolute(&parts)
        {
            self.source.taken.push(absolute);
        }
        visit::visit_path(self, path);
    }
}

/// The level that a file is on.
fn level(file: &str) -> usize {
    let file = file.trim_end_matches(".rs");
    let is_on =
        |level: &str| file == level || file.strip_prefix(level).is_some_and(|rest| rest.starts_with('/'));
    let on = LEVELS.iter().enumerate().filter(|(_, level)| is_on(level));
    on.max_by_key(|(_, level)| level.len())
        .map(|(number, _)| number)
        .unwrap_or_else(|| panic!("{file} has no level"))
}

fn imports_run_one_way() {
    let graph = Graph::of_source();
    let arrows =
        || graph.edges.iter().flat_map(|(file, others)| others.iter().map(move |other| (file, other)));
    assert!(arrows().count() > 1000, "the source was not read: {}", arrows().count());
    let upward: Vec<String> = arrows()
        .filter(|(file, other)| level(other) > level(file))
        .map(|(file, other)| format!("{file} takes something from {other}, which stands above it"))
        .collect();
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

fn circles_are_small() {
    let graph = Graph::of_source();
    let circles = graph.circles();
    // Files of one idea may know each other: if there were none, they would not have been found.
    assert!(!circles.is_empty());
    assert!(circles[0].len() <= CIRCLE, "{:?}", circles[0]);
}

fn folders_are_small() {
    let mut files = Vec::new();
    collect(&source_root().join("src"), &mut files);
    let mut folders = BTreeMap::<&Path, usize>::new();
    files.iter().filter_map(|file| file.parent()).for_each(|folder| *folders.entry(folder).or_default() += 1);
    for (folder, count) in folders {
        assert!(count <= FOLDER, "{} has {count} files", folder.display());
    }
}

fn the_library_stands_without_the_program() {
    let graph = Graph::of_source();
    let is_program = |file: &str| {
        PROGRAM
            .iter()
            .any(|part| level(file) == level(&format!("{part}.rs")) || file.starts_with(&format!("{part}/")))
    };
    for (file, others) in graph.edges.iter().filter(|(file, _)| !is_program(file)) {
        let program: Vec<_> = others.iter().filter(|other| is_program(other)).collect();
        assert!(program.is_empty(), "{file} takes something from {program:?}");
    }
}
