//! `index.yaml` of a repository.

use model::Digest;
use serde_json::Value;
use yaml::{Dialect, Kind};

/// A version of a chart that a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub version: String,
    /// Of the archive, as far as the repository says.
    pub digest: Option<Digest>,
    /// Where the archive lies: absolute, or from the repository's address.
    pub urls: Vec<String>,
}

/// What an index says of one chart; nothing if it does not know it.
pub fn offers(text: &str, name: &str) -> Result<Vec<Offer>, String> {
    let wrong = |error: yaml::Error| format!("index.yaml: line {}: {}", error.line, error.message);
    let nodes = yaml::parse(text, "index.yaml").map_err(wrong)?;
    let root = nodes.first().ok_or("index.yaml is empty")?;
    let entries = below(root, "entries").ok_or("index.yaml has no `entries`: it is no repository of charts")?;
    // Only the one that is asked for is made a value: an index may name thousands.
    let Some(versions) = below(entries, name) else { return Ok(Vec::new()) };
    let versions = yaml::to_json(versions, Dialect::V2).map_err(wrong)?;
    let versions = versions.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(versions.iter().filter_map(offer).collect())
}

fn below<'n>(node: &'n yaml::Node, name: &str) -> Option<&'n yaml::Node> {
    let Kind::Mapping(pairs) = &node.kind else { return None };
    pairs.iter().find(|(key, _)| matches!(&key.kind, Kind::Scalar(text, _) if text == name)).map(|(_, value)| value)
}

fn offer(entry: &Value) -> Option<Offer> {
    if entry["removed"] == true {
        return None;
    }
    let version = match &entry["version"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digest = entry["digest"].as_str().unwrap_or_default();
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
    let urls = entry["urls"].as_array().into_iter().flatten().filter_map(|url| url.as_str().map(str::to_owned));
    Some(Offer { version, digest: format!("sha256:{digest}").parse().ok(), urls: urls.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_versions_with_their_archives() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!(
            "apiVersion: v1\nentries:\n  web:\n  - version: 1.2.0\n    digest: {digest}\n    urls: [charts/web-1.2.0.tgz]\n  - version: 1.10\n    urls: ['https://cdn.example.com/web.tgz']\n  - version: 0.9.0\n    removed: true\n  other: []\n"
        );
        let found = offers(&text, "web").unwrap();
        assert_eq!(
            found[0],
            Offer {
                version: "1.2.0".into(),
                digest: Some(format!("sha256:{digest}").parse().unwrap()),
                urls: vec!["charts/web-1.2.0.tgz".into()]
            }
        );
        assert_eq!((found.len(), found[1].digest.clone()), (2, None));
        assert_eq!(offers(&text, "none").unwrap(), []);
        for broken in ["", "a: 1\n", "<html>", "entries: [\n"] {
            assert!(offers(broken, "web").is_err(), "{broken:?} was accepted");
        }
    }
}
