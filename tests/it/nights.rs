//! Nights of a backup, one after the other, with what goes wrong in the years of a real one: runs that are killed, full disks, a
//! source that is not mounted, wrong clocks, files that can't be read. The clock is libfaketime's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::snapshots::{name_of, names, source};
use crate::support::chance::Chance;
use crate::support::mount::Image;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise};
use crate::support::user::{ALICE, give_tree, user};
use crate::support::{Ran, assert_equal, finish, is_long, program, scratch, tool};

tests![
    nights_in_which_much_goes_wrong: [
        Need::FileSystem("ext4"), Need::Tool("setpriv"), Need::Tool("faketime"), Need::Tool("fallocate")
    ],
];

/// The rules of each night: how many days, weeks and months.
const RULES: [&str; 5] = ["--prune", "--yes", "--keep-daily=6", "--keep-weekly=3", "--keep-monthly=2"];
const DAY: i64 = 86_400;
/// 2026-01-05, a Monday, at 02:30.
const BEGIN: i64 = 1_767_580_200;

/// A snapshot, as the test knows it.
#[derive(Debug, Clone)]
struct Known {
    name: String,
    time: i64,
    complete: bool,
    night: u32,
}

/// What goes wrong in a night.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Killed,
    NoRoom,
    NotMounted,
    Unreadable,
    ClockBehind,
    ClockAhead,
}

struct Backup {
    home: tempfile::TempDir,
    source: PathBuf,
    store: PathBuf,
    snapshots: Vec<Known>,
    chance: Chance,
}

impl Backup {
    fn state(&self, night: u32) -> PathBuf {
        self.home.path().join(format!("state-{night}"))
    }

    /// Some files change, some come, some go, and a directory gets another name.
    fn change(&mut self, night: u32) {
        let source = &self.source;
        for _ in 0..6 {
            let number = (self.chance.next() * 20.0) as u64;
            file(source.join(format!("d{}/f{number}", number % 3)), noise(number + u64::from(night), 1500));
        }
        file(source.join(format!("new/{night}")), noise(u64::from(night), 30_000));
        fs::remove_file(source.join(format!("new/{}", night.saturating_sub(7)))).ok();
        let [old, new] =
            [night.saturating_sub(1), night].map(|night| source.join(format!("project-{night}")));
        if fs::rename(&old, &new).is_err() {
            file(new.join("deep/file"), noise(1, 200_000));
        }
        give_tree(source, ALICE);
        tool("cp", &["-a".as_ref(), source.as_os_str(), self.state(night).as_os_str()]);
    }

    /// Begins a run, at this time of its clock.
    fn begin(&self, time: i64, source: &Path) -> Child {
        let mut command: Command = user(ALICE);
        let clock = jiff::Timestamp::from_second(time).unwrap().strftime("@%Y-%m-%d %H:%M:%S").to_string();
        command.args(["faketime", "-f", &clock]).arg(program()).args(["snapshot", "take"]).args(RULES);
        command.arg(source).arg(&self.store);
        // Times of files stay what they are, and so does the clock that only counts.
        command.env("TZ", "UTC").env("NO_FAKE_STAT", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn night(&mut self, night: u32, trouble: Trouble) {
        self.change(night);
        let shift = match trouble {
            Trouble::ClockBehind => -3 * DAY + 1020,
            Trouble::ClockAhead => 20 * DAY + 2040,
            _ => 0,
        };
        let time = BEGIN + i64::from(night) * DAY + shift;
        let secret = self.source.join("d1/f1");
        let filler = self.store.with_file_name("filler");
        let empty = self.home.path().join("empty");
        match trouble {
            Trouble::Unreadable => {
                std::os::unix::fs::chown(&secret, Some(0), Some(0)).unwrap();
                mode(&secret, 0o600);
                let around = self.state(night).join("d1");
                fs::remove_file(around.join("f1")).unwrap();
                tool("touch", &["-r".as_ref(), self.source.join("d1").as_os_str(), around.as_os_str()]);
            }
            Trouble::NoRoom => {
                let stat = rustix::fs::statvfs(filler.parent().unwrap()).unwrap();
                let most = (stat.f_bavail * stat.f_frsize).saturating_sub(100 << 10);
                tool("fallocate", &["-l", &most.to_string(), filler.to_str().unwrap()]);
                file(self.source.join("large"), noise(u64::from(night), 3 << 20));
                give_tree(&self.source.join("large"), ALICE);
            }
            _ => {}
        }
        let taken_of = if trouble == Trouble::NotMounted { &empty } else { &self.source };
        let mut child = self.begin(time, taken_of);
        if trouble == Trouble::Killed {
            let (begun, moment) = (Instant::now(), Duration::from_secs_f64(self.chance.next() * 0.15));
            while begun.elapsed() < moment && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            // faketime(1) has become the program itself.
            child.kill().unwrap();
        }
        let ran = finish(child, Duration::from_secs(60));
        self.judge(night, time, trouble, &ran);
        fs::remove_file(&filler).ok();
        fs::remove_file(self.source.join("large")).ok();
        if trouble == Trouble::Unreadable {
            mode(&secret, 0o644);
        }
    }

    /// Whether the run did what it had to, and the store has what it has to.
    fn judge(&mut self, night: u32, time: i64, trouble: Trouble, ran: &Ran) {
        let expected: &[Option<i32>] = match trouble {
            Trouble::None | Trouble::ClockBehind | Trouble::ClockAhead => &[Some(0)],
            Trouble::Unreadable => &[Some(23)],
            Trouble::NotMounted => &[Some(25)],
            // What the rules release may not be enough.
            Trouble::NoRoom => &[Some(11)],
            Trouble::Killed => &[Some(0), None],
        };
        assert!(expected.contains(&ran.code), "night {night}, {trouble:?}: {ran:#?}");
        let there = names(&self.store);
        let known = |name: &String, complete| Known { name: name.clone(), time, complete, night };
        match ran.code {
            Some(0 | 23) => self.snapshots.push(known(&name_of(ran), ran.code == Some(0))),
            // It had its name already.
            _ => self.snapshots.extend(
                there
                    .last()
                    .filter(|last| !self.snapshots.iter().any(|known| known.name == **last))
                    .map(|last| known(last, true)),
            ),
        }
        let kept = match trouble {
            // Room is made as if the night's snapshot was there.
            Trouble::NoRoom => {
                let name =
                    jiff::Timestamp::from_second(time).unwrap().strftime("%Y-%m-%d_%H%M%SZ").to_string();
                let coming = Known { name: name.clone(), time, complete: true, night };
                let mut kept = kept(&[&self.snapshots[..], &[coming]].concat(), time);
                kept.retain(|kept| *kept != name);
                kept
            }
            _ => kept(&self.snapshots, time),
        };
        match ran.code {
            Some(0 | 23) => assert_eq!(there, kept, "night {night}, {trouble:?}"),
            Some(25) => assert!(self.snapshots.iter().all(|known| there.contains(&known.name))),
            _ => assert!(kept.iter().all(|name| there.contains(name)), "night {night}: {kept:?}, {there:?}"),
        }
        self.snapshots.retain(|known| there.contains(&known.name));
        for known in &self.snapshots {
            assert_equal(&self.state(known.night), &self.store.join(&known.name));
        }
        let latest = fs::read_link(self.store.join("latest")).ok();
        assert_eq!(latest, there.last().map(PathBuf::from), "night {night}");
    }
}

/// Two snapshots for which this gives the same lie in one period.
type Period<'a> = &'a dyn Fn(&Known) -> String;

/// What the rules name: the newest complete one of each day, week and month, as far back as there are to be.
fn named(right: &[Known]) -> Vec<String> {
    let text = |known: &Known, format| {
        jiff::Timestamp::from_second(known.time).unwrap().strftime(format).to_string()
    };
    // 1970-01-01 was a Thursday.
    let week = |known: &Known| ((known.time / DAY + 3) / 7).to_string();
    let day = |known: &Known| text(known, "%Y-%m-%d");
    let month = |known: &Known| text(known, "%Y-%m");
    let rules: [(usize, Period); 3] = [(6, &day), (3, &week), (2, &month)];
    let newest_first: Vec<&Known> = right.iter().rev().collect();
    let mut names = Vec::new();
    for (count, period) in rules {
        let groups: Vec<&[&Known]> =
            newest_first.chunk_by(|one, other| period(one) == period(other)).collect();
        for group in groups.iter().take(count) {
            let best = group.iter().find(|known| known.complete).unwrap_or(&group[0]);
            names.push(best.name.clone());
        }
        if let Some(oldest) = right.first().filter(|_| groups.len() < count) {
            names.push(oldest.name.clone());
        }
    }
    names
}

/// How many can be chosen so that each is dated no earlier than the one before it.
fn longest(snapshots: &[Known]) -> usize {
    let mut lengths = Vec::new();
    for (at, known) in snapshots.iter().enumerate() {
        let before = (0..at).filter(|&earlier| snapshots[earlier].time <= known.time);
        lengths.push(1 + before.map(|earlier| lengths[earlier]).max().unwrap_or(0));
    }
    lengths.into_iter().max().unwrap_or(0)
}

/// What stays: what the rules name of those whose dates are right; what is ahead; and what has a date out of order, if the rules
/// would name it with the date of the right one before it, or after it.
fn kept(snapshots: &[Known], now: i64) -> Vec<String> {
    let ahead = |known: &Known| known.time > now + 3600;
    let without = |left_out: Option<usize>| -> Vec<Known> {
        let all = snapshots.iter().enumerate();
        let others = all.filter(|(at, known)| !ahead(known) && Some(*at) != left_out);
        others.map(|(_, known)| known.clone()).collect()
    };
    let is_right =
        |at: usize| !ahead(&snapshots[at]) && longest(&without(Some(at))) < longest(&without(None));
    let places = || 0..snapshots.len();
    let right: Vec<Known> = places().filter(|&at| is_right(at)).map(|at| snapshots[at].clone()).collect();
    let mut names = named(&right);
    names.extend(snapshots.iter().rev().find(|known| known.complete).map(|known| known.name.clone()));
    for at in places().filter(|&at| !is_right(at)) {
        let wrong = &snapshots[at];
        let (before, after) = right.split_at(right.iter().filter(|known| known.night < wrong.night).count());
        let stays_beside = |near: &Known| {
            let beside = Known { time: near.time, ..wrong.clone() };
            named(&[before, &[beside], after].concat()).contains(&wrong.name)
        };
        if ahead(wrong)
            || right.is_empty()
            || before.last().into_iter().chain(after.first()).any(stays_beside)
        {
            names.push(wrong.name.clone());
        }
    }
    let all = snapshots.iter().map(|known| known.name.clone());
    all.filter(|name| names.contains(name)).collect()
}

fn nights_in_which_much_goes_wrong() {
    let home = scratch();
    mode(home.path(), 0o755);
    let source = source(home.path());
    fs::create_dir(home.path().join("empty")).unwrap();
    let image = Image::new("ext4", "48M", &["-m", "0"]);
    let mount = image.mount();
    mode(mount.path().parent().unwrap(), 0o755);
    let store = mount.path().join("store");
    fs::create_dir(&store).unwrap();
    give_tree(&store, ALICE);
    let chance = Chance::of(40);
    let mut backup = Backup { home, source, store, snapshots: Vec::new(), chance };
    let mut seen = Vec::new();
    for night in 0..if is_long() { 200 } else { 40 } {
        let trouble = match night {
            0 => Trouble::None,
            // Time comes to these dates while they are there.
            4..7 => Trouble::ClockAhead,
            7 => Trouble::NotMounted,
            8 | 26 => Trouble::ClockBehind,
            10 => Trouble::NoRoom,
            _ => match (backup.chance.next() * 10.0) as u32 {
                0 | 1 => Trouble::Killed,
                2 => Trouble::NoRoom,
                3 => Trouble::NotMounted,
                4 => Trouble::Unreadable,
                _ => Trouble::None,
            },
        };
        backup.night(night, trouble);
        seen.push(trouble);
    }
    assert!(seen.contains(&Trouble::Killed) && seen.contains(&Trouble::Unreadable), "{seen:?}");
}
