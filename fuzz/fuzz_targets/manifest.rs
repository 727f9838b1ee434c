//! The manifest reader, fed with anything: it never panics, it agrees with a cut at newlines followed by `parse_line`,
//! and what it takes for an entry is the same entry after writing and reading it again.

#![no_main]

use std::io::{BufRead, BufReader};

use libfuzzer_sys::fuzz_target;
use ringsync::manifest::{Entry, LINE_LIMIT, Malformed, Reader, format_line, parse_line};

type Line = (u64, Result<Entry, Malformed>);

fuzz_target!(|data: &[u8]| {
    // Half the lines are given a hash, which chance would take long to find.
    let with_hashes = data.split_inclusive(|&byte| byte == b'\n').flat_map(|line| match line {
        [b'H', rest @ ..] => [blake3::hash(b"x").to_hex().as_bytes(), rest].concat(),
        [b'\\', b'H', rest @ ..] => [b"\\", blake3::hash(b"x").to_hex().as_bytes(), rest].concat(),
        line => line.to_vec(),
    });
    for input in [data.to_vec(), with_hashes.collect()] {
        let read = read(&input[..]);
        // However the input arrives, it says the same.
        assert_eq!(read, self::read(BufReader::with_capacity(7, &input[..])));
        assert_eq!(read, cut(&input));
        for (_, line) in &read {
            match line {
                Ok(entry) => check(entry),
                Err(why) => assert!(!why.to_string().is_empty()),
            }
        }
    }
});

fn read(input: impl BufRead) -> Vec<Line> {
    Reader::new(input).map(|line| line.expect("memory can be read")).collect()
}

/// What the reader should say, in the simplest words.
fn cut(input: &[u8]) -> Vec<Line> {
    let mut lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    (1..).zip(lines.into_iter().map(parse_line)).collect()
}

fn check(entry: &Entry) {
    let path = entry.path.as_os_str().as_encoded_bytes();
    assert!(!path.is_empty() && !path.contains(&0));
    let line = format_line(&entry.path, &entry.hash);
    let (newline, line) = line.split_last().expect("a line is not empty");
    assert!(*newline == b'\n' && !line.contains(&b'\n'));
    match parse_line(line) {
        Ok(again) => assert_eq!(&again, entry),
        // Unescaped it may have been just short enough.
        Err(why) => assert!(why == Malformed::Long && line.len() > LINE_LIMIT, "{why}"),
    }
}
