//! Passwords: the strength the server reports, and those it generates.

use crate::{ids::Minter, model::PasswordDetails};
use serde::Deserialize;

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const SYMBOLS: &str = "!@#$%^&*()-_=+[]{}<>?/.,:;~";

/// How a field with `generate: true` wants its value made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Recipe {
    length: Option<usize>,
    character_sets: Vec<CharacterSet>,
    exclude_characters: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum CharacterSet {
    Letters,
    Digits,
    Symbols,
}

impl Recipe {
    /// A password by this recipe: 1 to 64 characters, 32 when nothing is said.
    pub(crate) fn generate(&self, minter: &mut Minter) -> Result<String, String> {
        let length = self.length.unwrap_or(32);
        if !(1..=64).contains(&length) {
            return Err("Invalid recipe: length must be between 1 and 64".to_owned());
        }
        let alphabet = self.alphabet();
        if alphabet.is_empty() {
            return Err("Invalid recipe: no characters to choose from".to_owned());
        }
        let bytes = [minter.bytes("password"), minter.bytes("password")].concat();
        Ok(bytes.iter().take(length).filter_map(|byte| alphabet.get(usize::from(*byte) % alphabet.len())).collect())
    }

    fn alphabet(&self) -> Vec<char> {
        let every = [CharacterSet::Letters, CharacterSet::Digits, CharacterSet::Symbols];
        let sets = if self.character_sets.is_empty() { every.as_slice() } else { &self.character_sets };
        sets.iter()
            .flat_map(|set| match set {
                CharacterSet::Letters => LETTERS.chars(),
                CharacterSet::Digits => DIGITS.chars(),
                CharacterSet::Symbols => SYMBOLS.chars(),
            })
            .filter(|letter| !self.exclude_characters.contains(*letter))
            .collect()
    }
}

/// Bits of entropy, counted from the length and the kinds of characters.
pub(crate) fn entropy(value: &str) -> f64 {
    let mut choices = 0.0;
    for (there, size) in [
        (value.chars().any(char::is_lowercase), 26.0),
        (value.chars().any(char::is_uppercase), 26.0),
        (value.chars().any(|c| c.is_ascii_digit()), 10.0),
        (value.chars().any(|c| !c.is_alphanumeric()), 33.0),
    ] {
        choices += if there { size } else { 0.0 };
    }
    let letters = u32::try_from(value.chars().count()).unwrap_or(u32::MAX);
    (f64::from(letters) * f64::max(choices, 2.0).log2() * 100.0).round() / 100.0
}

/// What the server tells of a password, its old values included.
pub(crate) fn details(value: &str, generated: bool, history: Vec<String>) -> PasswordDetails {
    const LIMITS: [(u64, &str); 6] =
        [(20, "TERRIBLE"), (40, "WEAK"), (60, "FAIR"), (80, "GOOD"), (100, "VERY_GOOD"), (120, "EXCELLENT")];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bits = entropy(value) as u64;
    let strength = LIMITS.iter().find(|(limit, _)| bits < *limit).map_or("FANTASTIC", |(_, name)| *name);
    PasswordDetails { entropy: bits, generated, strength, history }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Result<String, String> {
        serde_json::from_str::<Recipe>(text).map_err(|error| error.to_string())?.generate(&mut Minter::default())
    }

    #[test]
    fn recipes_are_followed() {
        assert_eq!(recipe("{}").unwrap().len(), 32);
        let digits = recipe(r#"{"length":64,"characterSets":["DIGITS"],"excludeCharacters":"01"}"#);
        let digits = digits.unwrap();
        assert_eq!(digits.len(), 64);
        assert!(digits.chars().all(|c| ('2'..='9').contains(&c)), "{digits}");
        assert!(recipe(r#"{"length":65}"#).is_err());
        assert!(recipe(r#"{"length":0}"#).is_err());
        assert!(recipe(r#"{"characterSets":["EMOJI"]}"#).is_err());
    }

    #[test]
    fn strength_grows_with_length() {
        assert_eq!(details("", false, vec![]).strength, "TERRIBLE");
        assert_eq!(details("hunter2", false, vec![]).strength, "WEAK");
        assert_eq!(details("correct-Horse-battery-7-staple", true, vec![]).strength, "FANTASTIC");
    }
}
