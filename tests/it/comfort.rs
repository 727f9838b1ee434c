//! What makes the program pleasant: completions, man pages, help that fits the screen, and usage errors that say what
//! to write instead.

use std::fs;
use std::process::Command;

use crate::support::needs::{Need, on_path, tests};
use crate::support::tree::file;
use crate::support::{Ran, program, run, scratch, tool};

tests![
    bash_completes_commands_options_and_values: [Need::Tool("bash")],
    zsh_and_fish_take_their_completions,
    man_pages_have_no_errors: [Need::Tool("groff")],
    man_pages_name_every_option,
    man_pages_that_can_not_be_written_are_an_error,
    a_mistyped_word_gets_the_right_one,
    habits_of_rsync_get_advice,
    a_missing_command_is_named,
    help_fits_the_screen: [Need::Tool("script")],
    colours_can_be_turned_off: [Need::Tool("script")],
    a_display_needs_more_than_a_dumb_terminal: [Need::Tool("script")],
];

const COMMANDS: [&str; 5] = ["sync", "check", "verify", "completions", "man"];

fn ringsync(arguments: &[&str]) -> Ran {
    let mut command = Command::new(program());
    command.args(arguments);
    run(command)
}

/// What bash offers for the last of these words.
fn bash_offers(script: &str, words: &[&str]) -> Vec<String> {
    let home = scratch();
    file(home.path().join("ringsync.bash"), script);
    file(home.path().join("photos"), "");
    // As readline does: the function that is registered, with the command, the word, and the one before it.
    let ask = r#"
        . ./ringsync.bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        function=$(complete -p ringsync); function=${function#*-F }; function=${function%% *}
        "$function" ringsync "${@: -1}" "${@: -2:1}"
        ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-uc", ask, "bash"]).args(words).current_dir(home.path());
    let ran = run(command).exits(0);
    assert_eq!(ran.err, "");
    ran.out.lines().map(String::from).collect()
}

fn bash_completes_commands_options_and_values() {
    let script = ringsync(&["completions", "bash"]).exits(0).out;
    let offers = |words: &[&str]| bash_offers(&script, words);
    assert_eq!(offers(&["ringsync", "sy"]), ["sync"]);
    let commands = offers(&["ringsync", ""]);
    assert!(COMMANDS.iter().all(|name| commands.iter().any(|offered| offered == name)), "{commands:?}");
    assert_eq!(offers(&["ringsync", "sync", "--max-d"]), ["--max-delete"]);
    let delete = offers(&["ringsync", "sync", "-n", "--delete"]);
    assert!(delete.contains(&"--delete-excluded".into()), "{delete:?}");
    assert!(delete.iter().all(|option| option.starts_with("--delete")), "{delete:?}");
    assert_eq!(offers(&["ringsync", "sync", "--reflink", "al"]), ["always"]);
    assert_eq!(offers(&["ringsync", "sync", "--manifest", "ph"]), ["photos"]);
    assert_eq!(offers(&["ringsync", "completions", "f"]), ["fish"]);
    assert_eq!(offers(&["ringsync", "verify", "--delete"]), [""; 0]);
}

fn zsh_and_fish_take_their_completions() {
    let home = scratch();
    for (shell, check) in [("zsh", ["-f", "-n"]), ("fish", ["--no-config", "--no-execute"])] {
        let script = ringsync(&["completions", shell]).exits(0).out;
        assert!(script.contains("delete-excluded") && script.contains("max-size"), "{script}");
        if !on_path(shell) {
            eprintln!("skipped: reading completions in {shell}: needs the program {shell}");
            continue;
        }
        let path = home.path().join(shell);
        file(&path, &script);
        let mut command = Command::new(shell);
        command.args(check).arg(&path).env("HOME", home.path());
        let ran = run(command).exits(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""), "{shell}");
    }
    if on_path("fish") {
        let mut command = Command::new("fish");
        let ask = "source $argv[1]; complete -C 'ringsync sync --max-d'";
        command.args(["--no-config", "-c", ask]).arg(home.path().join("fish")).env("HOME", home.path());
        assert!(run(command).exits(0).out.starts_with("--max-delete\t"));
    }
}

fn man_pages_have_no_errors() {
    let home = scratch();
    let directory = home.path().join("new/man1");
    assert_eq!(ringsync(&["man", directory.to_str().unwrap()]).exits(0).out, "");
    let pages: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(pages.len(), ringsync_commands().len() + 1, "{pages:?}");
    let together = home.path().join("together");
    file(&together, ringsync(&["man"]).exits(0).out);
    for page in pages.iter().chain([&together]) {
        let mut command = Command::new("groff");
        command.args(["-man", "-Tutf8", "-ww", "-z"]).arg(page);
        let ran = run(command).exits(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""), "{}", page.display());
    }
    let text =
        tool("groff", &["-man", "-Tascii", "-P-cbu", directory.join("ringsync-sync.1").to_str().unwrap()]);
    assert!(text.contains("ringsync sync [OPTIONS] <SRC> <DST>"), "{text}");
}

/// The commands that --help names, but for help.
fn ringsync_commands() -> Vec<String> {
    let help = ringsync(&["--help"]).exits(0).out;
    let from = help.split("Commands:\n").nth(1).expect("commands");
    let names =
        from.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(String::from).collect()
}

/// The long options that a command's --help names.
pub fn long_options(command: &str) -> Vec<String> {
    let help = ringsync(&[command, "--help"]).exits(0).out;
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    words.map(|word| word.trim_end_matches("...").to_owned()).collect()
}

fn man_pages_name_every_option() {
    let home = scratch();
    ringsync(&["man", home.path().to_str().unwrap()]).exits(0);
    // What rsync's options do is in the page of rsync.
    for name in ringsync_commands().into_iter().filter(|name| name != "rsync") {
        let page = fs::read_to_string(home.path().join(format!("ringsync-{name}.1"))).unwrap();
        let options = long_options(&name);
        assert!(options.len() > 20 || name != "sync", "{options:?}");
        for option in options {
            assert!(page.contains(&option.replace('-', "\\-")), "{option} is not in the page of {name}");
        }
        assert!(page.contains(".SH \"SEE ALSO\""), "{page}");
    }
}

fn man_pages_that_can_not_be_written_are_an_error() {
    let home = scratch();
    let taken = home.path().join("taken");
    file(&taken, "");
    let ran = ringsync(&["man", taken.to_str().unwrap()]).exits(3);
    assert!(ran.err.contains("create ") && ran.err.contains("taken: "), "{}", ran.err);
    let full = |words: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{} {words} >/dev/full", program().display())]);
        run(command)
    };
    for words in ["man", "completions bash"] {
        let ran = full(words).exits(23);
        assert!(ran.err.contains("write standard output: No space left"), "{}", ran.err);
    }
}

fn a_mistyped_word_gets_the_right_one() {
    for (mistyped, right) in [
        (&["sync", "--exlude", "x", "a", "b"][..], "'--exclude'"),
        (&["sync", "--delte", "a", "b"], "'--delete'"),
        (&["check", "--chekcsum", "a", "b"], "'--checksum'"),
        (&["sync", "--reflink", "alway", "a", "b"], "'always'"),
        (&["snyc", "a", "b"], "'sync'"),
        (&["chekc", "a", "b"], "'check'"),
    ] {
        let ran = ringsync(mistyped).exits(1);
        let tip = ran.err.lines().find(|line| line.starts_with("  tip: ")).unwrap_or_default();
        assert!(tip.ends_with(right), "{mistyped:?}: {}", ran.err);
    }
}

fn habits_of_rsync_get_advice() {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    let first_line = |words: &str| {
        let mut command = Command::new(program());
        command.args(words.split(' ')).current_dir(home.path());
        let err = run(command).exits(1).err;
        assert!(!err.contains("tip: "), "{err}");
        err.lines().next().unwrap_or_default().to_owned()
    };
    for (words, advice) in [
        ("sync -aHAX --delete src dst", "leave out -a, -H, -A, -X: ringsync always does what they stand for"),
        ("sync -r src dst", "leave out -r: ringsync always does what it stands for"),
        ("check -rlptgoD src dst", "leave out -r, -l, -p, -t, -g, -o, -D: "),
        ("sync --archive src dst", "leave out --archive: "),
        ("sync --hard-links --numeric-ids src dst", "leave out --hard-links, --numeric-ids: "),
        ("sync -z src dst", "leave out -z: both trees are on this machine"),
        ("sync -U src dst", "there is no -U: access and creation times are not kept"),
        ("sync --no-D src dst", "there is no --no-D: use --no-devices and --no-specials"),
    ] {
        let line = first_line(words);
        assert!(line.starts_with(&format!("error: {advice}")), "{words}: {line}");
    }
    assert!(!home.path().join("dst").exists());
}

fn a_missing_command_is_named() {
    for words in [&["photos", "dst"][..], &["-v", "src", "dst"], &["--delete", "src", "dst"]] {
        let err = ringsync(words).exits(1).err;
        assert!(err.contains("a command comes first: ringsync sync SRC DST"), "{words:?}: {err}");
    }
}

/// What a terminal would get, with variables set or, as `None`, unset.
fn on_terminal(words: &str, variables: &[(&str, Option<&str>)]) -> Ran {
    let line = format!("stty rows 50 cols 80; {} {words}", program().display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    run(command)
}

fn help_fits_the_screen() {
    for name in ringsync_commands() {
        let help = on_terminal(&format!("{name} --help"), &[("NO_COLOR", Some("1"))]).exits(0).out;
        let widest = help.lines().map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|widest| (60..=80).contains(&widest)), "{widest:?}: {help}");
        assert!(!help.contains("\r\n          \r\n"), "options stand line under line: {help}");
        let same = on_terminal(&format!("help {name}"), &[("NO_COLOR", Some("1"))]).exits(0).out;
        assert_eq!(help, same);
    }
    let help = on_terminal("sync --help", &[("NO_COLOR", Some("1"))]);
    assert_eq!(help.out, on_terminal("sync -h", &[("NO_COLOR", Some("1"))]).exits(0).out);
}

fn colours_can_be_turned_off() {
    for (words, code) in [("sync --help", 0), ("sync --nonsense", 1)] {
        let escapes = |variables: &[_]| on_terminal(words, variables).exits(code).out.contains('\x1b');
        assert!(escapes(&[]), "{words} has colours where they are wanted");
        assert!(!escapes(&[("NO_COLOR", Some("1"))]), "{words}");
        assert!(!escapes(&[("TERM", Some("dumb"))]), "{words}");
    }
}

fn a_display_needs_more_than_a_dumb_terminal() {
    let home = scratch();
    for index in 0..500 {
        file(home.path().join(format!("src/d{}/file{index}", index % 9)), "x");
    }
    let mirror = |name: &str, variables: &[_]| {
        let (source, destination) = (home.path().join("src"), home.path().join(name));
        let ran = on_terminal(&format!("sync {} {}", source.display(), destination.display()), variables);
        crate::support::assert_equal(&source, &destination);
        ran.exits(0).out
    };
    // A colour is ESC, [, numbers, m; all other sequences move the cursor or erase.
    let coloured = |text: &str| {
        text.split("\x1b[")
            .skip(1)
            .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
    };
    for (name, value) in [("plain", Some("dumb")), ("unset", None)] {
        let out = mirror(name, &[("TERM", value)]);
        assert!(!out.contains('\x1b'), "{out:?}");
        assert!(out.trim_end().lines().count() == 1 && out.contains("created; "), "{out:?}");
    }
    let out = mirror("uncoloured", &[("NO_COLOR", Some("1"))]);
    assert!(out.contains("created; ") && !coloured(&out), "{out:?}");
    assert!(coloured("\x1b[1;31mred") && !coloured("\x1b[2K"));
}
