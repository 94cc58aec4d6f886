//! Addresses, taken apart and put together.

use super::{Result, fail, table};
use template::{Call, Entries, Fault, Function, Value, from_bytes, to_bytes};

pub(super) const FUNCTIONS: &[Function] = table! {
    "urlParse" "s" parse;
    "urlJoin" "m" join;
};

fn parse(call: &mut Call<'_, '_>) -> Result {
    let whole = call.text(0);
    let refuse = |why: &str| fail(format!("unable to parse url: parse {}: {why}", template::quoted(&whole)));
    if whole.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return refuse("net/url: invalid control character in URL");
    }
    let (rest, fragment) = whole.split_once('#').unwrap_or((&whole, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, after)) if is_scheme(scheme) => (scheme.to_lowercase(), after),
        Some(("", _)) => return refuse("missing protocol scheme"),
        Some((first, _)) if !first.contains(['/', '?']) => {
            return refuse("first path segment in URL cannot contain colon");
        }
        _ => (String::new(), rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut entries = Entries::new();
    let mut put = |key: &str, value: String| entries.insert(key.into(), value.into());
    let (mut host, mut user, mut path, mut opaque) = ("", "", rest, "");
    if let Some(after) = rest.strip_prefix("//") {
        let (authority, _) = after.split_at(after.find('/').unwrap_or(after.len()));
        path = &after[authority.len()..];
        (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    } else if !scheme.is_empty() && !rest.starts_with('/') {
        (opaque, path) = (rest, "");
    }
    let Some(decoded) = unescaped(path) else { return refuse("invalid URL escape") };
    let (Some(host), Some(fragment)) = (unescaped(host), unescaped(fragment)) else {
        return refuse("invalid URL escape");
    };
    let name = match host.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or("").to_owned(),
        None => host.rsplit_once(':').map_or(host.clone(), |(name, _)| name.to_owned()),
    };
    put("scheme", scheme);
    put("host", host);
    put("hostname", name);
    put("path", decoded);
    put("query", query.to_owned());
    put("opaque", opaque.to_owned());
    put("fragment", fragment);
    put("userinfo", user.to_owned());
    Ok(Value::map(entries))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn unescaped(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend(rest.as_bytes());
    Some(from_bytes(&bytes))
}

fn escaped(text: &str, allowed: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in to_bytes(text).iter() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) || allowed.contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn join(call: &mut Call<'_, '_>) -> Result {
    let map = call.map(0);
    let part = |key: &str| match map.get(key) {
        None => Ok(String::new()),
        Some(Value::Text(text)) => Ok(text.to_string()),
        Some(other) => {
            let message = format!("unable to parse {key} key, must be of type string, but {} found", other.kind());
            Err(Fault::plain(message))
        }
    };
    let (scheme, host, path, query) = (part("scheme")?, part("host")?, part("path")?, part("query")?);
    let (opaque, fragment, user) = (part("opaque")?, part("fragment")?, part("userinfo")?);
    let mut out = String::new();
    if !scheme.is_empty() {
        out.push_str(&scheme);
        out.push(':');
    }
    if !opaque.is_empty() {
        out.push_str(&opaque);
    } else {
        if !host.is_empty() || !user.is_empty() {
            out.push_str("//");
            if !user.is_empty() {
                out.push_str(&user);
                out.push('@');
            }
            out.push_str(&escaped(&host, b"!$&'()*+,;=:[]<>\""));
            if !path.is_empty() && !path.starts_with('/') {
                out.push('/');
            }
        } else if path.starts_with("//") {
            out.push_str("//");
        } else if out.is_empty() && path.split('/').next().is_some_and(|first| first.contains(':')) {
            out.push_str("./");
        }
        out.push_str(&escaped(&path, b"$&+,/:;=@"));
    }
    if !query.is_empty() {
        out.push('?');
        out.push_str(&query);
    }
    if !fragment.is_empty() {
        out.push('#');
        out.push_str(&escaped(&fragment, b"$&+,/:;=?@!()*"));
    }
    Ok(out.into())
}
