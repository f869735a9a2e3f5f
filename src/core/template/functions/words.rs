//! Words: upper and lower case, wrapping, and the spellings of names.

use super::{Args, Outcome, functions, string};

functions! {
    "camelcase" 1..=1 |args| string(camel(args.text(0)?));
    "initials" 1..=1 |args| string(initials(args.text(0)?));
    "kebabcase" 1..=1 |args| string(joined(args.text(0)?, '-'));
    "plural" 3..=3 |args| string(args.text(usize::from(args.int(2)? != 1))?);
    "snakecase" 1..=1 |args| string(joined(args.text(0)?, '_'));
    "swapcase" 1..=1 |args| string(swap(args.text(0)?));
    "title" 1..=1 |args| string(title(args.text(0)?));
    "untitle" 1..=1 |args| string(untitle(args.text(0)?));
    "wrap" 2..=2 |args| wrap(args, 0, "\n", 1, false);
    "wrapWith" 3..=3 |args| wrap(args, 0, args.text(1)?, 2, true);
}

/// A character in upper case, as Go has it: one that would become two stays.
pub(super) fn upper(c: char) -> char {
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// A character in lower case, one for one.
pub(super) fn lower(c: char) -> char {
    let mut all = c.to_lowercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// The first letter of each word in upper case; a word begins where Go's does.
fn title(text: &str) -> String {
    let mut before = ' ';
    let capital = |c: char| {
        let begins =
            if before.is_ascii() { !before.is_ascii_alphanumeric() && before != '_' } else { before.is_whitespace() };
        before = c;
        if begins { upper(c) } else { c }
    };
    text.chars().map(capital).collect()
}

fn untitle(text: &str) -> String {
    let mut gap = true;
    let small = |c: char| {
        let first = std::mem::replace(&mut gap, c.is_whitespace());
        if first && !gap { lower(c) } else { c }
    };
    text.chars().map(small).collect()
}

fn swap(text: &str) -> String {
    text.chars().map(|c| if c.is_uppercase() { lower(c) } else { upper(c) }).collect()
}

fn initials(text: &str) -> String {
    text.split_whitespace().filter_map(|word| word.chars().next()).collect()
}

/// Lines of at most a width, broken at spaces; `long` breaks words too.
fn wrap(args: &Args, width: usize, newline: &str, source: usize, long: bool) -> Outcome {
    let (width, text) = (usize::try_from(args.int(width)?).unwrap_or(0).max(1), args.text(source)?);
    let newline = if newline.is_empty() { "\n" } else { newline };
    let mut wrapped = String::new();
    let mut rest = text;
    while rest.len() > width {
        if let Some(after) = rest.strip_prefix(' ') {
            rest = after;
            continue;
        }
        let hard = rest.floor_char_boundary(width).max(rest.chars().next().map_or(1, char::len_utf8));
        // Bytes, as the space may be the one right after what fits.
        let space = rest.as_bytes()[..=width].iter().rposition(|byte| *byte == b' ');
        let (line, next) = match space {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None if long => rest.split_at(hard),
            None => match rest[hard..].find(' ') {
                Some(at) => (&rest[..hard + at], &rest[hard + at + 1..]),
                None => break,
            },
        };
        wrapped.push_str(line);
        wrapped.push_str(newline);
        rest = next;
    }
    wrapped.push_str(rest);
    string(wrapped)
}

fn is_connector(c: char) -> bool {
    c == '-' || c == '_' || c.is_whitespace()
}

/// `some_name` as `someName`.
fn camel(text: &str) -> String {
    let start = text.find(|c| !is_connector(c)).unwrap_or(text.len());
    let mut result = text[..start].to_owned();
    let mut rest = text[start..].chars();
    let Some(first) = rest.next() else {
        // As there: what is nothing but connectors gets one more.
        result.extend(text.chars().next_back());
        return result;
    };
    let mut after_upper = first.is_uppercase();
    let mut last = lower(first);
    for c in rest {
        let before = std::mem::replace(&mut last, c);
        if is_connector(c) && is_connector(before) {
            result.push(before);
        } else if is_connector(before) {
            after_upper = c.is_uppercase();
            last = upper(c);
        } else {
            if after_upper {
                after_upper = c.is_uppercase();
                last = lower(c);
            }
            result.push(before);
        }
    }
    result.push(if after_upper { lower(last) } else { last });
    result
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Number,
    Upper,
    Lower,
    Connector,
    Punctuation,
    Other,
}

fn is_punctuation(c: char) -> bool {
    // Go counts some signs of ASCII as symbols.
    c.is_ascii_punctuation() && !matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~')
}

/// A letter of an alphabet, which Chinese characters are not.
fn is_letter(c: char) -> bool {
    c.is_alphabetic() && !matches!(c, '\u{3400}'..='\u{9fcc}' | '\u{20000}'..)
}

fn kind(c: char) -> Word {
    match c {
        _ if is_connector(c) => Word::Connector,
        _ if is_punctuation(c) => Word::Punctuation,
        _ if c.is_uppercase() => Word::Upper,
        _ if is_letter(c) => Word::Lower,
        _ if c.is_numeric() => Word::Number,
        _ => Word::Other,
    }
}

/// The next word, and what follows it. Of several capitals the last belongs to the word after them.
fn next_word(text: &str) -> Option<(Word, &str, &str)> {
    let first = text.chars().next()?;
    let kind_of = kind(first);
    let length = |fits: &dyn Fn(char) -> bool| text.find(|c| !fits(c)).unwrap_or(text.len());
    let mut end = match kind_of {
        Word::Upper => length(&char::is_uppercase),
        _ => length(&|c| kind(c) == kind_of),
    };
    if kind_of == Word::Upper {
        let capitals = text[..end].chars().count();
        let small = text[end..].chars().next().is_some_and(is_letter);
        if capitals == 1 && small {
            end += text[end..].find(|c| kind(c) != Word::Lower).unwrap_or(text.len() - end);
        } else if small {
            end -= text[..end].chars().next_back().map_or(0, char::len_utf8);
        }
    }
    Some((kind_of, &text[..end], &text[end..]))
}

/// `SomeName` as `some_name`: word by word, as xstrings has it. Digits stay with the letters that follow them.
fn joined(text: &str, connector: char) -> String {
    let mut result = String::new();
    let push = |result: &mut String, kind: Word, word: &str| match kind {
        Word::Connector => result.extend(word.chars().map(|_| connector)),
        _ => result.extend(word.chars().map(lower)),
    };
    let separates = |word: Option<(Word, &str, &str)>| {
        word.is_some_and(|(kind, ..)| !matches!(kind, Word::Connector | Word::Punctuation))
    };
    let mut next = next_word(text);
    while let Some((kind, word, rest)) = next {
        push(&mut result, kind, word);
        next = next_word(rest);
        match kind {
            Word::Connector | Word::Punctuation => {}
            Word::Number => {
                next = follow(&mut result, next, &push);
                if separates(next) {
                    result.push(connector);
                }
            }
            _ => match next {
                Some((Word::Number, digits, rest)) if !rest.is_empty() => {
                    let after = next_word(rest);
                    if matches!(after, Some((Word::Lower, ..))) {
                        result.push(connector);
                        push(&mut result, Word::Number, digits);
                        next = follow(&mut result, after, &push);
                    } else {
                        push(&mut result, Word::Number, digits);
                        next = after;
                    }
                    if separates(next) {
                        result.push(connector);
                    }
                }
                Some((Word::Number, ..)) => {}
                next if separates(next) => result.push(connector),
                _ => {}
            },
        }
    }
    result
}

/// Writes the small letters and digits that follow digits.
fn follow<'a>(
    result: &mut String,
    from: Option<(Word, &'a str, &'a str)>,
    push: &impl Fn(&mut String, Word, &str),
) -> Option<(Word, &'a str, &'a str)> {
    let mut next = from;
    while let Some((kind @ (Word::Lower | Word::Number), word, rest)) = next {
        push(result, kind, word);
        next = next_word(rest);
    }
    next
}
