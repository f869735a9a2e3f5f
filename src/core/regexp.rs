//! Regular expressions that users write, in the meaning that Go gives them: classes such as `\d` and `\w` and the
//! boundary `\b` are those of ASCII, a class knows no operators, and `$1x` names the group `1x`.

use std::sync::LazyLock;

use regex::{Captures, Regex, RegexBuilder};

/// Bytes that a compiled regular expression may need.
const MAX_COMPILED: usize = 1 << 20;
/// The most that one repetition may count, as in Go.
const MAX_REPEAT: u32 = 1000;
/// The classes that have a name.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];
/// What the remembered states of a search may need, for each expression.
const MAX_STATES: usize = 1 << 20;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Regexp(Regex);

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Regexp {
    /// Compiles an expression in Go's syntax.
    pub fn new(source: &str) -> Result<Self, Invalid> {
        let translated = Translator::new(source).translate()?;
        let built = RegexBuilder::new(&translated)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_STATES)
            .octal(true)
            .nest_limit(200)
            .build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => Invalid("the expression is too large".to_owned()),
            // The last line says what is wrong; those before it show the translated expression.
            other => Invalid(other.to_string().lines().last().unwrap_or_default().trim().to_owned()),
        })
    }

    /// Whether any part of a text fits.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// All parts of a text that fit.
    pub fn find_all<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.find_iter(text).map(|found| found.as_str())
    }

    /// A text with the parts that fit replaced. `$1`, `${1}` and `$name` stand for groups, `$$` for a `$`.
    pub fn replace_all(&self, text: &str, with: &str) -> String {
        self.replace_all_within(text, with, usize::MAX).unwrap_or_default()
    }

    /// The same, where that makes at most so many bytes. A replacement may name a group many times, and many parts may
    /// fit: nothing is made that is larger.
    pub fn replace_all_within(&self, text: &str, with: &str, most: usize) -> Option<String> {
        let (mut result, mut start) = (String::new(), 0);
        for captures in self.0.captures_iter(text) {
            let found = captures.get(0)?;
            result.push_str(&text[start..found.start()]);
            expand(&captures, with, most, &mut result)?;
            start = found.end();
        }
        result.push_str(&text[start..]);
        (result.len() <= most).then_some(result)
    }

    /// A text with the parts that fit replaced by a text as it is.
    pub fn replace_all_literal(&self, text: &str, with: &str) -> String {
        self.0.replace_all(text, regex::NoExpand(with)).into_owned()
    }

    /// What is between the parts that fit, in at most so many parts.
    pub fn split<'a>(&self, text: &'a str, most: usize) -> Vec<&'a str> {
        if most == 0 {
            return vec![];
        }
        let (mut parts, mut start) = (vec![], 0);
        for found in self.0.find_iter(text) {
            if parts.len() + 1 >= most {
                break;
            }
            // As Go: an empty match at the start, or of an empty text, separates nothing.
            if found.end() == 0 || text.is_empty() || found.is_empty() && found.end() == text.len() {
                continue;
            }
            parts.push(&text[start..found.start()]);
            start = found.end();
        }
        parts.push(&text[start..]);
        parts
    }
}

/// Whether Go counts a character as a letter or a number: marks, which are alphabetic elsewhere, are none.
pub fn is_letter_or_number(c: char) -> bool {
    static LETTERS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{N}]$").ok());
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    LETTERS.as_ref().is_some_and(|letters| letters.is_match(c.encode_utf8(&mut [0; 4])))
}

/// Adds a replacement with its groups filled in; none where that makes more than so many bytes.
fn expand(captures: &Captures, with: &str, most: usize, result: &mut String) -> Option<()> {
    let mut rest = with;
    while let Some(at) = rest.find('$') {
        if result.len() > most {
            return None;
        }
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = group(rest) {
            result.push_str(captured(captures, name));
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    (result.len() <= most).then_some(())
}

/// The name after a `$`, and what follows it.
fn group(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let inner = braced.unwrap_or(text);
    let end = inner.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(inner.len());
    let (name, after) = inner.split_at(end);
    let after = if braced.is_some() { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

fn captured<'a>(captures: &'a Captures, name: &str) -> &'a str {
    let digits = name.chars().all(|c| c.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    let found =
        if digits { name.parse().ok().and_then(|index: usize| captures.get(index)) } else { captures.name(name) };
    found.map_or("", |found| found.as_str())
}

/// From Go's syntax to that of the `regex` crate.
struct Translator<'a> {
    source: &'a str,
    rest: &'a str,
    out: String,
}

impl<'a> Translator<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, rest: source, out: String::new() }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn translate(mut self) -> Result<String, Invalid> {
        // Whether the part before is a repetition, which cannot be repeated again.
        let mut repeated = false;
        while let Some(c) = self.next() {
            let mut repeats = false;
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.open()?,
                '{' => match repetition(self.rest)? {
                    Some(length) => {
                        repeats = true;
                        self.out.push('{');
                        self.out.push_str(&self.rest[..length]);
                        self.rest = &self.rest[length..];
                    }
                    None => self.out.push_str("\\{"),
                },
                '}' => self.out.push_str("\\}"),
                ']' => self.out.push_str("\\]"),
                '*' | '+' | '?' => {
                    repeats = true;
                    self.out.push(c);
                }
                other => self.out.push(other),
            }
            if repeats {
                if repeated {
                    return Err(Invalid("a repetition is repeated".to_owned()));
                }
                if let Some(rest) = self.rest.strip_prefix('?') {
                    self.out.push('?');
                    self.rest = rest;
                }
            }
            repeated = repeats;
        }
        Ok(self.out)
    }

    /// A group: its flags and names are those that Go knows.
    fn open(&mut self) -> Result<(), Invalid> {
        self.out.push('(');
        let Some(after) = self.rest.strip_prefix('?') else { return Ok(()) };
        if after.starts_with("P<") || after.starts_with('<') && !after.starts_with("<=") && !after.starts_with("<!") {
            return Ok(());
        }
        let flags = after.find([':', ')']).map(|end| &after[..end]);
        if flags.is_some_and(|flags| flags.chars().all(|c| "imsU-".contains(c))) {
            return Ok(());
        }
        Err(Invalid("a group begins with what is not supported".to_owned()))
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Result<(), Invalid> {
        let Some(c) = self.next() else { return Err(Invalid("the expression ends in a backslash".to_owned())) };
        match (c, in_class) {
            ('d', _) => self.out.push_str("[0-9]"),
            ('D', _) => self.out.push_str("[^0-9]"),
            ('s', _) => self.out.push_str("[\\t\\n\\f\\r ]"),
            ('S', _) => self.out.push_str("[^\\t\\n\\f\\r ]"),
            ('w', _) => self.out.push_str("[0-9A-Za-z_]"),
            ('W', _) => self.out.push_str("[^0-9A-Za-z_]"),
            ('b', false) => self.out.push_str("(?-u:\\b)"),
            ('B', false) => self.out.push_str("(?-u:\\B)"),
            ('Q', false) => {
                let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                self.out.push_str(&regex::escape(quoted));
            }
            // As in Go, a digit but 0 is octal only where another one follows it: there are no references to groups.
            ('1'..='7', _) if !self.rest.starts_with(|c| matches!(c, '0'..='7')) => {
                return Err(Invalid(format!("\\{c} is not supported")));
            }
            ('A' | 'z', false) | ('a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' | 'p' | 'P' | '0'..='7', _) => {
                self.out.extend(['\\', c]);
            }
            (c, _) if c.is_ascii_punctuation() => self.out.extend(["\\", &punctuation(c)]),
            _ => return Err(Invalid(format!("\\{c} is not supported"))),
        }
        if matches!(c, 'x' | 'p' | 'P') && self.rest.starts_with('{') {
            // The braces belong to it.
            let end = self.rest.find('}').map_or(self.rest.len(), |end| end + 1);
            self.out.push_str(&self.rest[..end]);
            self.rest = &self.rest[end..];
        }
        Ok(())
    }

    /// A class in brackets, in which nothing but `\`, `-`, `^` at its start and `[:name:]` has a meaning.
    fn class(&mut self) -> Result<(), Invalid> {
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.out.push('^');
            self.rest = rest;
        }
        let mut first = true;
        loop {
            if !std::mem::take(&mut first) && self.rest.starts_with(']') {
                self.rest = &self.rest[1..];
                self.out.push(']');
                return Ok(());
            }
            if self.named_class()? {
                continue;
            }
            if self.is_class_escape() {
                self.next();
                self.escape(true)?;
                continue;
            }
            self.class_char()?;
            // What stands after a `-` ends a range, another `-` too.
            if let Some(end) = self.rest.strip_prefix('-').filter(|end| !end.is_empty() && !end.starts_with(']')) {
                self.rest = end;
                self.out.push('-');
                if self.is_class_escape() {
                    return Err(Invalid("a range ends with a class".to_owned()));
                }
                self.class_char()?;
            }
        }
    }

    /// `[:name:]`, where that comes next.
    fn named_class(&mut self) -> Result<bool, Invalid> {
        let Some((name, after)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
            return Ok(false);
        };
        if !CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(Invalid(format!("[:{name}:] is not supported")));
        }
        self.out.extend(["[:", name, ":]"]);
        self.rest = after;
        Ok(true)
    }

    /// Whether an escape comes next that means several characters.
    fn is_class_escape(&self) -> bool {
        let escaped = self.rest.strip_prefix('\\');
        escaped.is_some_and(|rest| rest.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']))
    }

    /// One character of a class.
    fn class_char(&mut self) -> Result<(), Invalid> {
        match self.next() {
            None => return Err(Invalid(format!("a bracket of {:?} is not closed", self.source))),
            Some('\\') => self.escape(true)?,
            Some(c @ ('[' | ']' | '&' | '~' | '-' | '^')) => self.out.extend(['\\', c]),
            Some(c) => self.out.push(c),
        }
        Ok(())
    }
}

/// How the crate takes a character that Go takes literally after a backslash.
fn punctuation(c: char) -> String {
    // `\<` and `\>` would be boundaries, and what has no meaning needs no backslash.
    if matches!(c, '<' | '>' | '_' | '/' | '"' | '\'' | '`' | '@' | '%' | ',' | ':' | ';' | '=' | '!') {
        format!("x{:02X}", u32::from(c))
    } else {
        c.to_string()
    }
}

/// How long the repetition is that follows a brace; none where the brace stands for itself.
fn repetition(rest: &str) -> Result<Option<usize>, Invalid> {
    let Some(end) = rest.find('}') else { return Ok(None) };
    let (least, most) = rest[..end].split_once(',').unwrap_or((&rest[..end], ""));
    let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if !number(least) || !(most.is_empty() || number(most)) {
        return Ok(None);
    }
    let too_many = |text: &str| !text.is_empty() && text.parse::<u32>().map_or(true, |count| count > MAX_REPEAT);
    if too_many(least) || too_many(most) {
        return Err(Invalid(format!("a repetition counts beyond {MAX_REPEAT}")));
    }
    Ok(Some(end + 1))
}

#[cfg(test)]
mod tests;
