//! Whole mirrors, as a user runs them, on a scratch directory. They guard against a change that makes the pipeline
//! slower; figures against other programs need interleaved runs and are not made here.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringsync::report::Silent;
use ringsync::{Config, Stop};

/// A place on a tmpfs, where the machine has one: no disk's mood is measured.
fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
}

fn small_tree(root: &Path) {
    for directory in 0..50 {
        let path = root.join(format!("d{directory}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..40 {
            fs::write(path.join(format!("f{file}")), vec![file as u8; 100 * file]).unwrap();
        }
    }
}

fn mirror(source: &Path, destination: &Path) {
    let summary = ringsync::sync(&Config::new(source, destination), &mut Silent, &Stop::default()).unwrap();
    assert_eq!(summary.totals.errors, 0);
}

fn benches(criterion: &mut Criterion) {
    let home = scratch();
    let source = home.path().join("small");
    small_tree(&source);
    // The cost of a file that is new: create, write, metadata, name.
    criterion.bench_function("2,000 small files, new", |bencher| {
        bencher.iter_batched(
            scratch,
            |place| {
                mirror(&source, &place.path().join("dst"));
                place
            },
            BatchSize::PerIteration,
        );
    });
    // The cost of a file that is right already: two stats and two lists of attributes.
    let destination = home.path().join("copy");
    mirror(&source, &destination);
    criterion.bench_function("2,000 small files, nothing to do", |bencher| {
        bencher.iter(|| mirror(&source, &destination));
    });
    // The cost of bytes: read, hash, write on all threads.
    let large = home.path().join("large");
    fs::write(&large, vec![7; 256 << 20]).unwrap();
    criterion.bench_function("one file of 256 MiB", |bencher| {
        bencher.iter_batched(
            scratch,
            |place| {
                mirror(&large, &place.path().join("dst"));
                place
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(4));
    targets = benches
}
criterion_main!(all);
