//! The figures of rings (event/metrics.rs) as `--stats` shows them: a block of text a ring, or with `--json` an object.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::report::number_format::NumberFormat;
use ringsync::event::metrics::{Bottleneck, Call, Depths, Means, Operations, Ring, Stage, bottleneck, share};

/// Text for people: what held the run back, then each ring.
pub(crate) fn text(rings: &[Ring], figures: NumberFormat) -> String {
    let mut text = format!("\nheld back by       {}\n", describe(bottleneck(rings)));
    for ring in rings {
        // Writing to a string can't fail.
        write_ring(&mut text, ring, figures).ok();
    }
    text.truncate(text.trim_end().len());
    text
}

fn describe(verdict: Bottleneck) -> String {
    let named = |(stage, share): (Stage, f64)| format!("{}, {}", stage.name(), percent(share));
    match verdict {
        Bottleneck::Stage(stage, share) => named((stage, share)),
        Bottleneck::Unclear([first, second]) => {
            format!("no stage alone: {}; {}", named(first), named(second))
        }
        Bottleneck::TooShort => "nothing: it was too short to tell".into(),
        _ => "not known".into(),
    }
}

fn write_ring(text: &mut String, ring: &Ring, figures: NumberFormat) -> std::fmt::Result {
    let of_all = |time| percent(share(time, ring.busy() + ring.waiting()));
    writeln!(
        text,
        "\nring {:<13} {:.3} s: busy {}, of it hashing {}; waiting {}; {:.3} s of the processor",
        ring.index,
        ring.elapsed.as_secs_f64(),
        of_all(ring.busy()),
        of_all(ring.time(Stage::Hash)),
        of_all(ring.waiting()),
        ring.processor.as_secs_f64(),
    )?;
    let stages = Stage::ALL.map(|stage| format!("{} {}", stage.name(), of_all(ring.time(stage))));
    writeln!(text, "  time went to     {}", stages.join(", "))?;
    let depths = &ring.depths;
    if depths.submissions() > 0 {
        writeln!(
            text,
            "  in flight        {:.1} on average, {} at most ({})",
            depths.mean(),
            depths.most,
            buckets(depths)
        )?;
    }
    writeln!(
        text,
        "  buffers          {} at most; {} waits for one, {:.3} s in all",
        figures.bytes(ring.most_bytes),
        figures.count(ring.buffer_waits),
        ring.buffer_wait.as_secs_f64(),
    )?;
    writeln!(
        text,
        "  {:<21}{:>12}{:>16}{:>12}{:>12}{:>12}",
        "operation", "count", "bytes", "p50, µs", "p99, µs", "max, µs"
    )?;
    for (kind, means, operations) in counted(ring) {
        let name = match means {
            Means::Ring => kind.name().to_owned(),
            Means::InPlace => format!("{}, in place", kind.name()),
            Means::Thread => format!("{}, by a thread", kind.name()),
            other => format!("{}, {}", kind.name(), other.name()),
        };
        // A column of bare numbers, where these are for programs.
        let bytes = match figures {
            NumberFormat::Human => figures.bytes(operations.bytes),
            NumberFormat::Plain => figures.count(operations.bytes),
        };
        let [p50, p99, most] = quantiles(operations).map(|time| format!("{:.1}", micros(time)));
        let count = figures.count(operations.count);
        writeln!(text, "  {name:<21}{count:>12}{bytes:>16}{p50:>12}{p99:>12}{most:>12}")?;
    }
    Ok(())
}

/// Those that there were any of.
fn counted(ring: &Ring) -> impl Iterator<Item = (Call, Means, &Operations)> {
    let all = Call::ALL.into_iter().flat_map(|kind| Means::ALL.map(|means| (kind, means)));
    all.map(|(kind, means)| (kind, means, ring.operations(kind, means)))
        .filter(|(.., operations)| operations.count > 0)
}

fn quantiles(operations: &Operations) -> [Duration; 3] {
    [0.5, 0.99, 1.0].map(|part| operations.quantile(part))
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `1: 90 %, 2-3: 10 %`.
fn buckets(depths: &Depths) -> String {
    let part = |count: u64| percent(count as f64 / depths.submissions().max(1) as f64);
    let filled = depths.counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let told: Vec<String> = filled
        .map(|(bucket, &count)| match bucket {
            0 => format!("1: {}", part(count)),
            _ if bucket + 1 == Depths::BUCKETS => format!("{}+: {}", 1 << bucket, part(count)),
            _ => format!("{}-{}: {}", 1 << bucket, (2 << bucket) - 1, part(count)),
        })
        .collect();
    told.join(", ")
}

/// What held the run back.
#[derive(Serialize)]
pub(crate) struct JsonVerdict {
    /// `None`: it is not clear.
    stage: Option<&'static str>,
    share: f64,
    /// The one that took most, and the next one, where neither can be blamed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    among: Vec<JsonShare>,
}

#[derive(Serialize)]
struct JsonShare {
    stage: &'static str,
    share: f64,
}

impl From<Bottleneck> for JsonVerdict {
    fn from(verdict: Bottleneck) -> Self {
        match verdict {
            Bottleneck::Stage(stage, share) => {
                JsonVerdict { stage: Some(stage.name()), share, among: Vec::new() }
            }
            Bottleneck::Unclear(stages) => {
                let among = stages.map(|(stage, share)| JsonShare { stage: stage.name(), share });
                JsonVerdict { stage: None, share: stages[0].1, among: among.into() }
            }
            _ => JsonVerdict { stage: None, share: 0.0, among: Vec::new() },
        }
    }
}

/// One ring.
#[derive(Serialize)]
pub(crate) struct JsonRing {
    ring: usize,
    seconds: f64,
    processor_seconds: f64,
    busy: f64,
    hashing: f64,
    waiting: f64,
    stages: JsonStages,
    operations: Vec<JsonOperations>,
    in_flight: JsonDepths,
    buffer_bytes_max: u64,
    buffer_waits: u64,
    buffer_wait_seconds: f64,
}

/// The share of each stage.
#[derive(Serialize)]
struct JsonStages {
    walk: f64,
    compare: f64,
    read: f64,
    hash: f64,
    write: f64,
    finish: f64,
    other: f64,
    idle: f64,
}

#[derive(Serialize)]
struct JsonOperations {
    kind: &'static str,
    means: &'static str,
    count: u64,
    bytes: u64,
    timed: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

#[derive(Serialize)]
struct JsonDepths {
    submissions: u64,
    mean: f64,
    max: u64,
    histogram: Vec<JsonBucket>,
}

#[derive(Serialize)]
struct JsonBucket {
    from: u64,
    count: u64,
}

impl From<&Ring> for JsonRing {
    fn from(ring: &Ring) -> Self {
        let whole = ring.busy() + ring.waiting();
        let part = |stage| share(ring.time(stage), whole);
        JsonRing {
            ring: ring.index,
            seconds: ring.elapsed.as_secs_f64(),
            processor_seconds: ring.processor.as_secs_f64(),
            busy: share(ring.busy(), whole),
            hashing: part(Stage::Hash),
            waiting: share(ring.waiting(), whole),
            stages: JsonStages {
                walk: part(Stage::Walk),
                compare: part(Stage::Compare),
                read: part(Stage::Read),
                hash: part(Stage::Hash),
                write: part(Stage::Write),
                finish: part(Stage::Finish),
                other: part(Stage::Other),
                idle: part(Stage::Idle),
            },
            operations: counted(ring).map(JsonOperations::from).collect(),
            in_flight: JsonDepths::from(&ring.depths),
            buffer_bytes_max: ring.most_bytes,
            buffer_waits: ring.buffer_waits,
            buffer_wait_seconds: ring.buffer_wait.as_secs_f64(),
        }
    }
}

impl From<(Call, Means, &Operations)> for JsonOperations {
    fn from((kind, means, operations): (Call, Means, &Operations)) -> Self {
        let [p50_us, p99_us, max_us] = quantiles(operations).map(micros);
        let Operations { count, bytes, .. } = *operations;
        let (kind, means, timed) = (kind.name(), means.name(), operations.timed());
        JsonOperations { kind, means, count, bytes, timed, p50_us, p99_us, max_us }
    }
}

impl From<&Depths> for JsonDepths {
    fn from(depths: &Depths) -> Self {
        let filled = depths.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        JsonDepths {
            submissions: depths.submissions(),
            mean: depths.mean(),
            max: depths.most,
            histogram: filled.map(|(bucket, &count)| JsonBucket { from: 1 << bucket, count }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_a_stage_only_where_one_is_to_blame() {
        let told = |verdict| (describe(verdict), serde_json::to_value(JsonVerdict::from(verdict)).unwrap());
        let (text, json) = told(Bottleneck::Stage(Stage::Write, 0.5));
        assert_eq!(
            (text.as_str(), json),
            ("write, 50 %", serde_json::json!({"stage": "write", "share": 0.5}))
        );
        let (text, json) = told(Bottleneck::Unclear([(Stage::Read, 0.25), (Stage::Hash, 0.25)]));
        assert_eq!(text, "no stage alone: read, 25 %; hash, 25 %");
        assert_eq!(json["stage"], serde_json::Value::Null);
        assert_eq!(json["among"][1], serde_json::json!({"stage": "hash", "share": 0.25}));
        assert_eq!(told(Bottleneck::TooShort).1, serde_json::json!({"stage": null, "share": 0.0}));
    }

    #[test]
    fn a_ring_has_a_line_for_what_it_did() {
        let mut ring = Ring::default();
        ring.index = 3;
        let reads = ring.operations_mut(Call::Read, Means::InPlace);
        (reads.count, reads.bytes) = (8, 1 << 20);
        reads.took(12_000);
        (0..4).for_each(|_| ring.depths.add(2));
        ring.depths.add(1024);
        ring.add_time(Stage::Hash, Duration::from_secs(1), Duration::ZERO);
        ring.add_time(Stage::Write, Duration::ZERO, Duration::from_secs(3));
        let text = text(&[ring], NumberFormat::Plain);
        let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
        assert!(line("held back by").ends_with("write, 75 %"), "{text}");
        assert!(line("ring 3").contains("busy 25 %, of it hashing 25 %; waiting 75 %"), "{text}");
        assert!(
            line("in flight").contains("206.4 on average, 1024 at most (2-3: 80 %, 1024+: 20 %)"),
            "{text}"
        );
        let words: Vec<&str> = line("read, in place").split_whitespace().collect();
        assert_eq!(words[..5], ["read,", "in", "place", "8", "1048576"]);
        assert!(!text.contains("open"), "there was none: {text}");
    }
}
