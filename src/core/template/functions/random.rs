//! Chance. It comes from the seed of the rendering, so that the same seed gives the same text.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Args, Failure, Outcome, functions, int, string};
use crate::core::template::work::Work;

/// Characters that one call makes at most.
const MAX_COUNT: usize = 65_536;

functions! {
    "randAlpha" 1..=1 |args| chosen(args, |c| c.is_ascii_alphabetic());
    "randAlphaNum" 1..=1 |args| chosen(args, |c| c.is_ascii_alphanumeric());
    "randAscii" 1..=1 |args| chosen(args, |c| matches!(c, ' '..='~'));
    "randBytes" 1..=1 |args| string(STANDARD.encode(bytes(args.work, count(args)?)));
    "randInt" 2..=2 rand_int;
    "randNumeric" 1..=1 |args| chosen(args, |c| c.is_ascii_digit());
    "shuffle" 1..=1 shuffle;
    "uuidv4" 0..=0 uuid;
}

fn count(args: &Args) -> Result<usize, Failure> {
    let count = usize::try_from(args.int(0)?).map_err(|_| "the count is negative")?;
    if count > MAX_COUNT { Err(format!("the count is more than {MAX_COUNT}").into()) } else { Ok(count) }
}

fn bytes(work: &Work, count: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while bytes.len() < count {
        bytes.extend(work.draw());
    }
    bytes.truncate(count);
    bytes
}

/// A number below another, each as likely as the others.
fn below(work: &Work, end: u64) -> u64 {
    // What lies above the last multiple would make the first numbers likelier.
    let limit = u64::MAX - u64::MAX % end;
    loop {
        for chunk in work.draw().as_chunks::<8>().0 {
            let number = u64::from_be_bytes(*chunk);
            if number < limit {
                return number % end;
            }
        }
    }
}

fn chosen(args: &Args, fits: fn(char) -> bool) -> Outcome {
    let alphabet: Vec<char> = (' '..='~').filter(|c| fits(*c)).collect();
    let limit = 256 - 256 % alphabet.len();
    let wanted = count(args)?;
    let mut text = String::with_capacity(wanted);
    while text.len() < wanted {
        let drawn = args.work.draw();
        let fair = drawn.into_iter().map(usize::from).filter(|byte| *byte < limit);
        text.extend(fair.take(wanted - text.len()).map(|byte| alphabet[byte % alphabet.len()]));
    }
    string(text)
}

fn rand_int(args: &Args) -> Outcome {
    let (start, end) = (args.int(0)?, args.int(1)?);
    let range = end.checked_sub(start).and_then(|range| u64::try_from(range).ok()).filter(|range| *range > 0);
    let range = range.ok_or("the second number must be larger than the first")?;
    int(start.wrapping_add_unsigned(below(args.work, range)))
}

fn shuffle(args: &Args) -> Outcome {
    let mut characters: Vec<char> = args.text(0)?.chars().collect();
    args.work.charge(characters.len().saturating_mul(32))?;
    for index in (1..characters.len()).rev() {
        let other = usize::try_from(below(args.work, index as u64 + 1)).unwrap_or(index);
        characters.swap(index, other);
    }
    string(characters.into_iter().collect::<String>())
}

fn uuid(args: &Args) -> Outcome {
    let drawn = args.work.draw();
    let mut number = drawn.first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    // Version 4 and the variant, at their places.
    number = number & !(0xf << 76) | 0x4 << 76;
    number = number & !(0x3 << 62) | 0x2 << 62;
    let text = format!("{number:032x}");
    string([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
}
