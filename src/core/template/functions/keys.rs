//! Keys and certificates: PEM files taken apart, chains put in order, JSON web keys as PEM.

use ::core::net::{Ipv4Addr, Ipv6Addr};

use gotmpl::Value;
use serde_json::Value as Json;

use super::{
    Args, Failure, Outcome, functions, list,
    pem::{Block, decode, der, integer, items, nested, split, unsigned},
    string,
};

functions! {
    "certSANs" 1..=1 names;
    "filterCertChain" 2..=2 filter_chain;
    "filterPEM" 2..=2 filter;
    "jwkPrivateKeyPem" 1..=1 |args| string(Block::new("PRIVATE KEY", key(args.text(0)?)?.private().ok_or(INCOMPLETE)?).encode());
    "jwkPublicKeyPem" 1..=1 |args| string(Block::new("PUBLIC KEY", key(args.text(0)?)?.public().ok_or(INCOMPLETE)?).encode());
}

const INCOMPLETE: &str = "the JSON web key lacks a part that is needed";
const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;
const OBJECT: u8 = 0x06;

fn filter(args: &Args) -> Outcome {
    let (kind, mut rest) = (args.text(0)?, args.text(1)?);
    let mut kept = String::new();
    while let Some((block, after)) = decode(rest) {
        rest = after;
        if block.kind.eq_ignore_ascii_case(kind) {
            kept.push_str(&block.encode());
        }
    }
    if kept.is_empty() && !rest.is_empty() {
        return Err("the text has no such block, and ends in what is no PEM".into());
    }
    string(kept)
}

/// What a certificate says of its place in a chain, and its names.
struct Certificate {
    block: Block,
    /// The identifier of its key.
    subject: Vec<u8>,
    /// The identifier of the key that signed it.
    authority: Option<Vec<u8>>,
    names: Vec<String>,
}

impl Certificate {
    fn read(block: Block) -> Option<Self> {
        let mut found = Self { subject: vec![], authority: None, names: vec![], block };
        let (_, certificate, _) = split(&found.block.bytes)?;
        let (_, body, _) = split(certificate)?;
        let extensions = items(body)?.into_iter().find(|(tag, _)| *tag == 0xa3);
        let extensions = extensions.map_or(Some(vec![]), |(_, content)| items(split(content)?.1))?;
        let (mut subject, mut authority, mut names) = (vec![], None, vec![]);
        for (_, extension) in extensions {
            let parts = items(extension)?;
            let ((_, id), (_, content)) = (parts.first()?, parts.last()?);
            match *id {
                [0x55, 0x1d, 0x0e] => subject = split(content)?.1.to_vec(),
                [0x55, 0x1d, 0x23] => {
                    let id = items(split(content)?.1)?.into_iter().find(|(tag, _)| *tag == 0x80);
                    authority = id.map(|(_, id)| id.to_vec());
                }
                [0x55, 0x1d, 0x11] => {
                    let mut all = items(split(content)?.1)?;
                    // Host names, addresses, mail addresses, URIs.
                    all.sort_by_key(|(tag, _)| [0x82, 0x87, 0x81, 0x86].iter().position(|known| known == tag));
                    names = all.into_iter().filter_map(|(tag, name)| alternative(tag, name)).collect();
                }
                _ => {}
            }
        }
        (found.subject, found.authority, found.names) = (subject, authority, names);
        Some(found)
    }

    fn is_root(&self) -> bool {
        self.authority.as_ref().is_none_or(|authority| *authority == self.subject)
    }

    fn is_signed_by(&self, other: &Self) -> bool {
        self.authority.as_deref().unwrap_or_default() == other.subject
    }
}

fn alternative(tag: u8, name: &[u8]) -> Option<String> {
    match (tag, name.len()) {
        (0x81 | 0x82 | 0x86, _) => String::from_utf8(name.to_vec()).ok(),
        (0x87, 4) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(name).ok()?).to_string()),
        (0x87, 16) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(name).ok()?).to_string()),
        _ => None,
    }
}

fn certificates(text: &str) -> Result<Vec<Certificate>, Failure> {
    let (mut found, mut rest) = (vec![], text);
    while let Some((block, after)) = decode(rest) {
        rest = after;
        found.push(Certificate::read(block).ok_or("a block is no certificate")?);
    }
    Ok(found)
}

/// The certificates from the one that signs no other to the one that no other signs.
fn chain(args: &Args, text: &str) -> Result<Vec<Certificate>, Failure> {
    let all = certificates(text)?;
    args.work.step(all.len().saturating_mul(all.len()))?;
    let parent = |index: usize| (0..all.len()).find(|other| *other != index && all[index].is_signed_by(&all[*other]));
    let parents: Vec<Option<usize>> = (0..all.len()).map(parent).collect();
    let leaves: Vec<usize> = (0..all.len()).filter(|index| !parents.contains(&Some(*index))).collect();
    let mut next = match leaves.as_slice() {
        [leaf] => Some(*leaf),
        [] => return Err("there is no leaf certificate".into()),
        _ => return Err("there are several leaf certificates, or they do not belong together".into()),
    };
    let mut places = vec![];
    while let Some(index) = next {
        if places.contains(&index) {
            return Err("the certificates sign each other in a circle".into());
        }
        places.push(index);
        next = parents[index];
    }
    let mut all: Vec<Option<Certificate>> = all.into_iter().map(Some).collect();
    Ok(places.into_iter().filter_map(|index| all[index].take()).collect())
}

fn filter_chain(args: &Args) -> Outcome {
    let chain = chain(args, args.text(1)?)?;
    let text = |certificate: &Certificate| Block::new("CERTIFICATE", certificate.block.bytes.clone()).encode();
    string(match args.text(0)? {
        "leaf" => chain.first().filter(|leaf| !leaf.is_root()).map(text).unwrap_or_default(),
        "intermediate" => chain.iter().skip(1).take_while(|certificate| !certificate.is_root()).map(text).collect(),
        "root" => chain.last().filter(|root| root.is_root()).map(text).unwrap_or_default(),
        _ => String::new(),
    })
}

fn names(args: &Args) -> Outcome {
    let all = certificates(args.text(0)?)?;
    let first = all.into_iter().next().ok_or("the text has no certificate")?;
    list(first.names.into_iter().map(|name| Value::String(name.into())))
}

/// A JSON web key.
struct Key {
    parts: Json,
}

fn key(text: &str) -> Result<Key, Failure> {
    let parts: Json = serde_json::from_str(text).map_err(|_| "the value is no JSON")?;
    let key = Key { parts };
    if matches!(key.text("kty"), Some("RSA" | "EC" | "OKP")) {
        Ok(key)
    } else {
        Err("the JSON web key is none of RSA, EC and OKP".into())
    }
}

impl Key {
    fn text(&self, name: &str) -> Option<&str> {
        self.parts.get(name)?.as_str()
    }

    fn number(&self, name: &str) -> Option<Vec<u8>> {
        unsigned(self.text(name)?)
    }

    /// A number of exactly so many bytes.
    fn padded(&self, name: &str, length: usize) -> Option<Vec<u8>> {
        let number = self.number(name)?;
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
        let digits = &number[start..];
        Some([vec![0; length.checked_sub(digits.len())?], digits.to_vec()].concat())
    }

    /// The object identifier of a curve, and the bytes of its numbers.
    fn curve(&self) -> Option<(&'static [u8], usize)> {
        Some(match self.text("crv")? {
            "P-256" => (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], 32),
            "P-384" => (&[0x2b, 0x81, 0x04, 0x00, 0x22], 48),
            "P-521" => (&[0x2b, 0x81, 0x04, 0x00, 0x23], 66),
            "Ed25519" => (&[0x2b, 0x65, 0x70], 32),
            "X25519" => (&[0x2b, 0x65, 0x6e], 32),
            _ => return None,
        })
    }

    fn algorithm(&self) -> Option<Vec<u8>> {
        const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
        const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        Some(match self.text("kty")? {
            "RSA" => nested(SEQUENCE, &[der(OBJECT, RSA), der(0x05, &[])]),
            "EC" => nested(SEQUENCE, &[der(OBJECT, EC), der(OBJECT, self.curve()?.0)]),
            _ => nested(SEQUENCE, &[der(OBJECT, self.curve()?.0)]),
        })
    }

    /// The public key's bits.
    fn bits(&self) -> Option<Vec<u8>> {
        let bits = match self.text("kty")? {
            "RSA" => nested(SEQUENCE, &[integer(&self.number("n")?), integer(&self.number("e")?)]),
            "EC" => {
                let length = self.curve()?.1;
                [vec![4], self.padded("x", length)?, self.padded("y", length)?].concat()
            }
            _ => self.number("x").filter(|x| x.len() == 32)?,
        };
        Some(der(BITS, &[vec![0], bits].concat()))
    }

    fn public(&self) -> Option<Vec<u8>> {
        Some(nested(SEQUENCE, &[self.algorithm()?, self.bits()?]))
    }

    fn private(&self) -> Option<Vec<u8>> {
        let content = match self.text("kty")? {
            "RSA" => {
                let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
                let numbers: Vec<_> =
                    names.iter().map(|name| Some(integer(&self.number(name)?))).collect::<Option<_>>()?;
                nested(SEQUENCE, &[vec![integer(&[])], numbers].concat())
            }
            "EC" => {
                let secret = der(OCTETS, &self.padded("d", self.curve()?.1)?);
                nested(SEQUENCE, &[integer(&[1]), secret, der(0xa1, &self.bits()?)])
            }
            _ => der(OCTETS, &self.number("d").filter(|d| d.len() == 32)?),
        };
        Some(nested(SEQUENCE, &[integer(&[]), self.algorithm()?, der(OCTETS, &content)]))
    }
}
