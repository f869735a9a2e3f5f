//! Encodings: base64, base32, JSON, YAML.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Args, Outcome, binary, functions, json, string, yaml};
use crate::core::lenient;

functions! {
    "b32dec" 1..=1 |args| string(binary::to_text(&base32_decode(args.text(0)?).ok_or("the value is not base32")?));
    "b32enc" 1..=1 |args| string(base32_encode(&args.bytes(0)?));
    "b64dec" 1..=1 |args| string(binary::to_text(&base64_decode(args.text(0)?).ok_or("the value is not base64")?));
    "b64enc" 1..=1 |args| string(STANDARD.encode(args.bytes(0)?));
    "fromJson" 1..=1 from_json;
    "fromYaml" 1..=1 |args| yaml::read(args.text(0)?);
    "mustFromJson" 1..=1 from_json;
    "mustToJson" 1..=1 |args| string(json::escaped(&json::value(args.any(0))?.to_string()));
    "mustToPrettyJson" 1..=1 pretty;
    "mustToRawJson" 1..=1 |args| string(json::value(args.any(0))?.to_string());
    "toJson" 1..=1 |args| string(json::escaped(&json::value(args.any(0))?.to_string()));
    "toPrettyJson" 1..=1 pretty;
    "toRawJson" 1..=1 |args| string(json::value(args.any(0))?.to_string());
    "toYaml" 1..=1 |args| string(yaml::write(args.any(0))?);
}

/// As Go, which takes no notice of line ends.
fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let plain: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    lenient::STANDARD.decode(plain).ok()
}

fn from_json(args: &Args) -> Outcome {
    let parsed = serde_json::from_str(args.text(0)?).map_err(|_| "the value is no JSON")?;
    Ok(json::read(parsed))
}

fn pretty(args: &Args) -> Outcome {
    string(json::escaped(&format!("{:#}", json::value(args.any(0))?)))
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32_encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        let letters = (chunk.len() * 8).div_ceil(5);
        for index in 0..8 {
            let letter = BASE32[(bits >> (35 - 5 * index) & 31) as usize];
            text.push(if index < letters { letter.into() } else { '=' });
        }
    }
    text
}

fn base32_decode(text: &str) -> Option<Vec<u8>> {
    let plain: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let padding = plain.iter().rev().take_while(|byte| **byte == b'=').count();
    if !plain.len().is_multiple_of(8) || !matches!(padding, 0 | 1 | 3 | 4 | 6) {
        return None;
    }
    let mut bytes = Vec::with_capacity(plain.len());
    let (mut bits, mut count) = (0_u64, 0);
    for letter in &plain[..plain.len() - padding] {
        let value = BASE32.iter().position(|known| known == letter)?;
        bits = (bits << 5 | value as u64) & 0xFFFF_FFFF;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).ok()?);
        }
    }
    Some(bytes)
}
