//! One-time passwords (RFC 6238) from an `otpauth://totp/…` URI or, as
//! 1Password also takes it, from the bare base32 secret.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The code that is valid at `now`, or nothing when the text is no secret.
pub(crate) fn code(text: &str, now: DateTime<Utc>) -> Option<String> {
    let settings = Settings::parse(text)?;
    let counter = u64::try_from(now.timestamp()).ok()? / settings.period;
    let digest = settings.digest(&counter.to_be_bytes())?;
    Some(truncate(&digest, settings.digits))
}

/// The parameters of the otpauth URI; defaults as authenticators have them.
struct Settings {
    secret: Vec<u8>,
    algorithm: String,
    digits: u32,
    period: u64,
}

impl Settings {
    fn parse(text: &str) -> Option<Self> {
        let mut settings = Self { secret: Vec::new(), algorithm: "SHA1".to_owned(), digits: 6, period: 30 };
        let Some(uri) = text.trim().strip_prefix("otpauth://totp/") else {
            settings.secret = base32(text)?;
            return Some(settings);
        };
        let query = uri.split_once('?')?.1;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.to_ascii_lowercase().as_str() {
                "secret" => settings.secret = base32(&value)?,
                "algorithm" => settings.algorithm = value.to_ascii_uppercase(),
                "digits" => settings.digits = value.parse().ok().filter(|n| (1..=9).contains(n))?,
                "period" => settings.period = value.parse().ok().filter(|n| *n > 0)?,
                _ => {}
            }
        }
        (!settings.secret.is_empty()).then_some(settings)
    }

    /// The HMAC of the counter under the secret.
    fn digest(&self, counter: &[u8]) -> Option<Vec<u8>> {
        match self.algorithm.as_str() {
            "SHA1" => Some(hmac_of(Hmac::<Sha1>::new_from_slice(&self.secret).ok()?, counter)),
            "SHA256" => Some(hmac_of(Hmac::<Sha256>::new_from_slice(&self.secret).ok()?, counter)),
            "SHA512" => Some(hmac_of(Hmac::<Sha512>::new_from_slice(&self.secret).ok()?, counter)),
            _ => None,
        }
    }
}

fn hmac_of(mut mac: impl Mac, message: &[u8]) -> Vec<u8> {
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The dynamic truncation of RFC 4226, section 5.3.
fn truncate(digest: &[u8], digits: u32) -> String {
    let offset = digest.last().map_or(0, |byte| usize::from(byte & 15));
    let number = digest.iter().skip(offset).take(4).fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte)) & 0x7fff_ffff;
    let width = digits as usize;
    format!("{:0width$}", number % 10u32.pow(digits))
}

/// Base32 (RFC 4648) as people paste it: any case, spaces, dashes, no padding.
fn base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut buffer) = (0u32, 0u32);
    for letter in text.chars().filter(|c| !matches!(c, ' ' | '-' | '=' | '\n')) {
        let value = match letter.to_ascii_uppercase() {
            upper @ 'A'..='Z' => u32::from(upper) - u32::from('A'),
            digit @ '2'..='7' => u32::from(digit) - u32::from('2') + 26,
            _ => return None,
        };
        buffer = ((buffer << 5) | value) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((buffer >> bits) & 0xff).ok()?);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    const SHA256_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
    const SHA512_SECRET: &str =
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA";

    fn at(seconds: i64, uri: &str) -> Option<String> {
        code(uri, DateTime::from_timestamp(seconds, 0).unwrap())
    }

    #[test]
    fn the_vectors_of_rfc_6238_appendix_b() {
        let vectors = [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ];
        for (seconds, sha1, sha256, sha512) in vectors {
            for (algorithm, secret, expected) in
                [("SHA1", SHA1_SECRET, sha1), ("sha256", SHA256_SECRET, sha256), ("SHA512", SHA512_SECRET, sha512)]
            {
                let uri = format!("otpauth://totp/x?secret={secret}&digits=8&algorithm={algorithm}");
                assert_eq!(at(seconds, &uri).as_deref(), Some(expected), "{algorithm} {seconds}");
            }
        }
    }

    #[test]
    fn six_digits_every_thirty_seconds_unless_told_otherwise() {
        let uri = format!("otpauth://totp/Home%20Assistant:me?secret={SHA1_SECRET}&issuer=Home%20Assistant");
        assert_eq!(at(59, &uri).as_deref(), Some("287082"));
        assert_eq!(at(59, "gezd gnbv-gy3t qojq gezd gnbv gy3t qojq").as_deref(), Some("287082"));
        let slow = format!("otpauth://totp/x?secret={SHA1_SECRET}&period=60");
        assert_eq!(at(119, &slow), at(60, &slow));
        assert_ne!(at(59, &slow), at(60, &slow));
    }

    #[test]
    fn what_is_no_secret_gives_no_code() {
        for text in [
            "",
            "otpauth://totp/x",
            "otpauth://totp/x?secret=",
            "not base32!",
            "otpauth://hotp/x?secret=GEZDGNBV",
            "otpauth://totp/x?secret=GEZDGNBV&algorithm=MD5",
            "otpauth://totp/x?secret=GEZDGNBV&period=0",
        ] {
            assert_eq!(at(59, text), None, "{text}");
        }
    }
}
