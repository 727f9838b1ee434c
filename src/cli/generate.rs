//! What is made from the definition of the command line: completions for shells, and man pages.

use std::path::PathBuf;
use std::{fs, io};

use anyhow::Context;
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::aot;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Cli;
use crate::cli::values::local::local;
use ringsync::Escaped;

/// Print what makes a shell complete options and paths
#[derive(Debug, Args)]
#[command(
    after_help = "For bash: ringsync completions bash > ~/.local/share/bash-completion/completions/ringsync\n\
    For zsh: ringsync completions zsh > DIR/_ringsync, with DIR in $fpath\n\
    For fish: ringsync completions fish > ~/.config/fish/completions/ringsync.fish"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Write the man pages of all commands
#[derive(Debug, Args)]
#[command(after_help = "For one user: ringsync man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Where to put them, a file each; made if it is missing [default: standard output]
    #[arg(value_name = "DIR", value_parser = local())]
    directory: Option<PathBuf>,
}

impl CompletionsArgs {
    /// The script.
    pub(crate) fn script(&self) -> Vec<u8> {
        let shell = match self.shell {
            Shell::Bash => aot::Shell::Bash,
            Shell::Zsh => aot::Shell::Zsh,
            Shell::Fish => aot::Shell::Fish,
        };
        let mut script = Vec::new();
        aot::generate(shell, &mut Cli::command(), "ringsync", &mut script);
        script
    }
}

impl ManArgs {
    /// Writes the pages to the directory, or returns them, one after the other, for standard output.
    ///
    /// # Errors
    /// When the directory can't be made, or a page not be written.
    pub(crate) fn pages(&self) -> anyhow::Result<Vec<u8>> {
        let mut root = Cli::command().disable_help_subcommand(true);
        root.build();
        let commands = std::iter::once(&root).chain(root.get_subcommands());
        let pages = commands.map(|command| page(command, &root)).collect::<io::Result<Vec<_>>>()?;
        let Some(directory) = &self.directory else {
            return Ok(pages.into_iter().flat_map(|page| page.text).collect());
        };
        fs::create_dir_all(directory).with_context(|| format!("create {}", Escaped::path(directory)))?;
        pages.iter().try_for_each(|page| {
            let path = directory.join(&page.file);
            fs::write(&path, &page.text).with_context(|| format!("write {}", Escaped::path(&path)))
        })?;
        Ok(Vec::new())
    }
}

/// A man page and the file that it belongs in.
struct Page {
    file: String,
    text: Vec<u8>,
}

/// The page of a command, which is `root` or one of its subcommands.
fn page(command: &Command, root: &Command) -> io::Result<Page> {
    // The usage that --help shows names no single option, as the sections below do.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let version = format!("ringsync {}", root.get_version().unwrap_or_default());
    let man = Man::new(command.clone().override_usage(usage)).source(version).manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    notes(command, root).to_writer(&mut text)?;
    Ok(Page { file: man.get_filename(), text })
}

/// What --help says below the options, and where to read on.
fn notes(command: &Command, root: &Command) -> Roff {
    let mut roff = Roff::new();
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for (index, paragraph) in notes.split("\n\n").filter(|paragraph| !paragraph.is_empty()).enumerate() {
        match index {
            0 => roff.control("SH", ["NOTES"]),
            _ => roff.control("PP", []),
        };
        for (index, line) in paragraph.lines().enumerate() {
            if index > 0 {
                roff.control("br", []);
            }
            roff.text([roman(line)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    if command.get_name() != root.get_name() {
        roff.text([bold("ringsync"), roman("(1), "), bold("rsync"), roman("(1)")]);
    } else {
        roff.text([bold("rsync"), roman("(1), "), bold("b3sum"), roman("(1)")]);
    }
    roff
}
