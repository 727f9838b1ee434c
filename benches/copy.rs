//! Whole mirrors, as a user runs them, on a scratch directory in memory. They guard against a change that makes the
//! pipeline slower; figures against other programs need interleaved runs and are not made here.

#![allow(clippy::unwrap_used, missing_docs)]

mod data;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use data::{mirror, scratch, small_tree};

const LARGE: u64 = 1 << 30;

/// A file whose bytes are all there: no hole.
fn large_file(path: &Path) {
    let chunk = vec![7; 16 << 20];
    let mut file = File::create(path).unwrap();
    for _ in 0..LARGE / chunk.len() as u64 {
        file.write_all(&chunk).unwrap();
    }
}

/// Measures a copy of `source` to a place where there is nothing yet. Removing it again is not measured.
fn bench_new(group: &mut BenchmarkGroup<WallTime>, name: &str, source: &Path) {
    group.bench_function(name, |bencher| {
        bencher.iter_batched(
            scratch,
            |place| {
                mirror(source, &place.path().join("dst"));
                place
            },
            BatchSize::PerIteration,
        );
    });
}

fn small_files(criterion: &mut Criterion) {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    let mut group = criterion.benchmark_group("10,000 small files");
    group.throughput(Throughput::Elements(small_tree(&source)));
    // Guards the cost of a file that is new: create, write, metadata, name.
    bench_new(&mut group, "new", &source);
    // Guards the cost of a file that is right already: two look-ups and two lists of attributes.
    mirror(&source, &destination);
    group.bench_function("nothing to do", |bencher| bencher.iter(|| mirror(&source, &destination)));
}

fn large(criterion: &mut Criterion) {
    let home = scratch();
    let source = home.path().join("src");
    large_file(&source);
    let mut group = criterion.benchmark_group("one file of 1 GiB");
    group.throughput(Throughput::Bytes(LARGE));
    group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(6));
    // Guards the cost of bytes: read, hash, write on all threads.
    bench_new(&mut group, "new", &source);
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    targets = small_files, large
}
criterion_main!(all);
