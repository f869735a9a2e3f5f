//! Values that are no text. The strings of the engines are Unicode, those of Go are any bytes: each byte that is no part
//! of UTF-8 is carried as one of the last 128 characters of the last private block. What is text already stays as it is,
//! and what has such characters of its own is carried byte by byte too, so that nothing is taken for something else.

use std::borrow::Cow;

/// The character that stands for byte 0x80; the others follow.
const FIRST: u32 = 0x10_FF80;

/// The byte that a character stands for.
fn byte(c: char) -> Option<u8> {
    u32::from(c).checked_sub(FIRST).and_then(|offset| u8::try_from(offset + 0x80).ok())
}

/// Whether a text is what it says, and stands for no other bytes.
pub(super) fn is_plain(text: &str) -> bool {
    // All such characters begin with these bytes, and few others do.
    !text.as_bytes().windows(3).any(|bytes| matches!(bytes, [0xF4, 0x8F, 0xBE | 0xBF])) || !text.contains(is_carrier)
}

fn is_carrier(c: char) -> bool {
    byte(c).is_some()
}

/// Bytes as a string of an engine.
pub(super) fn carried(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && is_plain(text)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    let carry = |text: &mut String, bytes: &[u8]| {
        text.extend(bytes.iter().filter_map(|byte| char::from_u32(FIRST + u32::from(*byte) - 0x80)));
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_carrier(c) {
                carry(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        carry(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

/// The bytes that a string of an engine stands for.
pub(super) fn meant(text: &str) -> Cow<'_, [u8]> {
    if is_plain(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// How many bytes a string of an engine stands for.
pub(super) fn length(text: &str) -> usize {
    if is_plain(text) { text.len() } else { text.chars().map(|c| if is_carrier(c) { 1 } else { c.len_utf8() }).sum() }
}

/// Whether a template writes a character itself that stands for a byte, as it is or by an escape.
pub(super) fn are_written(template: &str) -> bool {
    let escaped = ["\\u0010ff", "\\udbff", "\\u{10ff"];
    let lower = || template.to_ascii_lowercase();
    !is_plain(template) || template.contains('\\') && escaped.iter().any(|escape| lower().contains(escape))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_as_it_is() {
        for text in ["", "plain", "größe", "\u{10ff7f}", "\u{10fffd}x"] {
            assert_eq!(meant(&carried(text.as_bytes())), text.as_bytes(), "{text:?}");
        }
        assert!(matches!(carried("größe\u{10ff7f}".as_bytes()), Cow::Borrowed(_)));
        assert_eq!(carried(b"\xff\xfea"), "\u{10ffff}\u{10fffe}a");
        // Its own characters are no bytes.
        assert_eq!(carried("\u{10ffff}".as_bytes()).chars().count(), 4);
        assert!(is_plain("\u{10ff7f}\u{fffd}") && !is_plain("a\u{10ff80}"));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(bytes: Vec<u8>, tail in "[\u{10ff70}-\u{10ffff}é]{0,3}") {
            let all = [bytes.as_slice(), tail.as_bytes()].concat();
            let text = carried(&all);
            prop_assert_eq!(&*meant(&text), all.as_slice());
            prop_assert_eq!(length(&text), all.len());
            prop_assert_eq!(is_plain(&text), std::str::from_utf8(&all).is_ok_and(|text| !text.contains(is_carrier)));
        }
    }
}
