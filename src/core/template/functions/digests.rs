//! Digests and hashed passwords.

use std::fmt::Write as _;

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{Args, Failure, Outcome, functions, string};

/// Rounds of bcrypt as a power of two: what sprig takes.
const COST: u32 = 10;
/// Bytes of a password that bcrypt reads.
const MAX_PASSWORD: usize = 72;

functions! {
    "adler32sum" 1..=1 |args| string(adler32(&args.bytes(0)?).to_string());
    "bcrypt" 1..=1 |args| string(bcrypt(args, args.text(0)?)?);
    "htpasswd" 2..=2 htpasswd;
    "sha1sum" 1..=1 |args| string(hex(&Sha1::digest(args.bytes(0)?)));
    "sha256sum" 1..=1 |args| string(hex(&Sha256::digest(args.bytes(0)?)));
    "sha512sum" 1..=1 |args| string(hex(&Sha512::digest(args.bytes(0)?)));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b): (u32, u32), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    b << 16 | a
}

fn bcrypt(args: &Args, password: &str) -> Result<String, Failure> {
    if password.len() > MAX_PASSWORD {
        return Err(format!("the password is longer than the {MAX_PASSWORD} bytes that bcrypt reads").into());
    }
    let drawn = args.work.draw();
    let salt = drawn.first_chunk::<16>().ok_or("no salt")?;
    // It reads up to a NUL, where there is room for one.
    let mut terminated = password.as_bytes().to_vec();
    terminated.push(0);
    terminated.truncate(MAX_PASSWORD);
    let hash = bcrypt::bcrypt(COST, *salt, &terminated);
    let encoder = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);
    Ok(format!("$2a${COST}${}{}", encoder.encode(salt), encoder.encode(&hash[..23])))
}

fn htpasswd(args: &Args) -> Outcome {
    let user = args.text(0)?;
    if user.contains(':') {
        return Err("the user's name has a ':'".into());
    }
    string(format!("{user}:{}", bcrypt(args, args.text(1)?)?))
}
