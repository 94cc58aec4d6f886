//! What a proxy may pass on, and what it adds.

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, request};
use std::net::IpAddr;

/// Belong to one connection (RFC 9110, 7.6.1), not to the request.
const HOP_BY_HOP: [&str; 6] =
    ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "trailer", "transfer-encoding"];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The host that a request asks for, with its port if it says one. An absolute target counts before the header.
pub fn authority(head: &request::Parts) -> Result<String, &'static str> {
    if let Some(authority) = head.uri.authority() {
        return Ok(authority.as_str().rsplit('@').next().unwrap_or_default().to_owned());
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map(str::to_owned).map_err(|_| "the Host header is not text"),
        (None, _) => Err("the Host header is missing"),
        (Some(_), Some(_)) => Err("there is more than one Host header"),
    }
}

/// Lower case, without port and the dot at the end.
pub fn host(authority: &str) -> String {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The protocol that a request wants to change to.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let listed = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| listed).cloned()
}

/// Removes what belongs to the connection; `upgrade` is put back, as both ends agree on it.
pub fn strip(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    let named: Vec<HeaderName> = tokens(headers).filter_map(|token| token.parse().ok()).collect();
    // Naming these in Connection would make us drop what the request means.
    for name in named.iter().filter(|name| **name != HOST && name.as_str() != "content-length") {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    headers.remove(TRANSFER_ENCODING);
    let trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if !trailers {
        headers.remove(TE);
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Turns the head of a client's request into one for an endpoint.
pub fn forward(head: &mut request::Parts, authority: &str, peer: IpAddr, upgrade: Option<HeaderValue>) {
    strip(&mut head.headers, upgrade);
    let before = head.headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut chain: Vec<String> = before.map(str::to_owned).collect();
    chain.push(peer.to_canonical().to_string());
    if let Ok(value) = chain.join(", ").parse() {
        head.headers.insert(FORWARDED_FOR, value);
    }
    head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Ok(value) = HeaderValue::from_str(authority) {
        head.headers.insert(FORWARDED_HOST, value.clone());
        head.headers.insert(HOST, value);
    }
    let target = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from(target);
    head.version = http::Version::HTTP_11;
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts_are_compared_without_port_and_case() {
        for (authority, expect) in [
            ("Web.Dev.Localhost:7180", "web.dev.localhost"),
            ("web.localhost.", "web.localhost"),
            ("[::1]:80", "[::1]"),
            ("web", "web"),
        ] {
            assert_eq!(host(authority), expect);
        }
    }

    #[test]
    fn exactly_one_host_is_needed() {
        assert!(authority(&head("/", &[])).is_err());
        assert!(authority(&head("/", &[("host", "a"), ("host", "b")])).is_err());
        assert_eq!(authority(&head("/", &[("host", "a:1")])).unwrap(), "a:1");
        assert_eq!(authority(&head("http://u@b:2/x", &[("host", "a")])).unwrap(), "b:2");
    }

    #[test]
    fn what_belongs_to_the_connection_stays_here() {
        let mut head = head(
            "http://web/x?y=1",
            &[
                ("host", "old"),
                ("connection", "keep-alive, x-secret, Host"),
                ("x-secret", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "gzip"),
                ("upgrade", "h2c"),
                ("transfer-encoding", "chunked"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-kept", "2"),
            ],
        );
        forward(&mut head, "web", IpAddr::from([127, 0, 0, 1]), None);
        let mut found: Vec<String> =
            head.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        found.sort();
        assert_eq!(
            found,
            [
                "host=web",
                "x-forwarded-for=1.2.3.4, 127.0.0.1",
                "x-forwarded-host=web",
                "x-forwarded-proto=http",
                "x-kept=2"
            ]
        );
        assert_eq!(head.uri, "/x?y=1");
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let both = head("/", &[("connection", "Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&both.headers).unwrap(), "websocket");
        assert!(upgrade(&head("/", &[("upgrade", "websocket")]).headers).is_none());
    }
}
