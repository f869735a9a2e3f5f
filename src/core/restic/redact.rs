//! restic's words without secrets: it quotes URLs, and a server may quote a key.

use std::fmt::{self, Write as _};

use zeroize::Zeroizing;

use crate::core::{
    restic::variables::{Content, Variable, restic_variable},
    sensitive::SensitiveMap,
    task::BASE_URL_ENV,
};

/// What stands where a secret was.
const MASK: &str = "***";
/// Shorter values are not looked for: masking each `a` would tell more than it hides.
const SHORTEST: usize = 4;

/// Takes the values of a run's credentials out of texts.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, so that no rest of a longer one is left.
    secrets: Vec<Zeroizing<String>>,
}

impl Redactor {
    /// For the variables of a run. Those that restic does not get cannot turn up in its words.
    pub fn new(variables: &SensitiveMap) -> Self {
        let mut secrets = vec![];
        for (name, value) in variables {
            let text = String::from_utf8_lossy(value.expose());
            match restic_variable(name) {
                Variable::Allowed(Content::Secret | Content::File) => secrets.push(text.into_owned()),
                Variable::Allowed(Content::Url) => secrets.extend(userinfo(&text)),
                Variable::Refused(_) if name == BASE_URL_ENV => secrets.extend(userinfo(&text)),
                Variable::Allowed(Content::Plain) | Variable::Refused(_) => {}
            }
        }
        let mut forms: Vec<Zeroizing<String>> =
            secrets.iter().flat_map(|secret| spellings(secret)).map(Zeroizing::new).collect();
        forms.retain(|form| form.len() >= SHORTEST);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { secrets: forms }
    }

    /// The text without secrets.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK);
            }
        }
        without_userinfo(&text)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

/// The ways in which a program may write a value: as it is, line by line, percent-encoded, quoted.
fn spellings(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), value.trim().to_owned(), percent_encoded(value), percent_decoded(value)];
    forms.push(value.escape_debug().to_string());
    if value.contains('\n') {
        forms.extend(value.lines().map(|line| line.trim().to_owned()).filter(|line| line.len() >= 2 * SHORTEST));
    }
    forms
}

/// User and password of a URL such as `rest:https://user:password@host/`, together and the password alone.
fn userinfo(url: &str) -> Vec<String> {
    let Some((_, rest)) = url.split_once("://") else { return vec![] };
    let Some((userinfo, _)) = rest.rsplit_once('@') else { return vec![] };
    let password = userinfo.split_once(':').map(|(_, password)| password.to_owned());
    std::iter::once(userinfo.to_owned()).chain(password).collect()
}

/// Masks whatever stands before an `@` in the authority of any URL.
fn without_userinfo(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        result += before;
        result += "://";
        let end = after.find(|c: char| c == '/' || c == '"' || c.is_whitespace()).unwrap_or(after.len());
        let at = after[..end].rfind('@');
        if at.is_some() {
            result += MASK;
        }
        rest = &after[at.unwrap_or(0)..];
    }
    result + rest
}

fn percent_encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::sensitive::Sensitive;

    fn redactor(variables: &[(&str, &str)]) -> Redactor {
        Redactor::new(&variables.iter().map(|(k, v)| ((*k).to_owned(), Sensitive::from(*v))).collect())
    }

    #[test]
    fn words_of_restic_are_cleaned() {
        let clean = redactor(&[
            ("RESTIC_PASSWORD", "canary/1 2"),
            ("RESTIC_REPOSITORY", "rest:https://user:p%40ss-canary@host:8000/radarr/"),
            ("AWS_DEFAULT_REGION", "eu-central-1"),
            ("STRONGROOM_BASE_REPOSITORY", "rest:http://base:canary-base@host/"),
            ("RESTIC_CACHE_DIR", "/cache"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "{\n  \"private_key\": \"canary-key\"\n}"),
        ]);
        for (words, cleaned) in [
            ("wrong password canary/1 2", "wrong password ***"),
            ("query canary%2F1%202 refused", "query *** refused"),
            (
                r#"parse "http://user:p%40ss-canary@host:8000/x%/": invalid URL escape"#,
                r#"parse "http://***@host:8000/x%/": invalid URL escape"#,
            ),
            ("password p@ss-canary", "password ***"),
            ("canary-base at /cache/x", "*** at /cache/x"),
            (r#"Head "http://someone:else@host/x": refused"#, r#"Head "http://***@host/x": refused"#),
            ("a path /data/radarr in eu-central-1", "a path /data/radarr in eu-central-1"),
            (r#"invalid character in "private_key": "canary-key""#, "invalid character in ***"),
            ("s3:http://host/b@c", "s3:http://host/b@c"),
        ] {
            assert_eq!(clean.clean(words), cleaned);
        }
        assert_eq!(format!("{clean:?}").find("canary"), None);
    }

    proptest! {
        #[test]
        fn no_secret_is_left(secret in "[!-~]{8,40}", before in "\\PC{0,20}", after in "\\PC{0,20}") {
            let clean = redactor(&[("RESTIC_PASSWORD", &secret), ("AWS_SECRET_ACCESS_KEY", "and-this-one")]);
            for form in [secret.clone(), percent_encoded(&secret)] {
                let text = clean.clean(&format!("{before}{form}{after} and-this-one"));
                // Masks put texts together anew; what is left must not hold the secret all the same.
                prop_assert!(!text.contains(&secret) || MASK.contains(&secret), "{text}");
                prop_assert!(!text.contains("and-this-one"));
            }
        }
    }
}
