//! Regular expressions, in Go's meaning.

use gotmpl::Value;

use super::{Args, Failure, Outcome, bool, functions, list, string};
use crate::core::regexp::Regexp;

functions! {
    "mustRegexFind" 2..=2 find;
    "mustRegexFindAll" 3..=3 find_all;
    "mustRegexMatch" 2..=2 matches;
    "mustRegexReplaceAll" 3..=3 |args| string(regexp(args)?.replace_all(args.text(1)?, args.text(2)?));
    "mustRegexReplaceAllLiteral" 3..=3 |args| string(regexp(args)?.replace_all_literal(args.text(1)?, args.text(2)?));
    "mustRegexSplit" 3..=3 split;
    "regexFind" 2..=2 find;
    "regexFindAll" 3..=3 find_all;
    "regexMatch" 2..=2 matches;
    "regexQuoteMeta" 1..=1 |args| string(quote(args.text(0)?));
    "regexReplaceAll" 3..=3 |args| string(regexp(args)?.replace_all(args.text(1)?, args.text(2)?));
    "regexReplaceAllLiteral" 3..=3 |args| string(regexp(args)?.replace_all_literal(args.text(1)?, args.text(2)?));
    "regexSplit" 3..=3 split;
}

/// Compiling one takes its time, and a loop may compile many.
fn regexp(args: &Args) -> Result<Regexp, Failure> {
    let source = args.text(0)?;
    args.work.charge(source.len().saturating_mul(256).saturating_add(16_384))?;
    // The error of the expression would quote it, and it may hold a value.
    Regexp::new(source).map_err(|_| "the first argument is no regular expression".into())
}

fn matches(args: &Args) -> Outcome {
    bool(regexp(args)?.is_match(args.text(1)?))
}

fn find(args: &Args) -> Outcome {
    string(regexp(args)?.find_all(args.text(1)?).next().unwrap_or_default())
}

/// How many are wanted: with a negative number all.
fn most(args: &Args) -> Result<usize, Failure> {
    Ok(usize::try_from(args.int(2)?).unwrap_or(usize::MAX))
}

fn strings<'a>(texts: impl IntoIterator<Item = &'a str>) -> Outcome {
    list(texts.into_iter().map(|text| Value::String(text.into())))
}

fn find_all(args: &Args) -> Outcome {
    let regexp = regexp(args)?;
    strings(regexp.find_all(args.text(1)?).take(most(args)?))
}

fn split(args: &Args) -> Outcome {
    strings(regexp(args)?.split(args.text(1)?, most(args)?))
}

fn quote(text: &str) -> String {
    text.chars().fold(String::new(), |mut quoted, c| {
        if "\\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
        quoted
    })
}
