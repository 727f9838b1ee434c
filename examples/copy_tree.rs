//! Copies a tree, making parents of DST that are missing, and prints what that came to: `cargo run --example copy_tree -- SRC DST`

use std::process::ExitCode;

use ringsync::event::Silent;
use ringsync::{Config, EXIT_UNUSABLE, EXIT_USAGE, Stop};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(source), Some(destination)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: copy_tree SRC DST");
        return EXIT_USAGE.into();
    };
    let config = Config::new(source, destination).with(|config| config.make_parents = true);
    let summary = match ringsync::sync(&config, &mut Silent, &Stop::new()) {
        Ok(summary) => summary,
        Err(error) => {
            eprintln!("{error}");
            return EXIT_UNUSABLE.into();
        }
    };
    for error in &summary.errors {
        eprintln!("{error}");
    }
    println!(
        "{} entries, {} bytes, {} errors, {:.2} s",
        summary.totals.done,
        summary.totals.bytes,
        summary.totals.errors,
        summary.totals.elapsed.as_secs_f64()
    );
    summary.outcome.exit_code().into()
}
