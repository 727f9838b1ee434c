//! The machine as this process sees it: the kernel, io_uring, limits, and what this user may do.

use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use crate::doctor::scratch::User;
use crate::report::words;

/// The oldest kernel that ringsync is made for.
const OLDEST: (u32, u32) = (5, 15);
/// What root needs to keep everything, and for what.
const NEEDED: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::CHOWN, OWNERS),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE (files of others)"),
    (CapabilitySet::FOWNER, "CAP_FOWNER (modes and times of others' files)"),
    (CapabilitySet::SETFCAP, "CAP_SETFCAP (file capabilities)"),
    (CapabilitySet::MKNOD, "CAP_MKNOD (devices)"),
    (CapabilitySet::SYS_ADMIN, TRUSTED),
];
const OWNERS: &str = "CAP_CHOWN (owners)";
const TRUSTED: &str = "CAP_SYS_ADMIN (trusted.* attributes)";

/// What is known of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The kernel's release, `6.12.3`.
    pub(crate) kernel: String,
    /// Why io_uring can't be used, and what to do.
    pub(crate) no_ring: Option<String>,
    /// The sysctl kernel.io_uring_disabled, where there is one: 0, 1 (for this user's group alone), 2.
    pub(crate) ring_disabled: Option<u32>,
    /// Files that may be open: now, and how many this process may ask for. `None`: no limit.
    pub(crate) open_files: (Option<u64>, Option<u64>),
    /// Bytes of memory that may be locked.
    pub(crate) locked_memory: Option<u64>,
    /// The effective user.
    pub(crate) user: u32,
    /// The effective group.
    pub(crate) group: u32,
    /// Capabilities that root lacks. Nobody else needs any.
    pub(crate) lacks: Vec<&'static str>,
    /// Users that have a number here. `None`: all.
    pub(crate) users: Option<Vec<Ids>>,
    pub(crate) groups: Option<Vec<Ids>>,
}

/// Consecutive numbers of users or groups, as this process sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Machine {
    pub(crate) fn find() -> Machine {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let files = getrlimit(Resource::Nofile);
        let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let ids = |path: &str| read(path).and_then(|map| ids_of(&map));
        Machine {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            no_ring: ringsync::ring_refusal().map(|cause| cause.told(words::option).into_owned()),
            ring_disabled: read("/proc/sys/kernel/io_uring_disabled")
                .and_then(|text| text.trim().parse().ok()),
            open_files: (files.current, files.maximum),
            locked_memory: getrlimit(Resource::Memlock).current,
            user,
            group,
            lacks: if user == 0 { lacking(held) } else { Vec::new() },
            users: ids("/proc/self/uid_map"),
            groups: ids("/proc/self/gid_map"),
        }
    }

    /// Whether the kernel is older than ringsync is made for. What is not a number is taken for new.
    pub(crate) fn is_old(&self) -> bool {
        let mut numbers = self.kernel.split(['.', '-', '+']).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < OLDEST,
            _ => false,
        }
    }

    /// Whether this process sees `trusted.*` attributes: others, root of a user namespace among them, find none (xattr(7)).
    pub(crate) fn has_trusted(&self) -> bool {
        self.user == 0 && self.users.is_none() && !self.lacks.contains(&TRUSTED)
    }

    /// Who tries what a place can hold.
    pub(crate) fn user(&self) -> User {
        let others = (another(self.users.as_deref(), self.user), another(self.groups.as_deref(), self.group));
        let unmapped = self.users.as_deref().and_then(outside);
        User { is_root: self.user == 0, has_trusted: self.has_trusted(), others, unmapped }
    }

    /// Whether owners that can't be given are left as they are, without an error: as `sync` does for root of a user
    /// namespace and for root without the capability.
    pub(crate) fn leaves_owners(&self) -> bool {
        self.users.is_some() || self.lacks.contains(&OWNERS)
    }
}

fn lacking(held: CapabilitySet) -> Vec<&'static str> {
    NEEDED.iter().filter(|(needed, _)| !held.contains(*needed)).map(|(_, name)| *name).collect()
}

/// The ids of a user namespace (user_namespaces(7), `uid_map`: first inside, first outside, count), unless it has all.
fn ids_of(map: &str) -> Option<Vec<Ids>> {
    let ids: Vec<Ids> = map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            let (first, _, count) = (numbers.next()??, numbers.next()?, numbers.next()??);
            Some(Ids { first, count })
        })
        .collect();
    // The largest number means nobody.
    (!ids.iter().any(|ids| ids.first == 0 && ids.count == u32::MAX)).then_some(ids)
}

/// Some other id than `own` that is known here.
fn another(ids: Option<&[Ids]>, own: u32) -> Option<u32> {
    let Some(ids) = ids else { return Some(if own == 12_345 { 12_346 } else { 12_345 }) };
    let ends = ids.iter().filter(|ids| ids.count > 0).flat_map(|ids| {
        let last = ids.first.saturating_add(ids.count - 1);
        [last, ids.first]
    });
    ends.into_iter().find(|id| *id != own)
}

/// An id that is not known here.
fn outside(ids: &[Ids]) -> Option<u32> {
    let is_known = |id: u32| ids.iter().any(|ids| id >= ids.first && id - ids.first < ids.count);
    let after = ids.iter().filter_map(|ids| ids.first.checked_add(ids.count));
    // The largest number means nobody.
    after.chain([0]).find(|id| *id != u32::MAX && !is_known(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_id_maps() {
        let ids = |first, count| Ids { first, count };
        assert_eq!(ids_of("         0          0 4294967295\n"), None);
        assert_eq!(ids_of("0 1000 1\n"), Some(vec![ids(0, 1)]));
        assert_eq!(ids_of("0 1000 1\n1 100000 65536\n"), Some(vec![ids(0, 1), ids(1, 65536)]));
        assert_eq!(ids_of(""), Some(vec![]));
    }

    #[test]
    fn another_id_is_one_that_is_mapped() {
        let ids = |first, count| Ids { first, count };
        assert_eq!(another(None, 0), Some(12_345));
        assert_eq!(another(None, 12_345), Some(12_346));
        assert_eq!(another(Some(&[ids(0, 1)]), 0), None);
        assert_eq!(another(Some(&[]), 0), None);
        assert_eq!(another(Some(&[ids(0, 1), ids(1, 10)]), 0), Some(10));
        assert_eq!(another(Some(&[ids(0, 2)]), 1), Some(0));
    }

    #[test]
    fn an_id_from_outside_is_not_mapped() {
        let ids = |first, count| Ids { first, count };
        assert_eq!(outside(&[]), Some(0));
        assert_eq!(outside(&[ids(0, 1)]), Some(1));
        assert_eq!(outside(&[ids(0, 1), ids(1, 65536)]), Some(65537));
        assert_eq!(outside(&[ids(0, u32::MAX)]), None);
    }

    #[test]
    fn old_kernels_are_told() {
        for (kernel, is_old) in [
            ("5.14.21", true),
            ("4.18.0-553.el8", true),
            ("5.15.0-91-generic", false),
            ("6.1", false),
            ("x", false),
        ] {
            let machine = Machine { kernel: kernel.into(), ..Machine::default() };
            assert_eq!(machine.is_old(), is_old, "{kernel}");
        }
    }

    #[test]
    fn trusted_attributes_are_for_root_outside_of_containers() {
        let machine = |user, users, lacks| Machine { user, users, lacks, ..Machine::default() };
        assert!(machine(0, None, vec![]).has_trusted());
        assert!(!machine(1, None, vec![]).has_trusted());
        assert!(!machine(0, Some(vec![]), vec![]).has_trusted());
        assert!(!machine(0, None, vec![TRUSTED]).has_trusted());
    }

    #[test]
    fn root_without_a_capability_lacks_it() {
        assert_eq!(lacking(CapabilitySet::all()), Vec::<&str>::new());
        assert_eq!(lacking(CapabilitySet::all() - CapabilitySet::MKNOD), ["CAP_MKNOD (devices)"]);
    }
}
