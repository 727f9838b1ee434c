//! What this process may change of owner and group (chown(2)).

use crate::options::Owner;

/// What this process may change of owner and group (chown(2)).
#[derive(Debug, Clone)]
pub(crate) struct Privileges {
    /// Effective user 0: may give files away, and sees every namespace of attributes.
    pub(crate) root: bool,
    /// The effective user.
    pub(crate) user: u32,
    /// Groups an unprivileged owner may give its files to.
    pub(crate) groups: Vec<u32>,
}

impl Privileges {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap_or_default().into_iter().map(|g| g.as_raw()).collect();
        groups.push(rustix::process::getegid().as_raw());
        let user = rustix::process::geteuid();
        Privileges { root: user.is_root(), user: user.as_raw(), groups }
    }

    /// Why this process can't give files to an owner, if it can't.
    pub(crate) fn refusal(&self, owner: &Owner) -> Option<String> {
        let (user, group) = (owner.user.unwrap_or(self.user), owner.group);
        match group {
            _ if self.root => None,
            _ if user != self.user => Some(format!("only root gives files to user {user}")),
            Some(group) if !self.groups.contains(&group) => {
                Some(format!("only root, or who is in it, gives files to group {group}"))
            }
            _ => None,
        }
    }
}

impl Owner {
    /// Why this process can't give files to them, if it can't (chown(2)).
    pub fn refusal(&self) -> Option<String> {
        Privileges::of_process().refusal(self)
    }
}
