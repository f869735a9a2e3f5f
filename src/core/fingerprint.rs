//! Hashes that only this cluster's operator can make: they may stand where people read them, since nobody can guess
//! from them what was hashed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::sensitive::{Sensitive, SensitiveMap};

/// The key of all fingerprints of a cluster.
#[derive(Clone, Debug)]
pub struct Fingerprints(Sensitive);

impl Fingerprints {
    /// Bytes of a key.
    pub const KEY_BYTES: usize = 32;

    /// With this key, which a Secret in the operator's namespace holds.
    pub fn new(key: Sensitive) -> Self {
        Self(key)
    }

    /// 40 hexadecimal digits that change with any of the texts.
    pub fn of(&self, parts: &[&str]) -> String {
        digits(&self.mac(parts.iter().map(|part| part.as_bytes())))
    }

    /// 40 hexadecimal digits that change with any key or value, and with the place where they are.
    pub fn of_data(&self, place: &[&str], data: &SensitiveMap) -> String {
        let place = place.iter().map(|part| part.as_bytes());
        digits(&self.mac(place.chain(data.iter().flat_map(|(key, value)| [key.as_bytes(), value.expose()]))))
    }

    /// Bytes from which what looks random is made, such as the salt of a password's hash: the same for the same texts.
    pub fn seed(&self, parts: &[&str]) -> [u8; 32] {
        self.mac(std::iter::once(b"seed".as_slice()).chain(parts.iter().map(|part| part.as_bytes())))
    }

    fn mac<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
        // A key of any length is taken.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.expose()) else { return [0; 32] };
        for part in parts {
            // Borders count.
            mac.update(&part.len().to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn digits(bytes: &[u8; 32]) -> String {
    bytes
        .iter()
        .take(20)
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depend_on_key_parts_and_borders() {
        let one = Fingerprints::new(Sensitive::from("one"));
        let base = one.of(&["ab", "c"]);
        assert_eq!((base.len(), &base), (40, &one.of(&["ab", "c"])));
        for other in
            [one.of(&["a", "bc"]), one.of(&["ab", "c", ""]), Fingerprints::new(Sensitive::from("two")).of(&["ab", "c"])]
        {
            assert_ne!(base, other);
        }
        let data =
            |value: &str| one.of_data(&["place"], &SensitiveMap::from([("k".to_owned(), Sensitive::from(value))]));
        assert_ne!(data("a"), data("b"));
        assert_ne!(one.of_data(&["a"], &SensitiveMap::new()), one.of_data(&["b"], &SensitiveMap::new()));
        assert_ne!(one.seed(&["a"]), one.seed(&["b"]));
        assert!(!format!("{one:?}").contains("one"));
    }
}
