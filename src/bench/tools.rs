//! The tools that are measured: what each is called with for new copies and for later ones. Another tool is another
//! entry in the table.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use rustix::fs::MemfdFlags;

use crate::bench::plan::Scenario;
use crate::bench::run::{End, run};
use ringsync::Stop;

/// Words of a command line that stand for the two trees; rsync's way of naming what is in a directory ends in a slash.
const SRC: &str = "SRC";
const DST: &str = "DST";
const IN_SRC: &str = "SRC/";
const IN_DST: &str = "DST/";

/// How much of a tool's answer to --version is read, in bytes.
const VERSION_LIMIT: u64 = 4096;

/// A program that copies trees.
#[derive(Debug)]
pub(crate) struct Tool {
    /// What it is called, on PATH too. `ringsync` is this program itself.
    pub(crate) name: &'static str,
    /// Its arguments to make a copy at a name that is free.
    copy: &'static [&'static str],
    /// Its arguments to bring an older copy up to date, for tools that look at what is there.
    update: Option<&'static [&'static str]>,
    /// What to know when its figures are read.
    pub(crate) remark: &'static str,
}

/// The tool that the others are compared with.
pub(crate) const OURS: &str = "ringsync";

/// All that is known. `ringsync` is the first.
pub(crate) const TABLE: &[Tool] = &[
    Tool {
        name: OURS,
        copy: &["sync", SRC, DST],
        update: Some(&["sync", SRC, DST]),
        remark: "hashes what it copies; keeps attributes, ACLs, hard links and holes",
    },
    Tool {
        name: "cp",
        copy: &["-a", "-T", SRC, DST],
        update: Some(&["-a", "-u", "-T", SRC, DST]),
        remark: "-u copies what is newer in SRC, whatever its size",
    },
    Tool {
        name: "rsync",
        copy: &["-a", IN_SRC, IN_DST],
        update: Some(&["-a", IN_SRC, IN_DST]),
        remark: "-a without -HAXS leaves out hard links, attributes, ACLs and holes",
    },
    Tool { name: "cpz", copy: &[SRC, DST], update: None, remark: "always copies everything" },
    Tool {
        name: "xcp",
        copy: &["-r", "--no-progress", SRC, DST],
        update: None,
        remark: "always copies everything",
    },
    Tool {
        name: "syq",
        copy: &["rsync", "-a", IN_SRC, IN_DST],
        update: Some(&["rsync", "-a", IN_SRC, IN_DST]),
        remark: "-a leaves out what rsync's does",
    },
    Tool {
        name: "rclone",
        copy: &["sync", "--links", "--metadata", "--create-empty-src-dirs", SRC, DST],
        update: Some(&["sync", "--links", "--metadata", "--create-empty-src-dirs", SRC, DST]),
        remark: "compares the hash of each copy",
    },
];

impl Tool {
    /// The arguments for a scenario, the trees still by their stand-ins; none if the tool can't do it.
    pub(crate) fn words(&self, scenario: Scenario) -> Option<&'static [&'static str]> {
        match scenario {
            Scenario::Fresh => Some(self.copy),
            Scenario::Noop | Scenario::Changed => self.update,
        }
    }

    /// The same for people: `cp -a -T SRC DST`.
    pub(crate) fn shown(&self, scenario: Scenario) -> Option<String> {
        self.words(scenario).map(|words| format!("{} {}", self.name, words.join(" ")))
    }
}

/// A tool that this machine has.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) tool: &'static Tool,
    program: PathBuf,
}

impl Installed {
    /// The command for a scenario.
    pub(crate) fn command(&self, scenario: Scenario, source: &Path, destination: &Path) -> Option<Command> {
        let words = self.tool.words(scenario)?;
        let mut command = Command::new(&self.program);
        command.args(words.iter().map(|&word| filled_in(word, source, destination)));
        Some(command)
    }

    /// The first line of what it says to `--version`.
    pub(crate) fn version(&self, stop: &Stop) -> anyhow::Result<Option<String>> {
        let answer =
            rustix::fs::memfd_create("version", MemfdFlags::CLOEXEC).context("make a file in memory")?;
        let mut answer = File::from(answer);
        let mut command = Command::new(&self.program);
        command.arg("--version").stdout(answer.try_clone()?);
        let End::Done(_) = run(&mut command, stop)? else { return Ok(None) };
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut answer)?;
        answer.take(VERSION_LIMIT).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().next().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")))
    }
}

/// A word with the tree it stands for.
fn filled_in(word: &str, source: &Path, destination: &Path) -> OsString {
    match word {
        SRC => source.into(),
        DST => destination.into(),
        IN_SRC => source.join("").into(),
        IN_DST => destination.join("").into(),
        word => word.into(),
    }
}

/// Those of `wanted`, or of all tools, that are there. `ringsync` comes first, asked for or not: it is what the others
/// are compared with.
///
/// # Errors
/// When one that was asked for is not on PATH.
pub(crate) fn find(wanted: Option<&[&'static Tool]>) -> anyhow::Result<Vec<Installed>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = Vec::new();
    for tool in TABLE {
        let is_wanted = wanted.is_none_or(|wanted| wanted.iter().any(|other| other.name == tool.name));
        if tool.name == OURS {
            let program = std::env::current_exe().context("find this program")?;
            found.push(Installed { tool, program });
        } else if is_wanted {
            match on_path(tool.name, &path) {
                Some(program) => found.push(Installed { tool, program }),
                None if wanted.is_some() => anyhow::bail!("use tool {}: it is not on PATH", tool.name),
                None => {}
            }
        }
    }
    Ok(found)
}

/// The program that a shell would start.
fn on_path(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(name)).find(|program| {
        program.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_called_with_the_trees_in_its_words() {
        let rsync = TABLE.iter().find(|tool| tool.name == "rsync").unwrap();
        let installed = Installed { tool: rsync, program: "/bin/rsync".into() };
        let command = installed.command(Scenario::Noop, "/a b".as_ref(), "/c".as_ref()).unwrap();
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["-a", "/a b/", "/c/"]);
        assert_eq!(rsync.shown(Scenario::Fresh).unwrap(), "rsync -a SRC/ DST/");
    }

    #[test]
    fn tools_that_always_copy_have_no_part_in_updates() {
        let of =
            |scenario| TABLE.iter().filter(move |tool| tool.words(scenario).is_some()).map(|tool| tool.name);
        assert_eq!(of(Scenario::Fresh).count(), TABLE.len());
        assert_eq!(of(Scenario::Changed).collect::<Vec<_>>(), ["ringsync", "cp", "rsync", "syq", "rclone"]);
    }

    #[test]
    fn ringsync_is_always_among_them_and_the_first() {
        let none = find(Some(&[])).unwrap();
        assert_eq!(none.iter().map(|installed| installed.tool.name).collect::<Vec<_>>(), [OURS]);
        assert_eq!(find(None).unwrap()[0].tool.name, OURS);
    }

    #[test]
    fn a_program_is_a_file_that_may_be_run() {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        for (directory, mode) in [(&first, 0o644), (&second, 0o755)] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("xcp"), "").unwrap();
            std::fs::set_permissions(directory.join("xcp"), PermissionsExt::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(on_path("xcp", &path), Some(second.join("xcp")));
        assert_eq!(on_path("cpz", &path), None);
    }
}
