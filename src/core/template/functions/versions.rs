//! Semantic versions and what they must fit.

use std::{cmp::Ordering, sync::Arc};

use gotmpl::Value;

use super::{Args, Failure, Outcome, bool, functions, map};

functions! {
    "semver" 1..=1 semver;
    "semverCompare" 2..=2 compare;
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    pre: String,
    metadata: String,
}

/// Numbers and what follows them, where all of it is written as a version is; `x` and `*` are none.
struct Parts<'a> {
    numbers: [Option<&'a str>; 3],
    pre: &'a str,
    metadata: &'a str,
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, metadata) = text.split_once('+').map_or((text, None), |(text, rest)| (text, Some(rest)));
    let (text, pre) = text.split_once('-').map_or((text, None), |(text, rest)| (text, Some(rest)));
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if [pre, metadata].into_iter().flatten().any(|words| !words.split('.').all(word)) {
        return None;
    }
    let mut numbers = [None; 3];
    for (index, part) in text.split('.').enumerate() {
        let is_number = !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if !is_number && !matches!(part, "x" | "X" | "*") {
            return None;
        }
        *numbers.get_mut(index)? = Some(part);
    }
    Some(Parts { numbers, pre: pre.unwrap_or_default(), metadata: metadata.unwrap_or_default() })
}

impl Version {
    fn new(text: &str) -> Option<Self> {
        let parts = parts(text)?;
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(parts.numbers) {
            *number = part.unwrap_or("0").parse().ok()?;
        }
        let zeros = |word: &str| word.len() > 1 && word.starts_with('0') && word.chars().all(|c| c.is_ascii_digit());
        (!parts.pre.split('.').any(zeros)).then_some(())?;
        Some(Self { numbers, pre: parts.pre.to_owned(), metadata: parts.metadata.to_owned() })
    }

    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.as_str(), other.pre.as_str()) {
            ("", "") => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (a, b) => order(a, b),
        })
    }
}

/// The order of what follows a version's numbers: word by word, numbers before other words.
fn order(a: &str, b: &str) -> Ordering {
    let key =
        |word: &str| word.parse::<u64>().map_or_else(|_| (1, 0, word.to_owned()), |number| (0, number, String::new()));
    a.split('.').map(key).cmp(b.split('.').map(key))
}

fn semver(args: &Args) -> Outcome {
    let text = args.text(0)?;
    let version = Version::new(text).ok_or("the text is no version")?;
    let number = |index: usize| Value::Int(version.numbers[index].cast_signed());
    let text = |text: &str| Value::String(text.into());
    map([
        (Arc::from("Major"), number(0)),
        (Arc::from("Minor"), number(1)),
        (Arc::from("Patch"), number(2)),
        (Arc::from("Prerelease"), text(&version.pre)),
        (Arc::from("Metadata"), text(&version.metadata)),
        (Arc::from("Original"), text(args.text(0)?)),
    ])
}

fn compare(args: &Args) -> Outcome {
    let version = Version::new(args.text(1)?).ok_or("the second argument is no version")?;
    let wrong = || Failure::from("the first argument is no constraint such as \"^1.2 || >=3.4\"");
    let mut fits = false;
    for alternative in args.text(0)?.split("||") {
        let constraints = constraints(alternative).ok_or_else(wrong)?;
        let pre = constraints.iter().any(|constraint| !constraint.version.pre.is_empty());
        fits |= (version.pre.is_empty() || pre) && constraints.iter().all(|constraint| constraint.fits(&version));
    }
    bool(fits)
}

struct Constraint {
    operator: &'static str,
    version: Version,
    /// How many of the three numbers it names.
    named: usize,
}

const OPERATORS: [&str; 12] = ["!=", ">=", "=>", "<=", "=<", "~>", "=", ">", "<", "~", "^", ""];

/// The constraints of one alternative, of which all must fit.
fn constraints(text: &str) -> Option<Vec<Constraint>> {
    let words: Vec<&str> = text.split([' ', '\t', ',']).filter(|word| !word.is_empty()).collect();
    if let [from, "-", to] = words.as_slice() {
        return Some(vec![constraint(">=", from)?, constraint("<=", to)?]);
    }
    let mut found = vec![];
    let mut waiting = None;
    for word in words {
        let operator = OPERATORS.into_iter().find(|operator| word.starts_with(operator)).unwrap_or("");
        let version = &word[operator.len()..];
        match (waiting.take(), operator, version) {
            (None, operator, "") => waiting = Some(operator),
            (None, operator, version) | (Some(operator), "", version) => found.push(constraint(operator, version)?),
            _ => return None,
        }
    }
    (!found.is_empty() && waiting.is_none()).then_some(found)
}

fn constraint(operator: &'static str, text: &str) -> Option<Constraint> {
    let parts = parts(text)?;
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u64>().ok());
    let named = parts.numbers.iter().position(|part| number(*part).is_none()).unwrap_or(3);
    let mut numbers = [0; 3];
    for (into, part) in numbers.iter_mut().zip(&parts.numbers[..named]) {
        *into = number(*part)?;
    }
    let version = Version { numbers, pre: parts.pre.to_owned(), metadata: String::new() };
    Some(Constraint { operator, version, named })
}

impl Constraint {
    fn fits(&self, version: &Version) -> bool {
        let ([major, minor, patch], own) = (version.numbers, self.version.numbers);
        let order = version.order(&self.version);
        let exact = self.named == 3;
        // Without a major number any is meant.
        match self.operator {
            "!=" if exact => order != Ordering::Equal,
            "!=" => version.numbers[..self.named.max(1)] != own[..self.named.max(1)],
            ">" if exact => order == Ordering::Greater,
            ">" if self.named == 2 => (major, minor) > (own[0], own[1]),
            ">" => major > own[0],
            "<" => order == Ordering::Less,
            ">=" | "=>" => order != Ordering::Less,
            "<=" | "=<" if exact => order != Ordering::Greater,
            "<=" | "=<" if self.named == 2 => (major, minor) <= (own[0], own[1]),
            "<=" | "=<" => major <= own[0],
            "" | "=" if exact => order == Ordering::Equal,
            "^" => order != Ordering::Less && self.caret([major, minor, patch]),
            _ => order != Ordering::Less && self.tilde([major, minor]),
        }
    }

    fn tilde(&self, [major, minor]: [u64; 2]) -> bool {
        let own = self.version.numbers;
        let any = own == [0; 3] && matches!(self.named, 0 | 3);
        any || major == own[0] && (self.named < 2 || minor == own[1])
    }

    fn caret(&self, [major, minor, patch]: [u64; 3]) -> bool {
        let own = self.version.numbers;
        match self.named {
            0 => true,
            _ if own[0] > 0 || self.named == 1 => major == own[0],
            _ if major > 0 => false,
            2 => minor == own[1],
            _ if own[1] > 0 => minor == own[1],
            _ => minor == 0 && patch == own[2],
        }
    }
}
