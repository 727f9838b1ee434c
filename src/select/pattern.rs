//! The patterns of rsync's filter rules (rsync(1), "PATTERN MATCHING RULES"), turned into regular expressions over
//! bytes, which match in linear time whatever the pattern.
//!
//! What a pattern is matched against is the path below the directory it is anchored in, with a slash before it.

use regex::bytes::{Regex, RegexBuilder};

/// The largest compiled pattern, in bytes.
const MOST_COMPILED: usize = 1 << 20;

/// One pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    matcher: Matcher,
    /// It ended in a slash: directories alone match.
    directories: bool,
    /// It ended in `***`: a directory is matched with a slash after its name, as are its contents.
    with_contents: bool,
    /// It began with a slash.
    anchored: bool,
}

#[derive(Debug, Clone)]
enum Matcher {
    /// The last name of the path.
    Name(Box<[u8]>),
    /// The whole path.
    Path(Box<[u8]>),
    /// The end of the path, beginning at a slash.
    End(Box<[u8]>),
    /// The last name, by a pattern.
    WildName(Regex),
    /// The path, by a pattern.
    WildPath(Regex),
    /// A character class without its end, or the like.
    Nothing,
}

impl Pattern {
    /// Reads a pattern. `None`: it is too large.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let directories = text.len() > 1 && text.ends_with(b"/");
        let text = if directories { &text[..text.len() - 1] } else { text };
        let (with_contents, anchored) = (text.ends_with(b"***"), text.starts_with(b"/"));
        let matcher = if !text.iter().any(|byte| b"*?[".contains(byte)) {
            plain(text)
        } else {
            match expression(text) {
                None => Matcher::Nothing,
                Some(expression) => wild(text, &expression)?,
            }
        };
        Some(Pattern { matcher, directories, with_contents, anchored })
    }

    /// Whether there is anything that it matches.
    pub(super) fn may_match(&self) -> bool {
        !matches!(self.matcher, Matcher::Nothing)
    }

    /// Whether it begins at the directory that its rule comes from; others match anywhere in the tree.
    pub(crate) fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// Whether it matches `path`, which begins with a slash.
    pub(crate) fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.directories && !is_directory {
            return false;
        }
        if self.with_contents && is_directory {
            return self.matches_text(&[path, b"/"].concat());
        }
        self.matches_text(path)
    }

    fn matches_text(&self, path: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Name(name) => last_name(path) == &**name,
            Matcher::Path(whole) => path == &**whole,
            Matcher::End(end) => path.ends_with(end),
            Matcher::WildName(pattern) => pattern.is_match(last_name(path)),
            Matcher::WildPath(pattern) => pattern.is_match(path),
            Matcher::Nothing => false,
        }
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// Without a wildcard every byte stands for itself, the backslash too.
fn plain(text: &[u8]) -> Matcher {
    match text.first() {
        Some(b'/') => Matcher::Path(text.into()),
        _ if text.contains(&b'/') => Matcher::End([b"/", text].concat().into()),
        _ => Matcher::Name(text.into()),
    }
}

fn wild(text: &[u8], expression: &str) -> Option<Matcher> {
    let crosses = text.windows(2).any(|pair| pair == b"**");
    let compile = |expression: String| {
        let mut builder = RegexBuilder::new(&expression);
        builder.unicode(false).dot_matches_new_line(true).size_limit(MOST_COMPILED).build().ok()
    };
    if !text.contains(&b'/') && !crosses {
        return compile(format!("^{expression}$")).map(Matcher::WildName);
    }
    // What begins with a slash is anchored; `**` reaches over the first slash by itself.
    let anchored = text.starts_with(b"/") || text.starts_with(b"**");
    let before = if anchored { "" } else { "(?:.*/)" };
    compile(format!("^{before}{expression}$")).map(Matcher::WildPath)
}

/// The regular expression for a pattern with wildcards; `None` if nothing can match it.
fn expression(text: &[u8]) -> Option<String> {
    let mut expression = String::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'*' => {
                let stars = after.iter().take_while(|&&byte| byte == b'*').count();
                rest = &after[stars..];
                expression += if stars == 0 { "[^/]*" } else { ".*" };
            }
            b'?' => expression += "[^/]",
            b'[' => {
                let (set, after) = class(after)?;
                rest = after;
                push_set(&mut expression, &set);
            }
            b'\\' => {
                let [escaped, after @ ..] = after else { return None };
                rest = after;
                push_byte(&mut expression, *escaped);
            }
            byte => push_byte(&mut expression, *byte),
        }
    }
    Some(expression)
}

pub(super) fn push_byte(expression: &mut String, byte: u8) {
    *expression += &format!("\\x{byte:02x}");
}

pub(super) fn push_set(expression: &mut String, set: &[bool; 256]) {
    expression.push('[');
    let members = (0..=u8::MAX).filter(|&byte| set[usize::from(byte)]);
    let before = expression.len();
    members.for_each(|byte| push_byte(expression, byte));
    if expression.len() == before {
        *expression += "^\\x00-\\xff";
    }
    expression.push(']');
}

/// Reads a character class from behind its bracket: its members, never the slash, and what follows it. `None`: it has no
/// end, or names a class that does not exist.
pub(super) fn class(text: &[u8]) -> Option<([bool; 256], &[u8])> {
    let negated = matches!(text, [b'^' | b'!', ..]);
    let mut rest = if negated { &text[1..] } else { text };
    let mut set = [false; 256];
    let mut previous: Option<u8> = None;
    let mut is_first = true;
    loop {
        let [first, after @ ..] = rest else { return None };
        rest = after;
        match (first, after) {
            (b']', _) if !is_first => break,
            (b'-', [end, after @ ..]) if previous.is_some() && *end != b']' => {
                let (end, after) = if *end == b'\\' { after.split_first()? } else { (end, after) };
                rest = after;
                (previous.take()?..=*end).for_each(|byte| set[usize::from(byte)] = true);
            }
            (b'[', [b':', after @ ..]) if named(after).is_some() => {
                let (members, after) = named(after)?;
                rest = after;
                (0..=u8::MAX).filter(members?).for_each(|byte| set[usize::from(byte)] = true);
                previous = None;
            }
            (b'\\', after) => {
                let (escaped, after) = after.split_first()?;
                rest = after;
                set[usize::from(*escaped)] = true;
                previous = Some(*escaped);
            }
            (byte, _) => {
                set[usize::from(*byte)] = true;
                previous = Some(*byte);
            }
        }
        is_first = false;
    }
    if negated {
        set.iter_mut().for_each(|member| *member = !*member);
    }
    set[usize::from(b'/')] = false;
    Some((set, rest))
}

type Members = fn(&u8) -> bool;

/// A named class, from behind `[:`, and what follows its `:]`; `Some((None, _))` where there is none of that name.
fn named(text: &[u8]) -> Option<(Option<Members>, &[u8])> {
    let length = text.iter().position(|&byte| byte == b']')?;
    let (name, rest) = (text[..length].strip_suffix(b":")?, &text[length + 1..]);
    let members: Members = match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| b" \t".contains(byte),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| byte.is_ascii_whitespace() || *byte == b'\x0b',
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return Some((None, rest)),
    };
    Some((Some(members), rest))
}
