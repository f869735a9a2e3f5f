//! Values that are no text, in engines whose strings are text: each byte that is no part of a character stands as a
//! private character, and is a byte again in what the template makes. Go's strings hold any bytes; so nearly all that
//! passes a value on, encodes it or makes a digest of it works as there, and every other function refuses it.

use gotmpl::Value;

/// The first of the 256 private characters that stand for bytes: the last but one block of Unicode.
const FIRST: u32 = 0x0010_FE00;

fn is_byte(c: char) -> bool {
    (FIRST..FIRST + 0x100).contains(&c.into())
}

/// Bytes as a text. A character that stands for a byte is itself told by its bytes, so that nothing is lost.
pub(super) fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let stand =
        |bytes: &[u8]| -> String { bytes.iter().filter_map(|byte| char::from_u32(FIRST + u32::from(*byte))).collect() };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_byte(c) {
                text += &stand(c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        text += &stand(chunk.invalid());
    }
    text
}

/// The bytes that a text stands for.
pub(super) fn to_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c).wrapping_sub(FIRST)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Whether a text stands for bytes that are none.
pub(super) fn is_binary(text: &str) -> bool {
    text.chars().any(is_byte)
}

/// Whether a value holds such a text.
pub(super) fn holds(value: &Value) -> bool {
    match value {
        Value::String(text) => is_binary(text),
        Value::List(list) => list.iter().any(holds),
        Value::Map(map) => map.iter().any(|(key, value)| is_binary(key) || holds(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_are_the_same_again(bytes: Vec<u8>) {
            let text = to_text(&bytes);
            prop_assert_eq!(to_bytes(&text), bytes.clone());
            prop_assert_eq!(is_binary(&text), std::str::from_utf8(&bytes).is_err());
        }
    }

    #[test]
    fn what_stands_for_a_byte_is_itself_again() {
        let text = "a\u{10FE80}\u{10FEFF}b";
        assert_eq!(to_bytes(&to_text(text.as_bytes())), text.as_bytes());
    }
}
