//! Another user at work: a process of this binary that runs as alice until the test lets it go.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::user::ALICE;

/// Set for a process of this binary that is to be an attacker; its value is the place of the attack.
const PLACE: &str = "RINGSYNC_TEST_ATTACK";
/// And which attack it is.
const ATTACK: &str = "RINGSYNC_TEST_ATTACK_NAME";

/// The attacker, who goes when this is dropped, or when the tests end in any other way.
pub struct Attacker(Child);

impl Attacker {
    /// Starts the attack of this name.
    pub fn start(attack: &str, place: &Path) -> Attacker {
        let alice = ALICE.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &alice, "--regid", &alice, "--clear-groups", "--pdeathsig", "KILL"]);
        command.arg(std::env::current_exe().expect("this binary")).env(PLACE, place).env(ATTACK, attack);
        Attacker(command.spawn().expect("an attacker"))
    }

    /// Ends the attack, which must be going on still: it is one that never took place otherwise.
    #[track_caller]
    pub fn stop(mut self) {
        assert!(matches!(self.0.try_wait(), Ok(None)), "the attacker ended before the test");
    }

    /// What this process is to do instead of testing, and where.
    pub fn of_process() -> Option<(String, PathBuf)> {
        let place = std::env::var_os(PLACE)?;
        Some((std::env::var(ATTACK).ok()?, place.into()))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
