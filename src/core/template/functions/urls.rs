//! URLs and paths, as Go takes them apart and puts them together.

use std::{fmt::Write as _, sync::Arc};

use gotmpl::Value;

use super::{Args, Failure, Outcome, bool, functions, map, string};

functions! {
    "base" 1..=1 |args| string(base(args.text(0)?));
    "clean" 1..=1 |args| string(clean(args.text(0)?));
    "dir" 1..=1 |args| string(dir(args.text(0)?));
    "ext" 1..=1 |args| string(ext(args.text(0)?));
    "isAbs" 1..=1 |args| bool(args.text(0)?.starts_with('/'));
    "osBase" 1..=1 |args| string(base(args.text(0)?));
    "osClean" 1..=1 |args| string(clean(args.text(0)?));
    "osDir" 1..=1 |args| string(dir(args.text(0)?));
    "osExt" 1..=1 |args| string(ext(args.text(0)?));
    "osIsAbs" 1..=1 |args| bool(args.text(0)?.starts_with('/'));
    "urlJoin" 1..=1 join;
    "urlParse" 1..=1 parse;
}

/// The shortest path of the same meaning.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (false, true) => "/",
        (false, false) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |at| &path[..=at]))
}

fn ext(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rfind('.').map_or("", |at| &name[at..])
}

/// Where a text stands in a URL: which characters must be escaped there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Host,
    Path,
    User,
    Fragment,
}

fn escapes(byte: u8, at: At) -> bool {
    match byte {
        b'-' | b'_' | b'.' | b'~' => false,
        _ if byte.is_ascii_alphanumeric() => false,
        b'!' | b'\'' | b'(' | b')' | b'*' | b'[' | b']' | b'<' | b'>' | b'"' if at == At::Host => false,
        b'$' | b'&' | b'+' | b',' | b';' | b'=' => false,
        b':' => at == At::User,
        b'/' | b'@' => matches!(at, At::User | At::Host),
        b'?' | b'!' | b'(' | b')' | b'*' => at != At::Fragment,
        _ => true,
    }
}

fn escape(text: &str, at: At) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii() && !escapes(byte, at) {
            escaped.push(byte.into());
        } else {
            // Writing into a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

fn unescape(text: &str) -> Result<String, Failure> {
    let wrong = || Failure::from("the URL has a '%' that begins no escape");
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| "the URL escapes what is no text".into())
}

/// The scheme, where there is one, and what follows it.
fn scheme(url: &str) -> Result<(String, &str), Failure> {
    match url.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))) {
        Some(at) if url[at..].starts_with(':') => {
            if at == 0 {
                return Err("the URL has no scheme before its ':'".into());
            }
            let starts = url.starts_with(|c: char| c.is_ascii_alphabetic());
            Ok(if starts { (url[..at].to_lowercase(), &url[at + 1..]) } else { (String::new(), url) })
        }
        _ => Ok((String::new(), url)),
    }
}

/// User and password as they stand in a URL.
fn userinfo(text: &str) -> Result<String, Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !text.chars().all(allowed) {
        return Err("the URL's user or password has a character that must be escaped: use urlquery".into());
    }
    let part = |text: &str| unescape(text).map(|plain| escape(&plain, At::User));
    match text.split_once(':') {
        Some((user, password)) => Ok(format!("{}:{}", part(user)?, part(password)?)),
        None => part(text),
    }
}

fn host(text: &str) -> Result<(String, &str), Failure> {
    let wrong = || Failure::from("the URL's host or port is wrong");
    let end = if text.starts_with('[') {
        text.find(']').ok_or_else(wrong)? + 1
    } else {
        text.rfind(':').unwrap_or(text.len())
    };
    let port = &text[end..];
    if !(port.is_empty() || port.starts_with(':') && port[1..].chars().all(|c| c.is_ascii_digit())) {
        return Err(wrong());
    }
    if text.contains([' ', '\\', '^', '`', '{', '}', '|']) || !text.starts_with('[') && text[..end].contains('[') {
        return Err(wrong());
    }
    let name = text[..end].trim_start_matches('[').trim_end_matches(']');
    Ok((unescape(text)?, if text.starts_with('[') { name } else { &text[..end] }))
}

fn parse(args: &Args) -> Outcome {
    let url = args.text(0)?;
    if url.contains(|c: char| c.is_ascii_control()) {
        return Err("the URL has a control character".into());
    }
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (scheme, rest) = scheme(url)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parts =
        [("scheme", scheme.clone()), ("query", query.to_owned()), ("fragment", unescape(fragment)?)].to_vec();
    let path = match rest.strip_prefix("//") {
        _ if !rest.starts_with('/') && !scheme.is_empty() => {
            parts.push(("opaque", rest.to_owned()));
            ""
        }
        Some(after) if !(scheme.is_empty() && after.starts_with('/')) => {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            let (user, name) = authority.rsplit_once('@').unwrap_or(("", authority));
            let (host, hostname) = host(name)?;
            parts.extend([("userinfo", userinfo(user)?), ("host", host), ("hostname", unescape(hostname)?)]);
            path
        }
        _ => rest,
    };
    if scheme.is_empty() && path.split('/').next().is_some_and(|first| first.contains(':')) {
        return Err("the first part of the URL's path has a ':'".into());
    }
    parts.push(("path", unescape(path)?));
    let names = ["scheme", "userinfo", "host", "hostname", "path", "query", "opaque", "fragment"];
    let value = |name: &str| parts.iter().find(|(part, _)| *part == name).map_or("", |(_, value)| value.as_str());
    map(names.map(|name| (Arc::from(name), Value::String(value(name).into()))))
}

fn join(args: &Args) -> Outcome {
    let parts = args.map(0)?;
    let part = |name: &str| match parts.get(name) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(&**text),
        Some(_) => Err(Failure::from(format!("{name} is no text"))),
    };
    let (scheme, host, path, opaque) = (part("scheme")?, part("host")?, part("path")?, part("opaque")?);
    let user = userinfo(part("userinfo")?)?;
    let mut url = if scheme.is_empty() { String::new() } else { format!("{scheme}:") };
    if opaque.is_empty() {
        let authority = !host.is_empty() || !user.is_empty();
        if authority || !scheme.is_empty() && !path.is_empty() {
            url.push_str("//");
        }
        if !user.is_empty() {
            url.extend([&user, "@"]);
        }
        url.push_str(&escape(host, At::Host));
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            url.push('/');
        }
        if url.is_empty() && path.split('/').next().is_some_and(|first| first.contains(':')) {
            url.push_str("./");
        }
        url.push_str(&if path == "*" { "*".to_owned() } else { escape(path, At::Path) });
    } else {
        url.push_str(opaque);
    }
    for (sign, rest) in [('?', part("query")?.to_owned()), ('#', escape(part("fragment")?, At::Fragment))] {
        if !rest.is_empty() {
            url.push(sign);
            url.push_str(&rest);
        }
    }
    string(url)
}
