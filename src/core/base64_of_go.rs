//! Base64 as Go reads it: line ends count for nothing, padding is needed, and bits that are left over at the end may be
//! any.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::PAD},
};

const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PAD.with_decode_allow_trailing_bits(true));

/// The bytes that base64 stands for.
pub fn standard(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(plain(text)).ok()
}

/// The bytes that URL-safe base64 stands for.
pub fn url_safe(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE.decode(plain(text)).ok()
}

fn plain(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, expected) in [
            ("YWJjZA==", Some("abcd")),
            ("YWJjZB==", Some("abcd")),
            ("YW\r\nJj\n", Some("abc")),
            ("YWJjZA", None),
            ("YWJjZA=", None),
            ("YWJj ", None),
            ("", Some("")),
        ] {
            assert_eq!(standard(text.as_bytes()).as_deref(), expected.map(str::as_bytes), "{text}");
            assert_eq!(url_safe(text.as_bytes()).as_deref(), expected.map(str::as_bytes), "{text}");
        }
        assert_eq!(standard(b"Pz8/").as_deref(), Some(&b"???"[..]));
        assert!(standard(b"Pz8_").is_none() && url_safe(b"Pz8/").is_none());
    }
}
