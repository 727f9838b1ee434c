//! Stages of a run, each alone and in memory, so that a run that became slower can be traced to the stage that did.

#![allow(clippy::unwrap_used, missing_docs)]

mod data;

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use data::{mirror, scratch, small_tree};
use ringsync::stages::{Opened, Ring, hash_in_parts};

fn trees(criterion: &mut Criterion) {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    let files = small_tree(&source);
    mirror(&source, &destination);
    let open = || Opened::new(&source, &destination).unwrap();
    let ring = Ring::start().unwrap();
    let mut group = criterion.benchmark_group("10,000 small files");
    group.throughput(Throughput::Elements(files));
    // Guards the one thread that all others get their work from: directories opened and read, names put in batches.
    group.bench_function("walk", |bencher| {
        bencher.iter_batched(open, |opened| opened.walk().unwrap(), BatchSize::PerIteration);
    });
    assert_eq!(open().walk().unwrap().entries() as u64, files);
    // Guards what a task spends on an entry until it is known to be right: looked up and its attributes listed on both
    // sides, decided, reported.
    group.bench_function("compare", |bencher| {
        bencher.iter_batched(
            || open().walk().unwrap(),
            |walked| assert_eq!(ring.compare(walked).unwrap() as u64, files),
            BatchSize::PerIteration,
        );
    });
}

fn hash(criterion: &mut Criterion) {
    let bytes = vec![7; 64 << 20];
    assert_eq!(hash_in_parts(&bytes), Some(blake3::hash(&bytes)));
    let mut group = criterion.benchmark_group("64 MiB");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    // Guards BLAKE3's speed on one core where a file is hashed by subtrees, and that merging them costs nothing to
    // speak of.
    group.bench_function("hash in parts", |bencher| bencher.iter(|| hash_in_parts(black_box(&bytes))));
}

fn round_trips(criterion: &mut Criterion) {
    let ring = Ring::start().unwrap();
    let mut group = criterion.benchmark_group("one read through the ring");
    // Guards the way of an operation to the kernel and back, here a read of 4 KiB from the page cache: what overlapping
    // costs before it gains anything. A disk's file system answers it at once (if the build lies on one), a tmpfs has a
    // worker of the kernel's do it.
    let built = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (name, home) in [("answered at once", built), ("done by a worker", scratch())] {
        let path = home.path().join("file");
        fs::write(&path, [7; 4096]).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let begun = Instant::now();
                ring.read(&path, times).unwrap();
                begun.elapsed()
            });
        });
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = trees, hash, round_trips
}
criterion_main!(all);
