//! PEM blocks, and as much of DER as certificates and keys need.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

/// A block of a PEM file.
pub(super) struct Block {
    /// What it holds, such as `CERTIFICATE`.
    pub(super) kind: String,
    headers: Vec<(String, String)>,
    /// The content.
    pub(super) bytes: Vec<u8>,
}

impl Block {
    /// A block without headers.
    pub(super) fn new(kind: &str, bytes: Vec<u8>) -> Self {
        Self { kind: kind.to_owned(), headers: vec![], bytes }
    }

    /// As text, in lines of 64.
    pub(super) fn encode(&self) -> String {
        let mut text = format!("-----BEGIN {}-----\n", self.kind);
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\n"]);
        }
        if !self.headers.is_empty() {
            text.push('\n');
        }
        for line in STANDARD.encode(&self.bytes).as_bytes().chunks(64) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text + &format!("-----END {}-----\n", self.kind)
    }
}

/// The next block of a text, and what follows it.
pub(super) fn decode(text: &str) -> Option<(Block, &str)> {
    const BEGIN: &str = "-----BEGIN ";
    let mut rest = text;
    loop {
        let at = rest.find(BEGIN)?;
        let starts_line = at == 0 || rest.as_bytes()[at - 1] == b'\n';
        let after = &rest[at + BEGIN.len()..];
        if let Some(found) = starts_line.then(|| block(after)).flatten() {
            return Some(found);
        }
        rest = after;
    }
}

fn block(after: &str) -> Option<(Block, &str)> {
    let (line, body) = after.split_once('\n')?;
    let kind = line.trim_end().strip_suffix("-----")?;
    let end = format!("-----END {kind}-----");
    let (body, rest) = body.split_at(body.find(&end)?);
    let rest = &rest[end.len()..];
    let (rest_of_line, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    rest_of_line.trim().is_empty().then_some(())?;
    let mut headers = vec![];
    let mut content = String::new();
    for line in body.lines() {
        match line.split_once(':') {
            Some((name, value)) if content.is_empty() => {
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            _ => content.extend(line.chars().filter(|c| !c.is_whitespace())),
        }
    }
    // Go writes the kind of encryption first and the others in their order.
    headers.sort_by_key(|(name, _)| (name != "Proc-Type", name.clone()));
    Some((Block { kind: kind.to_owned(), headers, bytes: STANDARD.decode(content).ok()? }, rest))
}

/// The number in base64 that a JSON web key holds.
pub(super) fn unsigned(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// A value in DER.
pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut bytes = vec![tag];
    if content.len() < 0x80 {
        bytes.push(length[0]);
    } else {
        bytes.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
        bytes.extend(length);
    }
    bytes.extend(content);
    bytes
}

/// Several values one after another in one.
pub(super) fn nested(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    der(tag, &parts.concat())
}

/// A whole number in DER.
pub(super) fn integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let digits = &number[start..];
    let sign = if digits.first().is_none_or(|byte| *byte >= 0x80) { &[0][..] } else { &[] };
    der(0x02, &[sign, digits].concat())
}

/// The first value of DER: its tag, its content, and what follows it.
pub(super) fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(*first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        (digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// All values of DER that follow each other.
pub(super) fn items(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = vec![];
    while !bytes.is_empty() {
        let (tag, content, rest) = split(bytes)?;
        found.push((tag, content));
        bytes = rest;
    }
    Some(found)
}
