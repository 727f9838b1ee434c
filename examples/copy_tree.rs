//! Copies a tree, making parents of DST that are missing, and prints what that came to: `cargo run --example copy_tree -- SRC DST`

use std::process::ExitCode;

use ringsync::event::Silent;
use ringsync::{Config, Stop};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(source), Some(destination)) = (arguments.next(), arguments.next()) else {
        return Err("usage: copy_tree SRC DST".into());
    };
    let config = Config::new(source, destination).with(|config| config.make_parents = true);
    let summary = ringsync::sync(&config, &mut Silent, &Stop::default())?;
    println!(
        "{} entries, {} bytes, {} errors, {:.2} s",
        summary.totals.done,
        summary.totals.bytes,
        summary.totals.errors,
        summary.totals.elapsed.as_secs_f64()
    );
    Ok(summary.outcome.exit_code().into())
}
