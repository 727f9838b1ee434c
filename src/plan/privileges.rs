//! What this process may change of owner and group (chown(2)), and which attributes it sees (xattr(7)). Root of a user
//! namespace, of a rootless container for example, has power over the ids that are mapped there and over nothing else; root
//! without CAP_CHOWN gives nothing away.

use rustix::thread::CapabilitySet;

use crate::options::Owner;

/// What this process may change of owner and group (chown(2)).
#[derive(Debug, Clone)]
pub(crate) struct Privileges {
    /// Effective user 0: permissions do not bind it.
    pub(crate) root: bool,
    /// It may give files away: to users and groups that `users` and `others` have.
    pub(crate) chown: bool,
    /// The effective user.
    pub(crate) user: u32,
    /// The effective group.
    pub(crate) group: u32,
    /// Groups an unprivileged owner may give its files to.
    pub(crate) groups: Vec<u32>,
    /// Attributes that it sees and may set.
    pub(crate) namespaces: Namespaces,
    /// The users that there are.
    users: Ids,
    /// The groups that there are.
    all_groups: Ids,
}

/// Which attributes a process sees and may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespaces {
    /// `user.*` and ACLs.
    User,
    /// File capabilities as well.
    Capabilities,
    /// `trusted.*` and `security.*` as well.
    All,
}

/// Which attributes a run reads and sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) namespaces: Namespaces,
    /// ACLs.
    pub(crate) acls: bool,
    /// All others.
    pub(crate) xattrs: bool,
}

impl Reach {
    /// All that there are.
    pub(crate) const ALL: Reach = Reach { namespaces: Namespaces::All, acls: true, xattrs: true };
}

/// Ids that a user namespace has.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ids {
    All,
    /// These ranges: the first one, and how many.
    Some(Vec<(u32, u32)>),
}

impl Ids {
    /// Reads a map of proc_pid_uid_map(5): the first id inside, the first outside, and how many. Without one there are no
    /// user namespaces.
    fn of_map(map: &str) -> Self {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
            Some((numbers.next()??, numbers.nth(1)??))
        };
        let ranges: Vec<(u32, u32)> = map.lines().filter_map(range).collect();
        match ranges.as_slice() {
            [] | [(0, u32::MAX)] => Ids::All,
            _ => Ids::Some(ranges),
        }
    }

    fn has(&self, id: u32) -> bool {
        match self {
            Ids::All => true,
            Ids::Some(ranges) => ranges.iter().any(|&(first, count)| id.wrapping_sub(first) < count),
        }
    }
}

impl Privileges {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap_or_default().into_iter().map(|g| g.as_raw()).collect();
        groups.push(rustix::process::getegid().as_raw());
        let user = rustix::process::geteuid();
        let mut may = Privileges::of(user.is_root(), user.as_raw(), groups);
        if !may.root {
            return may;
        }
        let map = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
        may.users = Ids::of_map(&map("/proc/self/uid_map"));
        may.all_groups = Ids::of_map(&map("/proc/self/gid_map"));
        let capabilities = rustix::thread::capabilities(None).map(|sets| sets.effective);
        let has = |one| capabilities.is_ok_and(|all| all.contains(one));
        may.chown = has(CapabilitySet::CHOWN);
        may.namespaces = match () {
            () if may.users == Ids::All && has(CapabilitySet::SYS_ADMIN) => Namespaces::All,
            () if has(CapabilitySet::SETFCAP) => Namespaces::Capabilities,
            () => Namespaces::User,
        };
        may
    }

    /// Those of root with all its power, or of a user without any. The last group is the effective one.
    pub(crate) fn of(root: bool, user: u32, groups: Vec<u32>) -> Self {
        let namespaces = if root { Namespaces::All } else { Namespaces::User };
        let group = groups.last().copied().unwrap_or(user);
        Privileges {
            root,
            chown: root,
            user,
            group,
            groups,
            namespaces,
            users: Ids::All,
            all_groups: Ids::All,
        }
    }

    /// Whether it may give any file to a user.
    pub(crate) fn gives_to_user(&self, user: u32) -> bool {
        self.chown && self.users.has(user)
    }

    /// Whether it may give any file to a group.
    pub(crate) fn gives_to_group(&self, group: u32) -> bool {
        self.chown && self.all_groups.has(group)
    }

    /// Why root has not the power over owners that root has, if so.
    pub(crate) fn limits(&self) -> Option<&'static str> {
        match self {
            Privileges { root: false, .. } => None,
            Privileges { chown: false, .. } => Some("it has not the capability CAP_CHOWN"),
            Privileges { users: Ids::All, all_groups: Ids::All, .. } => None,
            _ => Some("it is root of a user namespace, which has not all users and groups"),
        }
    }

    /// Why this process can't give files to an owner, if it can't.
    pub(crate) fn refusal(&self, owner: &Owner) -> Option<String> {
        let (user, group) = (owner.user.unwrap_or(self.user), owner.group);
        let gives_to_user = user == self.user || self.gives_to_user(user);
        match group {
            _ if !gives_to_user && self.chown => Some(format!("this user namespace has no user {user}")),
            _ if !gives_to_user => Some(format!("only root gives files to user {user}")),
            Some(group) if self.gives_to_group(group) || self.groups.contains(&group) => None,
            Some(group) if self.chown => Some(format!("this user namespace has no group {group}")),
            Some(group) => Some(format!("only root, or who is in it, gives files to group {group}")),
            None => None,
        }
    }
}

impl Owner {
    /// Why this process can't give files to them, if it can't (chown(2)).
    pub fn refusal(&self) -> Option<String> {
        Privileges::of_process().refusal(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_has_the_ids_that_are_mapped() {
        assert_eq!(Ids::of_map("         0          0 4294967295\n"), Ids::All);
        assert_eq!(Ids::of_map(""), Ids::All, "a kernel without user namespaces");
        let some = Ids::of_map("0 1000 1\n1 100000 65536\n");
        assert_eq!([0, 1, 65536, 65537, u32::MAX].map(|id| some.has(id)), [true, true, true, false, false]);
        let mut may = Privileges::of(true, 0, vec![0]);
        may.users = Ids::of_map("0 1000 1");
        assert!(may.gives_to_user(0) && !may.gives_to_user(7) && may.gives_to_group(7));
        assert!(may.limits().is_some() && may.refusal(&Owner { user: Some(7), group: None }).is_some());
        may.chown = false;
        assert!(!may.gives_to_group(0) && may.limits().is_some());
    }
}
