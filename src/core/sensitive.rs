//! A value that must not be seen: not in logs, events, status, errors or debug output.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

/// Bytes of a secret. Wiped from memory when dropped; `Debug` shows that there is something, not what.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Sensitive(Zeroizing<Vec<u8>>);

/// Named secret values, for example the fields of an item or the keys of a Secret.
pub type SensitiveMap = BTreeMap<String, Sensitive>;

impl Sensitive {
    /// The value itself. Named so that every place that lets a secret out can be found.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, where it is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<Vec<u8>> for Sensitive {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&str> for Sensitive {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

impl From<String> for Sensitive {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text.into_bytes()))
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        let map = SensitiveMap::from([("key".to_owned(), Sensitive::from("hunter2"))]);
        assert_eq!(format!("{map:?}"), r#"{"key": [redacted]}"#);
    }
}
