//! What is embedded in the binary. An address carries the hash of its content, so it may be kept for ever.

use super::{Refusal, Result};
use crate::service::Error;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// One file.
pub struct Asset {
    stem: &'static str,
    extension: &'static str,
    media_type: &'static str,
    content: &'static str,
    name: OnceLock<String>,
}

macro_rules! asset {
    ($stem:literal, $extension:literal, $media_type:literal) => {
        Asset {
            stem: $stem,
            extension: $extension,
            media_type: $media_type,
            content: include_str!(concat!("static/", $stem, ".", $extension)),
            name: OnceLock::new(),
        }
    };
}

pub static STYLE: Asset = asset!("trimtab", "css", "text/css; charset=utf-8");
pub static SCRIPT: Asset = asset!("trimtab", "js", "text/javascript; charset=utf-8");
pub static ICON: Asset = asset!("icon", "svg", "image/svg+xml");
/// The mark beside the name, in the colour of the text.
pub const MARK: &str = include_str!("static/mark.svg");

impl Asset {
    /// Path on this server.
    pub fn address(&self) -> String {
        format!("/assets/{}", self.name())
    }

    fn name(&self) -> &str {
        self.name.get_or_init(|| {
            let hash: String =
                Sha256::digest(self.content.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("{}-{hash}.{}", self.stem, self.extension)
        })
    }
}

/// `GET /assets/{file}`.
pub async fn serve(Path(file): Path<String>) -> Result<Response> {
    let asset = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.name() == file);
    let asset = asset.ok_or_else(|| Refusal::Service(Error::NotFound(format!("there is no asset {file}"))))?;
    let headers =
        [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.content).into_response())
}
