//! Connect tokens: strings with the form and the claims of the real ones
//! (ES256 JWTs), known by heart to this server, each for some vaults.
//!
//! The claims are those of a public sample in 1Password's documentation and
//! of third-party fixtures. The signature is noise of the right length.

use crate::{errors::ApiError, ids::Minter};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// What a token may do in a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    Read,
    Write,
}

/// A token of this server. It has no `Debug`, so that it cannot be logged.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) jti: String,
    /// Vault IDs; fixed when the token is made, as the real claims are.
    pub(crate) vaults: BTreeMap<String, Access>,
    pub(crate) issued: DateTime<Utc>,
    pub(crate) expires: Option<DateTime<Utc>>,
    pub(crate) revoked: bool,
}

impl Token {
    /// Whether the token may read a vault (403 if not).
    pub(crate) fn check_read(&self, vault: &str) -> Result<(), ApiError> {
        match self.vaults.get(vault) {
            Some(_) => Ok(()),
            None => Err(ApiError::not_in_scope(vault)),
        }
    }

    /// Whether the token may write to a vault (403, or 401 when it only reads).
    pub(crate) fn check_write(&self, vault: &str) -> Result<(), ApiError> {
        self.check_read(vault)?;
        match self.vaults.get(vault) {
            Some(Access::Write) => Ok(()),
            _ => Err(ApiError::read_only()),
        }
    }
}

/// Who this Connect server is, for claims and the activity log.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The account, 26 capital letters and digits.
    pub(crate) account: String,
    /// This server within the account.
    pub(crate) server: String,
}

/// All tokens that were issued, by name.
#[derive(Default)]
pub(crate) struct Tokens {
    tokens: BTreeMap<String, Token>,
    minter: Minter,
}

impl Tokens {
    /// Issues a token, in the place of one with the same name. `value` gives
    /// the token string itself; without it, one is made.
    pub(crate) fn issue(
        &mut self,
        identity: &Identity,
        name: String,
        vaults: BTreeMap<String, Access>,
        value: Option<String>,
        now: DateTime<Utc>,
        expires: Option<DateTime<Utc>>,
    ) -> Token {
        let mut token = Token {
            name: name.clone(),
            value: String::new(),
            jti: self.minter.id("jti"),
            vaults,
            issued: now,
            expires,
            revoked: false,
        };
        token.value = value.unwrap_or_else(|| self.sign(identity, &token));
        self.tokens.insert(name, token.clone());
        token
    }

    /// The JWT of a token.
    fn sign(&mut self, identity: &Identity, token: &Token) -> String {
        let header = json!({"alg": "ES256", "kid": self.minter.id("kid"), "typ": "JWT"});
        // The meaning of the bits is not documented: ours only tell reading
        // and writing apart.
        let vaults: Vec<_> = token
            .vaults
            .iter()
            .map(|(id, access)| json!({"u": id.to_uppercase(), "a": if *access == Access::Write { 48 } else { 32 }}))
            .collect();
        let mut claims = json!({
            "1password.com/auuid": identity.account,
            "1password.com/token": self.minter.id("secret"),
            "1password.com/fts": ["vaultaccess"],
            "1password.com/vts": vaults,
            "aud": ["com.1password.connect"],
            "sub": identity.server,
            "iat": token.issued.timestamp(),
            "iss": "com.1password.b5",
            "jti": token.jti,
        });
        if let Some(expires) = token.expires {
            claims["exp"] = expires.timestamp().into();
        }
        let signature = [self.minter.bytes("r"), self.minter.bytes("s")].concat();
        [header.to_string().into_bytes(), claims.to_string().into_bytes(), signature]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".")
    }

    /// The token of an `Authorization` header, or the 401 that it gets.
    pub(crate) fn check(&self, header: Option<&str>, now: DateTime<Utc>) -> Result<&Token, ApiError> {
        let value = bearer(header).ok_or_else(ApiError::bad_token)?;
        let token = self.tokens.values().find(|token| token.value == value);
        match token {
            Some(token) if token.revoked => Err(ApiError::bad_token()),
            Some(token) if token.expires.is_some_and(|end| end <= now) => Err(ApiError::bad_token()),
            Some(token) => Ok(token),
            None if is_jwt(value) => Err(ApiError::foreign_token()),
            None => Err(ApiError::bad_token()),
        }
    }

    /// The name of the token that a request shows, valid or not.
    pub(crate) fn name_of(&self, header: Option<&str>) -> Option<&str> {
        let value = bearer(header)?;
        let token = self.tokens.values().find(|token| token.value == value)?;
        Some(&token.name)
    }

    /// All tokens, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Token> {
        self.tokens.values()
    }

    /// A token to change.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Token> {
        self.tokens.get_mut(name)
    }
}

fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, value) = header?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(value)
}

/// Whether a text has the three parts of a JWT, the last one a whole ES256
/// signature: a token that lost its end has not.
fn is_jwt(value: &str) -> bool {
    let parts: Vec<_> = value.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).collect();
    matches!(parts.as_slice(), [header, claims, signature]
        if header.starts_with(b"{") && claims.starts_with(b"{") && signature.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn issue(tokens: &mut Tokens, name: &str, expires: Option<i64>) -> Token {
        let identity = Identity { account: "ACCOUNT".to_owned(), server: "SERVER".to_owned() };
        let vaults = BTreeMap::from([("a".repeat(26), Access::Read)]);
        let expires = expires.map(|seconds| DateTime::from_timestamp(seconds, 0).unwrap());
        tokens.issue(&identity, name.to_owned(), vaults, None, now(), expires)
    }

    fn verdict(tokens: &Tokens, value: &str) -> Result<String, String> {
        let header = format!("Bearer {value}");
        let token = tokens.check(Some(&header), now());
        token.map(|token| token.name.clone()).map_err(|error| error.message)
    }

    #[test]
    fn a_token_has_the_claims_of_a_real_one() {
        let token = issue(&mut Tokens::default(), "ours", Some(1_900_000_000));
        let parts: Vec<_> = token.value.split('.').collect();
        let json = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        assert_eq!(json(parts[0])["alg"], "ES256");
        let claims = json(parts[1]);
        assert_eq!(claims["exp"], 1_900_000_000);
        assert_eq!(claims["jti"], token.jti.as_str());
        assert_eq!(claims["1password.com/vts"][0]["u"], "A".repeat(26));
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 64);
    }

    #[test]
    fn only_tokens_of_this_server_are_accepted() {
        let mut tokens = Tokens::default();
        let ours = issue(&mut tokens, "ours", None).value;
        let expired = issue(&mut tokens, "expired", Some(1_799_999_999)).value;
        let revoked = issue(&mut tokens, "revoked", None).value;
        tokens.get_mut("revoked").unwrap().revoked = true;
        let mut elsewhere = Tokens::default();
        elsewhere.minter.bytes("something else happened there");
        let foreign = issue(&mut elsewhere, "foreign", None).value;

        assert_eq!(verdict(&tokens, &ours), Ok("ours".to_owned()));
        let bad = Err("Invalid bearer token".to_owned());
        for value in [&expired, &revoked, "", "gibberish", &ours[..ours.len() - 9]] {
            assert_eq!(verdict(&tokens, value), bad, "{value}");
        }
        assert_eq!(verdict(&tokens, &foreign), Err("Invalid token signature".to_owned()));
        assert!(tokens.check(None, now()).is_err());
        assert!(tokens.check(Some("Basic abc"), now()).is_err());
    }
}
