//! Reading manifests: one line by a pure function, many from a stream.

use std::ffi::OsString;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use blake3::Hash;

use crate::content::manifest::{CHANGING, GAP, HEX, LINE_LIMIT, Record};

/// Why a line is none of a manifest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// There is nothing on it.
    #[error("the line is empty")]
    Empty,
    /// It has no room for a hash, two spaces and a path.
    #[error("the line is too short for a hash, two spaces and a path")]
    Short,
    /// It is longer than [`LINE_LIMIT`].
    #[error("the line is longer than {LINE_LIMIT} bytes")]
    Long,
    /// It does not begin with 64 lower-case hexadecimal digits.
    #[error("it does not begin with 64 lower-case hexadecimal digits")]
    Hash,
    /// Something else than two spaces follows the hash.
    #[error("two spaces should follow the hash")]
    Gap,
    /// A backslash in an escaped path is followed by neither a backslash nor an `n`.
    #[error("its path has a backslash that begins no known escape")]
    Escape,
    /// The path has a NUL in it, which no path can.
    #[error("its path has a NUL byte in it")]
    Nul,
}

/// Parses one line, given without its newline.
///
/// # Errors
/// When the line is not one of a manifest's, with the first reason found.
pub fn parse_line(line: &[u8]) -> Result<Record, Malformed> {
    if line.len() > LINE_LIMIT {
        return Err(Malformed::Long);
    }
    let (escaped, line) = match line {
        [] => return Err(Malformed::Empty),
        [b'\\', rest @ ..] => (true, rest),
        line => (false, line),
    };
    if line.len() <= HEX + GAP.len() {
        return Err(Malformed::Short);
    }
    let (digits, rest) = line.split_at(HEX);
    let hash = parse_hash(digits).ok_or(Malformed::Hash)?;
    let path = rest.strip_prefix(GAP).ok_or(Malformed::Gap)?;
    if path.contains(&0) {
        return Err(Malformed::Nul);
    }
    let path = if escaped { unescape(path)? } else { path.to_vec() };
    Ok(Record { path: PathBuf::from(OsString::from_vec(path)), hash })
}

/// A hash from its digits. Capital letters, which blake3 itself takes, are refused as `b3sum` refuses them.
fn parse_hash(digits: &[u8]) -> Option<Hash> {
    let lower = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    Hash::from_hex(digits).ok().filter(|_| lower)
}

fn unescape(path: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                _ => return Err(Malformed::Escape),
            },
            byte => byte,
        });
    }
    Ok(plain)
}

/// Reads a manifest line by line, in memory that no input can make grow. An iterator over the lines' numbers, counted
/// from 1, and what the lines say.
///
/// After an error of the stream itself there are no more lines.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// A reader of the manifest that `input` holds.
    pub fn new(input: R) -> Self {
        Reader { input, line: Vec::new(), number: 0, ended: false }
    }

    /// What it reads from.
    pub fn get_ref(&self) -> &R {
        &self.input
    }

    /// Reads a line into `self.line`, without its newline and cut where it is too long. Returns whether there was one.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let limit = LINE_LIMIT as u64 + 1;
        let length = (&mut self.input).take(limit).read_until(b'\n', &mut self.line)?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if length as u64 == limit {
            skip_line(&mut self.input)?;
        }
        Ok(length > 0)
    }
}

/// Moves past the next newline.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let newline = buffer.iter().position(|&byte| byte == b'\n');
        let (length, ended) =
            (newline.map_or(buffer.len(), |at| at + 1), newline.is_some() || buffer.is_empty());
        input.consume(length);
        if ended {
            return Ok(());
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = io::Result<(u64, Result<Record, Malformed>)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read_line() {
                Ok(true) => {
                    self.number += 1;
                    if !self.line.starts_with(CHANGING) {
                        return Some(Ok((self.number, parse_line(&self.line))));
                    }
                }
                Ok(false) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const HASH: &str = "d79b5f7ee0e69d019d7afccda95c102df18eacb03887726799301021ab5447c6";

    fn parse(line: impl AsRef<[u8]>) -> Result<Vec<u8>, Malformed> {
        let entry = parse_line(line.as_ref())?;
        assert_eq!(entry.hash.to_hex().as_str(), HASH);
        Ok(entry.path.into_os_string().into_vec())
    }

    #[test]
    fn lines_that_b3sum_takes_mean_the_same_here() {
        for (line, path) in [
            (format!("{HASH}  plain"), &b"plain"[..]),
            (format!("{HASH}   space first"), b" space first"),
            (format!("{HASH}  space last "), b"space last "),
            (format!("{HASH}  gr\u{fc}n"), "gr\u{fc}n".as_bytes()),
            (format!("{HASH}  a\rb"), b"a\rb"),
            (format!("{HASH}  a\r"), b"a\r"),
            (format!("{HASH}  tab\t"), b"tab\t"),
            (format!("{HASH}  not\\nescaped"), b"not\\nescaped"),
            (format!("{HASH}  \\"), b"\\"),
            (format!("{HASH}  /absolute/../path"), b"/absolute/../path"),
            (format!("\\{HASH}  no need"), b"no need"),
            (format!("\\{HASH}  a\\nb\\\\n"), b"a\nb\\n"),
            (format!("\\{HASH}  \\\\\\n"), b"\\\n"),
        ] {
            assert_eq!(parse(&line), Ok(path.to_vec()), "{line:?}");
        }
    }

    #[test]
    fn lines_that_b3sum_refuses_are_malformed() {
        let capitals = HASH.to_uppercase();
        for (line, why) in [
            (String::new(), Malformed::Empty),
            ("\\".into(), Malformed::Short),
            ("# a comment".into(), Malformed::Short),
            (HASH.into(), Malformed::Short),
            (format!("{HASH}  "), Malformed::Short),
            (format!("\\{HASH}  "), Malformed::Short),
            (format!("{HASH} plain"), Malformed::Gap),
            (format!("{HASH} *plain"), Malformed::Gap),
            (format!("{HASH}\tplain"), Malformed::Gap),
            (format!("{HASH}0  plain"), Malformed::Gap),
            (format!("{capitals}  plain"), Malformed::Hash),
            (format!("{}  plain", &HASH[1..]), Malformed::Hash),
            (format!(" {HASH}  plain"), Malformed::Hash),
            (format!("\u{feff}{HASH}  plain"), Malformed::Hash),
            (format!("\\\\{HASH}  plain"), Malformed::Hash),
            (format!("{}  plain", HASH.replace('d', "g")), Malformed::Hash),
            (format!("\\{HASH}  a\\rb"), Malformed::Escape),
            (format!("\\{HASH}  a\\"), Malformed::Escape),
            (format!("\\{HASH}  a\\\\\\"), Malformed::Escape),
            (format!("{HASH}  a\0b"), Malformed::Nul),
        ] {
            assert_eq!(parse(&line), Err(why), "{line:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_paths_all_the_same() {
        let mut line = format!("{HASH}  ").into_bytes();
        line.extend(b"\xff\xfe\x01");
        assert_eq!(parse(&line), Ok(b"\xff\xfe\x01".to_vec()));
    }

    #[test]
    fn malformed_lines_are_numbered_and_hide_nothing() {
        let input = format!("\n{HASH}  a\nnonsense\n\n{HASH}  b\r\n{HASH}  last");
        let read: Vec<_> = Reader::new(input.as_bytes()).map(Result::unwrap).collect();
        let path = |name: &str| Ok(PathBuf::from(name));
        let read: Vec<_> =
            read.into_iter().map(|(number, line)| (number, line.map(|entry| entry.path))).collect();
        assert_eq!(
            read,
            [
                (1, Err(Malformed::Empty)),
                (2, path("a")),
                (3, Err(Malformed::Short)),
                (4, Err(Malformed::Empty)),
                (5, path("b\r")),
                (6, path("last")),
            ]
        );
        assert_eq!(Reader::new(&b""[..]).count(), 0);
    }

    #[test]
    fn the_longest_line_is_read_and_a_longer_one_takes_no_memory() {
        let line = |length: usize| format!("{HASH}  {}", "x".repeat(length - HEX - GAP.len()));
        let (longest, longer, huge) = (line(LINE_LIMIT), line(LINE_LIMIT + 1), line(40 * LINE_LIMIT));
        let input = format!("{longest}\n{longer}\n{huge}\n{HASH}  after\n{longer}\n{longest}");
        let mut reader = Reader::new(input.as_bytes());
        let lengths: Vec<_> =
            reader.by_ref().map(|item| item.unwrap().1.map(|entry| entry.path.as_os_str().len())).collect();
        let full = Ok(LINE_LIMIT - HEX - GAP.len());
        let long = Err(Malformed::Long);
        assert_eq!(lengths, [full, long, long, Ok(5), long, full]);
        assert!(reader.line.capacity() <= 4 * LINE_LIMIT);
        assert_eq!(Reader::new(huge.as_bytes()).count(), 1, "the end of the input ends it too");
    }

    #[test]
    fn an_error_of_the_stream_is_the_last_item() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let first = format!("{HASH}  a\n{HASH}  b");
        let mut reader = Reader::new(io::BufReader::new(first.as_bytes().chain(Broken)));
        assert_eq!(reader.next().unwrap().unwrap().1.unwrap().path.as_os_str(), OsStr::from_bytes(b"a"));
        assert!(reader.next().unwrap().is_err(), "half a line is not taken for a whole one");
        assert!(reader.next().is_none());
    }
}
