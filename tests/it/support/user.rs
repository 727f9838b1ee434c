//! Another user, who owns a part of the trees, or runs the program.

use std::os::unix::fs::lchown;
use std::path::Path;
use std::process::Command;

use super::{Ran, program, run, tool};

/// Another user, and their group. They have no privilege.
pub const ALICE: u32 = 65534;

/// Gives a name, and not what it leads to, to a user and their group.
pub fn give(path: impl AsRef<Path>, user: u32) {
    lchown(path, Some(user), Some(user)).expect("an owner to set");
}

/// The same for all that is below it.
pub fn give_tree(root: &Path, user: u32) {
    tool("chown", &["-hR".as_ref(), format!("{user}:{user}").as_ref(), root.as_os_str()]);
}

/// What runs a command as a user of no privilege, in their own group alone: setpriv(1).
pub fn user(user: u32) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}")]).args(["--clear-groups", "--"]);
    command
}

/// The program, run by alice.
pub fn program_of_alice() -> Command {
    let mut command = user(ALICE);
    command.arg(program());
    command
}

/// Alice runs `ringsync WORDS SRC DST`.
pub fn as_alice(words: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut command = program_of_alice();
    command.args(words).arg(source).arg(destination);
    run(command)
}
