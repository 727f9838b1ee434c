//! Reading filter rules: rsync's syntax (rsync(1), "FILTER RULES"), a line a rule, from options and from files.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::select::cvs;
use crate::select::pattern::Pattern;
use crate::select::without_mark;
use crate::text::Escaped;

/// Which decision a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Whether a name of the source is mirrored.
    Source,
    /// Whether a name that only the destination has is kept from being deleted.
    Destination,
}

/// One pattern, and what a match means.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// A match includes, or puts at risk; otherwise it excludes, or protects.
    pub(crate) include: bool,
    pattern: Pattern,
    /// The pattern as it is written.
    text: Box<[u8]>,
    /// What does not match the pattern matches the rule.
    negated: bool,
    /// The pattern is matched against the whole path in the file system.
    absolute: bool,
    /// Only this decision; otherwise both, or the source's alone with `--delete-excluded`.
    side: Option<Side>,
    /// It does not hold in a directory that is being deleted.
    perishable: bool,
}

/// What is asked of a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The path in the source, from the root of the file system.
    pub(crate) path: &'a [u8],
    /// The same in the tree that is asked about.
    pub(crate) absolute: &'a [u8],
    /// Length of the path of the source's root.
    pub(crate) root: usize,
    pub(crate) is_directory: bool,
    pub(crate) side: Side,
    /// It is in a directory that is being deleted.
    pub(crate) perishing: bool,
    /// Rules that name no side are about the source alone.
    pub(crate) delete_excluded: bool,
}

impl Rule {
    /// Whether the rule, from a directory whose path has `anchor` bytes, is about the path.
    pub(crate) fn matches(&self, question: &Question<'_>, anchor: usize) -> bool {
        let side = match self.side {
            Some(side) => side == question.side,
            None => question.side == Side::Source || !question.delete_excluded,
        };
        if !side || self.perishable && question.perishing {
            return false;
        }
        let path = match (self.absolute, self.pattern.is_anchored()) {
            (true, _) => Some(question.absolute),
            (false, true) => question.path.get(anchor..),
            // Wherever the rule comes from, its pattern may match names above that.
            (false, false) => question.path.get(question.root..),
        };
        let path = path.unwrap_or_default();
        self.pattern.matches(path, question.is_directory) != self.negated
    }
}

impl Rule {
    /// What follows the path of a tree, if the rule's pattern begins with that, though it begins at the tree itself.
    pub(crate) fn below(&self, root: &[u8]) -> Option<&[u8]> {
        let is_of_tree = self.pattern.is_anchored() && !self.absolute;
        let below = self.text.strip_prefix(root).filter(|_| is_of_tree)?;
        matches!(below.first(), None | Some(b'/')).then_some(below)
    }
}

impl fmt::Display for Rule {
    /// As a line of a file of rules has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match (self.side, self.include) {
            (None, false) => '-',
            (None, true) => '+',
            (Some(Side::Source), false) => 'H',
            (Some(Side::Source), true) => 'S',
            (Some(Side::Destination), false) => 'P',
            (Some(Side::Destination), true) => 'R',
        };
        f.write_char(letter)?;
        let modifiers = [(self.negated, '!'), (self.absolute, '/'), (self.perishable, 'p')];
        modifiers.iter().filter(|(is_set, _)| *is_set).try_for_each(|(_, letter)| f.write_char(*letter))?;
        write!(f, " {}", Escaped::name(OsStr::from_bytes(&self.text)))
    }
}

/// A file of rules to be looked for in each directory.
#[derive(Debug, Clone)]
pub(crate) struct PerDirectory {
    /// Its name, or a path to it that leads up to where the search begins.
    pub(crate) file: PathBuf,
    /// Its rules do not hold in subdirectories.
    pub(crate) own: bool,
    pub(crate) template: Template,
}

impl PerDirectory {
    /// Whether it is looked for in directories above the tree, too.
    pub(crate) fn is_looked_for_above(&self) -> bool {
        self.file.parent().is_some_and(|start| !start.as_os_str().is_empty())
    }
}

/// What a line says.
#[derive(Debug)]
pub(crate) enum Line {
    Rule(Rule),
    /// Read this file now.
    Merge(PathBuf, Template),
    PerDirectory(PerDirectory),
    /// Forget what came before.
    Clear,
    /// What CVS leaves out.
    Cvs,
}

/// How the lines of a file are to be read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Template {
    /// Lines are patterns, to include or to exclude.
    bare: Option<bool>,
    /// As `bare`, but a line may say the contrary by `+ ` or `- `: `--exclude-from`.
    old: bool,
    modifiers: Modifiers,
    /// Words are rules, not lines.
    words: bool,
    /// Lines end in NUL bytes, and none is a comment.
    nul: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Modifiers {
    negated: bool,
    absolute: bool,
    perishable: bool,
    side: Option<Side>,
}

impl Template {
    /// For `--include` and `--exclude`, and for files of their patterns.
    pub(crate) fn of_option(include: bool) -> Self {
        Template { bare: Some(include), old: true, ..Template::default() }
    }

    /// For lists of words that are left out, as CVS has them.
    pub(crate) fn of_cvs() -> Self {
        Template { words: true, ..Template::of_option(false) }
    }

    /// The same for rules that don't hold in a directory that is being deleted.
    pub(crate) fn perishable(mut self) -> Self {
        self.modifiers.perishable = true;
        self
    }

    /// The same for files whose lines end in NUL bytes, if `nul`.
    pub(crate) fn ending(self, nul: bool) -> Self {
        Template { nul, ..self }
    }

    /// The rules in a text. The error names the one that can't be read.
    pub(crate) fn lines(&self, text: &[u8]) -> Result<Vec<Line>, String> {
        let mut lines = Vec::new();
        let text = if self.nul { text } else { without_mark(text) };
        for line in self.split(text) {
            let is_comment = !self.words && !self.nul && matches!(line.first(), Some(b'#' | b';'));
            if !is_comment {
                lines.extend(self.line(&line)?);
            }
        }
        Ok(lines)
    }

    /// The lines, or words, that are not empty.
    fn split(&self, text: &[u8]) -> Vec<Vec<u8>> {
        let at: fn(&u8) -> bool = match (self.words, self.nul) {
            (true, _) => u8::is_ascii_whitespace,
            (false, true) => |byte| *byte == 0,
            (false, false) => |byte| b"\n\r".contains(byte),
        };
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        // A rule's own space does not end its word.
        let mut open = false;
        for piece in text.split(at).filter(|piece| !piece.is_empty()) {
            match pieces.last_mut().filter(|_| open) {
                Some(last) => {
                    last.push(b' ');
                    last.extend_from_slice(piece);
                    open = false;
                }
                None => {
                    pieces.push(piece.to_vec());
                    open = self.words && self.bare.is_none() && !piece.contains(&b'_') && piece != b"!";
                }
            }
        }
        pieces
    }

    /// Reads one rule; two where it says so.
    pub(crate) fn line(&self, line: &[u8]) -> Result<Vec<Line>, String> {
        match (self.bare, line) {
            (Some(_), b"!") if self.old => Ok(vec![Line::Clear]),
            (Some(_), [sign @ (b'+' | b'-'), b' ', pattern @ ..]) if self.old => {
                Ok(vec![Line::Rule(self.rule(*sign == b'+', pattern, self.modifiers)?)])
            }
            (Some(include), pattern) => Ok(vec![Line::Rule(self.rule(include, pattern, self.modifiers)?)]),
            (None, line) => self.prefixed(line),
        }
    }

    fn prefixed(&self, line: &[u8]) -> Result<Vec<Line>, String> {
        let (kind, modifiers, argument) = prefix(line)?;
        let empty = || format!("{} takes an argument", kind.name());
        match kind {
            Word::Clear if modifiers.is_empty() && argument.is_empty() => return Ok(vec![Line::Clear]),
            Word::Clear => return Err("clear takes nothing".into()),
            Word::Exclude if modifiers == b"C" && argument.is_empty() => return Ok(vec![Line::Cvs]),
            Word::Merge | Word::DirMerge if modifiers.contains(&b'C') && argument.is_empty() => {
                return self.file(kind, modifiers, cvs::FILE.as_bytes());
            }
            Word::Merge | Word::DirMerge if argument.is_empty() => return Err(empty()),
            Word::Merge | Word::DirMerge => {
                return self.file(kind, modifiers, argument);
            }
            _ if argument.is_empty() => return Err(empty()),
            _ => {}
        }
        let mut set = self.modifiers;
        let side = match kind {
            Word::Hide | Word::Show => Some(Side::Source),
            Word::Protect | Word::Risk => Some(Side::Destination),
            _ => None,
        };
        for modifier in modifiers {
            match modifier {
                b'!' => set.negated = true,
                modifier => set.take(*modifier)?,
            }
        }
        if side.is_some() && self.modifiers.side.is_some() {
            return Err("the rule names a side where its file has one already".into());
        }
        set.side = side.or(set.side);
        let include = matches!(kind, Word::Include | Word::Show | Word::Risk);
        Ok(vec![Line::Rule(self.rule(include, argument, set)?)])
    }

    /// A rule that names a file of rules.
    fn file(&self, kind: Word, modifiers: &[u8], argument: &[u8]) -> Result<Vec<Line>, String> {
        let mut template = Template { modifiers: self.modifiers, nul: self.nul, ..Template::default() };
        let (mut own, mut left_out) = (false, false);
        for modifier in modifiers {
            match modifier {
                b'-' => template.bare = Some(false),
                b'+' => template.bare = Some(true),
                b'w' => template.words = true,
                b'n' if kind == Word::DirMerge => own = true,
                b'C' => {
                    (template.bare, template.old, template.words) = (Some(false), true, true);
                    own = kind == Word::DirMerge;
                }
                b'e' => left_out = true,
                modifier => template.modifiers.take(*modifier)?,
            }
        }
        let path = PathBuf::from(OsString::from_vec(argument.to_vec()));
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default().to_vec();
        let mut lines = Vec::new();
        if left_out {
            lines.push(Line::Rule(self.rule(false, &name, Modifiers::default())?));
        }
        lines.push(match kind {
            Word::Merge => Line::Merge(path, template),
            _ => Line::PerDirectory(PerDirectory { file: path, own, template }),
        });
        Ok(lines)
    }

    fn rule(&self, include: bool, pattern: &[u8], modifiers: Modifiers) -> Result<Rule, String> {
        let Modifiers { negated, absolute, perishable, side } = modifiers;
        let text = pattern.into();
        let pattern = Pattern::new(pattern).ok_or("the pattern is too large")?;
        Ok(Rule { include, pattern, text, negated, absolute, side, perishable })
    }
}

impl Modifiers {
    fn take(&mut self, modifier: u8) -> Result<(), String> {
        match modifier {
            b'/' => self.absolute = true,
            b'p' => self.perishable = true,
            // Both are the same as neither.
            b's' | b'r' => {
                let side = if modifier == b's' { Side::Source } else { Side::Destination };
                self.side = if self.side.is_some_and(|other| other != side) { None } else { Some(side) };
            }
            b'C' => return Err("the modifier C is for -C alone, and for files of rules".into()),
            b'x' => return Err("the modifier x is not supported".into()),
            other => return Err(format!("there is no modifier {}", [other].escape_ascii())),
        }
        Ok(())
    }
}

/// What a rule begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Exclude,
    Include,
    Merge,
    DirMerge,
    Hide,
    Show,
    Protect,
    Risk,
    Clear,
}

impl Word {
    const ALL: [(Word, &str, u8); 9] = [
        (Word::Exclude, "exclude", b'-'),
        (Word::Include, "include", b'+'),
        (Word::Merge, "merge", b'.'),
        (Word::DirMerge, "dir-merge", b':'),
        (Word::Hide, "hide", b'H'),
        (Word::Show, "show", b'S'),
        (Word::Protect, "protect", b'P'),
        (Word::Risk, "risk", b'R'),
        (Word::Clear, "clear", b'!'),
    ];

    fn name(self) -> &'static str {
        Word::ALL.iter().find(|(word, ..)| *word == self).map_or("", |(_, name, _)| name)
    }
}

/// Splits a rule in its word, its modifiers and its argument.
fn prefix(line: &[u8]) -> Result<(Word, &[u8], &[u8]), String> {
    let is_end = |byte: &u8| b" _".contains(byte);
    let word_ends = line.iter().position(|byte| b" _,".contains(byte)).unwrap_or(line.len());
    let long = Word::ALL.iter().find(|(_, name, _)| name.as_bytes() == &line[..word_ends]);
    let (word, mut rest) = match (long, line.first()) {
        (Some((word, ..)), _) => (*word, &line[word_ends..]),
        (None, Some(first)) => {
            let short = Word::ALL.iter().find(|(.., letter)| letter == first);
            let (word, ..) = short.ok_or_else(|| unknown(line))?;
            (*word, &line[1..])
        }
        (None, None) => return Err("it is empty".into()),
    };
    if long.is_none() || rest.first() == Some(&b',') {
        rest = rest.strip_prefix(b",").unwrap_or(rest);
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let (modifiers, argument) = rest.split_at(end);
        return Ok((word, modifiers, argument.get(1..).unwrap_or_default()));
    }
    Ok((word, &[], rest.get(1..).unwrap_or_default()))
}

fn unknown(line: &[u8]) -> String {
    let word = line.split(|byte| b" _,".contains(byte)).next().unwrap_or(line);
    format!("there is no rule {}", word.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rules(text: &str) -> Result<Vec<Line>, String> {
        Template::default().lines(text.as_bytes())
    }

    #[test]
    fn every_kind_of_rule_has_two_names() {
        for (short, long) in [("- a", "exclude a"), ("+_a", "include_a"), ("Ha", "hide a"), (".b", "merge b")]
        {
            // A short name takes what follows for modifiers.
            let short =
                if short.len() == 2 { format!("{} {}", &short[..1], &short[1..]) } else { short.into() };
            let (one, other) = (rules(&short).unwrap(), rules(long).unwrap());
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{short} {long}");
        }
        assert!(matches!(rules("!").unwrap()[..], [Line::Clear]));
        assert!(matches!(rules("clear").unwrap()[..], [Line::Clear]));
        assert!(matches!(rules(":e .rules").unwrap()[..], [Line::Rule(_), Line::PerDirectory(_)]));
        assert!(matches!(rules("-C").unwrap()[..], [Line::Cvs]));
        assert!(matches!(&rules(":C").unwrap()[..], [Line::PerDirectory(file)]
            if file.own && file.file == Path::new(".cvsignore")));
        assert!(rules("# nothing\n\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_rule_is_told() {
        for (line, why) in [
            ("exlude a", "there is no rule exlude"),
            ("-z a", "there is no modifier z"),
            ("+C", "include takes an argument"),
            ("-C a", "the modifier C is for -C alone, and for files of rules"),
            ("-x a", "the modifier x is not supported"),
            ("merge", "merge takes an argument"),
            ("! a", "clear takes nothing"),
        ] {
            assert_eq!(rules(line).unwrap_err(), why, "{line}");
        }
    }

    #[test]
    fn words_keep_the_space_of_their_rule() {
        let template = Template { words: true, ..Template::default() };
        assert_eq!(template.split(b"- foo + bar\t!\n-_x"), [&b"- foo"[..], b"+ bar", b"!", b"-_x"]);
        let bare = Template { words: true, bare: Some(false), ..Template::default() };
        assert_eq!(bare.split(b"- foo"), [&b"-"[..], b"foo"]);
    }

    #[test]
    fn options_take_the_contrary_and_files_of_them_comments() {
        let lines = Template::of_option(false).lines(b"; no\n# no\n+ yes\n!\nplain").unwrap();
        assert!(matches!(&lines[..], [Line::Rule(plus), Line::Clear, Line::Rule(plain)]
            if plus.include && !plain.include));
    }
}
