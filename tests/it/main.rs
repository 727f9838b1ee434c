//! The integration tests: one binary, a module a promise. A test whose needs the machine does not meet says so in a
//! line and counts as ignored; with `RINGSYNC_TEST_ALL=1` it fails instead.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adopted;
mod again;
mod alt_dest;
mod bench;
mod beneath;
mod bounded;
mod bwlimit;
mod cancel;
mod check;
mod cloned;
mod closing;
mod comfort;
mod compare;
mod copy;
mod copy_refused;
mod crashed;
mod delete;
mod delete_when;
mod disks;
mod display;
mod docs;
mod doctor;
mod durable;
mod engines;
mod errors;
mod faithful;
mod faults;
mod first_use;
mod flags;
mod followed;
mod frozen;
mod fuse;
mod gain;
mod guide;
mod hostile;
mod inplace;
mod keeps;
mod lacks;
mod leaving;
mod left_modes;
mod levels;
mod library;
mod links;
mod lists;
mod live;
mod look_back;
mod look_doubt;
mod manifest;
mod mapped;
mod mistakes;
mod modes;
mod moving;
mod named;
mod names;
mod nested;
mod nights;
mod old;
mod older_kernels;
mod planted;
mod property;
mod real;
mod reality;
mod recased;
mod report;
mod rings;
mod rsync;
mod rsync_keeps;
mod schema;
mod secret;
mod select;
mod show;
mod snapshots;
mod spared;
mod store_attacks;
mod store_rules;
mod store_stuck;
mod subvolumes;
mod support;
mod swapped;
mod tight;
mod timeout;
mod told;
mod torn;
mod two_runs;
mod unread;
mod unstuck;
mod verify;
mod whole;

use libtest_mimic::{Arguments, Trial};
use support::attacker::Attacker;
use support::needs::Test;

fn main() {
    match Attacker::of_process() {
        Some((attack, place)) if attack == "plant" => planted::attack(&place),
        Some((_, place)) => hostile::attack(&place),
        None => {}
    }
    if std::env::var_os(support::STATE).is_none() {
        support::with_state_of_its_own();
    }
    support::key(); // it is there: some tests count the system calls of a run
    let all = support::everything();
    let tests = [
        adopted::TESTS,
        again::TESTS,
        alt_dest::TESTS,
        bench::TESTS,
        beneath::TESTS,
        bounded::TESTS,
        bwlimit::TESTS,
        cancel::TESTS,
        check::TESTS,
        cloned::TESTS,
        closing::TESTS,
        comfort::TESTS,
        crashed::TESTS,
        delete::TESTS,
        delete_when::TESTS,
        compare::TESTS,
        disks::TESTS,
        display::TESTS,
        docs::TESTS,
        doctor::TESTS,
        copy::TESTS,
        copy_refused::TESTS,
        durable::TESTS,
        engines::TESTS,
        errors::TESTS,
        faithful::TESTS,
        faults::TESTS,
        first_use::TESTS,
        flags::TESTS,
        followed::TESTS,
        frozen::TESTS,
        fuse::TESTS,
        gain::TESTS,
        guide::TESTS,
        hostile::TESTS,
        inplace::TESTS,
        keeps::TESTS,
        lacks::TESTS,
        left_modes::TESTS,
        leaving::TESTS,
        levels::TESTS,
        links::TESTS,
        live::TESTS,
        lists::TESTS,
        look_back::TESTS,
        look_doubt::TESTS,
        library::TESTS,
        manifest::TESTS,
        mapped::TESTS,
        mistakes::TESTS,
        modes::TESTS,
        moving::TESTS,
        named::TESTS,
        names::TESTS,
        nights::TESTS,
        nested::TESTS,
        old::TESTS,
        older_kernels::TESTS,
        planted::TESTS,
        property::TESTS,
        real::TESTS,
        reality::TESTS,
        recased::TESTS,
        secret::TESTS,
        select::TESTS,
        report::TESTS,
        rings::TESTS,
        rsync::TESTS,
        rsync_keeps::TESTS,
        schema::TESTS,
        show::TESTS,
        snapshots::TESTS,
        store_attacks::TESTS,
        store_rules::TESTS,
        store_stuck::TESTS,
        subvolumes::TESTS,
        spared::TESTS,
        swapped::TESTS,
        tight::TESTS,
        timeout::TESTS,
        told::TESTS,
        torn::TESTS,
        two_runs::TESTS,
        unread::TESTS,
        unstuck::TESTS,
        verify::TESTS,
        whole::TESTS,
    ];
    let trials = tests.into_iter().flatten().map(|test| trial(test, all)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(test: &'static Test, all: bool) -> Trial {
    let missing = test.needs.iter().find_map(|need| need.missing());
    match missing {
        None => Trial::test(test.name, || {
            (test.run)();
            Ok(())
        }),
        Some(what) if all => Trial::test(test.name, move || Err(format!("needs {what}").into())),
        Some(what) => {
            eprintln!("skipped: {}: needs {what}", test.name);
            Trial::test(test.name, || Ok(())).with_ignored_flag(true)
        }
    }
}
