//! `trimtab/static`: the base image that the binary carries.

use crate::error::Error;
use crate::files::{Entry, Kind};
use crate::image::{Empty, Image};
use crate::images::{Images, NewLayer, Root, StoredLayer};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// Its name. Nothing is ever pulled under it.
pub(crate) const NAME: &str = "trimtab/static";
/// Serves the files below /srv on port 8080; `/_echo` returns the request.
static SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/static-server"));

/// The image, in the store; `known` is its layer, once it was made. Blocks.
pub(crate) fn image(images: &Images, known: &OnceLock<oci::Layer>) -> Result<(Image, Root), Error> {
    let found = known.get().map(|layer| images.find(layer)).transpose()?.flatten();
    let layer = found.map_or_else(|| make(images), Ok)?;
    let _ = known.set(layer.layer.clone());
    let mut image = Image::scratch();
    image.config.entrypoint = Some(vec!["/bin/static-server".into()]);
    image.config.exposed_ports.get_or_insert_default().insert("8080/tcp".into(), Empty {});
    image.config.working_dir = "/srv".into();
    image.record(NAME, Some(layer.diff_id()));
    Ok((image, Root { layers: vec![layer] }))
}

fn make(images: &Images) -> Result<StoredLayer, Error> {
    let mut layer = images.new_layer()?;
    fill(&mut layer).map_err(|source| Error::Work { path: format!("the layer of {NAME}"), source })?;
    images.finish(layer).map(|layer| layer.expect("it has entries"))
}

fn fill(layer: &mut NewLayer) -> io::Result<()> {
    let server = Entry { kind: Kind::File { size: SERVER.len() as u64 }, ..Entry::directory(0o755) };
    layer.put(Path::new("bin"), &Entry::directory(0o755), &mut io::empty())?;
    layer.put(Path::new("bin/static-server"), &server, &mut &SERVER[..])?;
    layer.put(Path::new("srv"), &Entry::directory(0o755), &mut io::empty())
}

#[cfg(test)]
mod tests;
