//! Prints events as they come, and stops after a number of them: `cargo run --example print_events -- SRC DST [COUNT]`

use std::path::Path;

use ringsync::event::Reporter;
use ringsync::event::{EntryEvent, Summary};
use ringsync::{Config, Escaped, Stop};

/// Prints each entry, and raises the flag after the last one wanted.
struct Printer {
    left: usize,
    stop: Stop,
}

impl Reporter for Printer {
    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        // Those in flight when the flag is raised are still finished.
        if self.left == 0 {
            return;
        }
        println!("{:9} {}", event.action, Escaped::path(&event.path(directory)));
        if let Some(hash) = event.hash {
            println!("          {hash}");
        }
        self.left -= 1;
        if self.left == 0 {
            self.stop.stop();
        }
    }

    fn finish(&mut self, summary: &Summary) {
        println!("{}: {} of {} entries", summary.outcome, summary.totals.done, summary.totals.found);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(destination)) = (arguments.next(), arguments.next()) else {
        return Err("usage: print_events SRC DST [COUNT]".into());
    };
    let left = arguments.next().map_or(Ok(usize::MAX), |count| count.parse())?;
    let stop = Stop::new();
    let mut printer = Printer { left, stop: stop.clone() };
    let summary = ringsync::sync(&Config::new(source, destination), &mut printer, &stop)?;
    if !stop.is_stopped() {
        summary.into_result()?;
    }
    Ok(())
}
