//! The library in a program of one's own: what it refuses before anything begins.

use std::path::Path;
use std::time::Duration;

use ringsync::event::Mode;
use ringsync::event::Silent;
use ringsync::verify::Manifest;
use ringsync::{Config, Delete, DeleteLimit, Error, Hashing, Stop, VerifyConfig};

use crate::support::needs::{Need, tests};
use crate::support::tree::file;
use crate::support::{assert_equal, scratch};

tests![
    a_task_is_refused_before_anything_begins,
    a_ring_s_task_is_refused_too: [Need::Uring],
    threads_that_may_block_are_not_refused,
    what_would_be_ignored_is_refused,
];

/// What each way into the library says to a caller.
fn calls(home: &Path) -> [Result<(), Error>; 3] {
    let config = Config::new(home.join("src"), home.join("dst"));
    let sums = VerifyConfig::new(Manifest::File(home.join("sums")));
    [
        ringsync::sync(&config, &mut Silent, &Stop::default()).map(drop),
        ringsync::check(&config, &mut Silent, &Stop::default()).map(drop),
        ringsync::verify(&sums, &mut Silent, &Stop::default()).map(drop),
    ]
}

#[track_caller]
fn assert_refused(calls: [Result<(), Error>; 3]) {
    for call in calls {
        let error = call.unwrap_err().to_string();
        assert!(error.contains("call it in tokio::task::spawn_blocking"), "{error}");
    }
}

fn prepared() -> tempfile::TempDir {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    file(home.path().join("sums"), "");
    home
}

fn runtimes() -> [tokio::runtime::Runtime; 2] {
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [one, all]
}

fn a_task_is_refused_before_anything_begins() {
    for runtime in runtimes() {
        let home = prepared();
        let path = home.path().to_path_buf();
        runtime.block_on(async { assert_refused(calls(&path)) });
        let task = path.clone();
        runtime.block_on(async { tokio::spawn(async move { assert_refused(calls(&task)) }).await }).unwrap();
        runtime.block_on(tokio::task::unconstrained(async { assert_refused(calls(&path)) }));
        runtime.block_on(async {
            tokio::task::LocalSet::new().run_until(async { assert_refused(calls(&path)) }).await
        });
        assert!(!path.join("dst").exists());
    }
}

fn a_ring_s_task_is_refused_too() {
    let home = prepared();
    tokio_uring::start(async { assert_refused(calls(home.path())) });
    assert!(!home.path().join("dst").exists());
}

fn threads_that_may_block_are_not_refused() {
    for runtime in runtimes() {
        let home = prepared();
        let path = home.path().to_path_buf();
        let [copied, checked, verified] =
            runtime.block_on(async { tokio::task::spawn_blocking(move || calls(&path)).await }).unwrap();
        copied.and(checked).and(verified).unwrap();
        assert_equal(&home.path().join("src"), &home.path().join("dst"));
        // A thread of one's own that knows a runtime, and waits for nothing in it.
        let _context = runtime.enter();
        let [copied, checked, verified] = calls(home.path());
        copied.and(checked).and(verified).unwrap();
    }
    let home = prepared();
    let path = home.path().to_path_buf();
    let [_, all] = runtimes();
    let blocking = async move { tokio::task::block_in_place(|| calls(&path)) };
    let [copied, ..] = all.block_on(async { tokio::spawn(blocking).await }).unwrap();
    copied.unwrap();
}

fn what_would_be_ignored_is_refused() {
    let home = prepared();
    let at = |name: &str| home.path().join(name);
    let config = || Config::new(at("src"), at("dst"));
    let mut configs = Vec::new();
    let mut add = |change: &dyn Fn(&mut Config), why: &'static str| {
        let mut config = config();
        change(&mut config);
        configs.push((config, why));
    };
    let listed = || Hashing::default().with(|hashing| hashing.manifest = Some(at("m")));
    add(&|config| (config.hashing, config.mode) = (Some(listed()), Mode::DryRun), "a dry run writes nothing");
    add(&|config| config.timeout = Some(Duration::ZERO), "a time-out of no time");
    add(&|config| config.buffer = Some(1000), "a multiple of 64 KiB");
    add(&|config| config.jobs = 0, "jobs is at least 1");
    add(&|config| config.depth = 1025, "depth is from 1 to 1024");
    let percent = |most| Delete::default().with(|delete| delete.limit = Some(DeleteLimit::Percent(most)));
    add(&|config| config.delete = Some(percent(101)), "no more than 100 percent");
    for (config, why) in configs {
        let error = ringsync::sync(&config, &mut Silent, &Stop::default()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(!at("dst").exists() && !at("m").exists());
}
