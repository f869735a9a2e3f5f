//! Identifiers: 26 characters of `[a-z0-9]`, as 1Password writes them.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Whether `text` has the form of an ID. Connect's OpenAPI document gives the
/// pattern `^[\da-z]{26}$`, and all three SDKs test for the same.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Makes identifiers that never repeat within one server, and are the same
/// again when a server starts from the same seed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Minter {
    minted: u64,
}

impl Minter {
    /// The next identifier; `purpose` keeps kinds of objects apart.
    pub(crate) fn id(&mut self, purpose: &str) -> String {
        encode(&self.bytes(purpose))
    }

    /// 32 fresh bytes. Not random: good enough for a development server only.
    pub(crate) fn bytes(&mut self, purpose: &str) -> [u8; 32] {
        self.minted += 1;
        Sha256::new().chain_update(self.minted.to_le_bytes()).chain_update(purpose.as_bytes()).finalize().into()
    }
}

/// The first 26 letters of the base32 form of a digest.
fn encode(digest: &[u8; 32]) -> String {
    digest.iter().take(26).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn minted_identifiers_have_the_form_and_never_repeat() {
        let mut minter = Minter::default();
        let ids: BTreeSet<String> = (0..1000).map(|_| minter.id("item")).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| is_id(id)), "{ids:?}");
    }

    #[test]
    fn other_texts_are_not_identifiers() {
        for text in ["", "short", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxy-"] {
            assert!(!is_id(text), "{text}");
        }
    }
}
