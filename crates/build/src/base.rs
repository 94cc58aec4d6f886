//! `trimtab/static`: the base image that the binary carries.

use crate::error::{Error, work};
use crate::files::{Entry, Kind, Layer};
use crate::image::{Empty, Image};
use crate::images::{Images, Root};
use std::io;
use std::path::Path;

/// Its name. Nothing is ever pulled under it.
pub(crate) const NAME: &str = "trimtab/static";
/// Serves the files below /srv on port 8080; `/_echo` returns the request.
static SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/static-server"));

/// The image, in the store.
pub(crate) async fn image(images: &Images, scratch: &Path) -> Result<(Image, Root), Error> {
    let bytes = layer().map_err(work(scratch))?;
    tokio::fs::write(scratch, bytes).await.map_err(work(scratch))?;
    let layer = images.add(scratch).await;
    // A leftover is removed at the next start.
    let _ = tokio::fs::remove_file(scratch).await;
    let layer = layer?;
    let mut image = Image::scratch();
    image.config.entrypoint = Some(vec!["/bin/static-server".into()]);
    image.config.exposed_ports.get_or_insert_default().insert("8080/tcp".into(), Empty {});
    image.config.working_dir = "/srv".into();
    image.record(NAME, Some(&layer.diff_id));
    Ok((image, Root { layers: vec![layer] }))
}

fn layer() -> io::Result<Vec<u8>> {
    let mut layer = Layer::new(Vec::new());
    let server = Entry { kind: Kind::File { size: SERVER.len() as u64 }, ..Entry::directory(0o755) };
    layer.put(Path::new("bin"), &Entry::directory(0o755), &mut io::empty())?;
    layer.put(Path::new("bin/static-server"), &server, &mut &SERVER[..])?;
    layer.put(Path::new("srv"), &Entry::directory(0o755), &mut io::empty())?;
    layer.finish().map(|(bytes, _)| bytes)
}

#[cfg(test)]
mod tests;
